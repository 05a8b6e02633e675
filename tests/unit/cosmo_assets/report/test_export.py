import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from cosmo_assets.report import export
from cosmo_assets.schemas import EXPORTED_DOCUMENTS, MIXTURE
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.storage.writer import DatasetWriter


@pytest.fixture(scope="module")
def built(workspace: Workspace) -> Dataset:
    export.build(workspace)
    return workspace.store.open("corpus_export")


def front_matter(dataset: Dataset) -> dict[str, object]:
    _, front, _ = (dataset.folder / export.CARD).read_text(encoding="utf-8").split("---\n", 2)
    fields = yaml.safe_load(front)
    assert isinstance(fields, dict)
    return fields


def test_load_dataset_opens_the_folder_offline(
    workspace: Workspace, built: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    opened = datasets.load_dataset(str(built.folder), cache_dir=str(tmp_path))
    assert list(opened) == ["train"]
    rows = workspace.store.open("mixture").manifest.rows
    assert opened["train"].num_rows == rows == built.manifest.flow.rows_out
    assert opened["train"].column_names == EXPORTED_DOCUMENTS.names


def test_rows_are_those_of_the_stages(workspace: Workspace, built: Dataset) -> None:
    (path,) = [path for path in built.paths(role="artifact") if path.suffix == ".parquet"]
    table = pq.read_table(path)
    assert table.schema.equals(EXPORTED_DOCUMENTS, check_metadata=True)
    rows = table.to_pylist()
    mixture = {row["doc_id"]: row for row in workspace.store.open("mixture").table().to_pylist()}
    prompts = {row["prompt_id"]: row for row in workspace.store.open("prompt_table").table().to_pylist()}
    documents = {
        row["doc_id"]: row
        for bucket in ("b000", "b001")
        for row in workspace.store.open("generations", bucket).table().to_pylist()
    }
    assert {row["doc_id"] for row in rows} == set(mixture)
    assert len(rows) == len(mixture)
    for row in rows:
        document, prompt = documents[row["doc_id"]], prompts[row["prompt_id"]]
        assert (row["text"], row["token_length"]) == (document["text"], document["completion_tokens"])
        assert (row["prompt"], row["seed_data"], row["topic"]) == (prompt["prompt"], prompt["source"], prompt["topic"])
        assert row["copies"] == mixture[row["doc_id"]]["copies"]


def test_the_card(workspace: Workspace, built: Dataset) -> None:
    text = (built.folder / export.CARD).read_text(encoding="utf-8")
    front = front_matter(built)
    assert front["license"] == ["cc-by-4.0", "cc0-1.0"]
    assert front["size_categories"] == ["n<1K"]
    assert front["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}
    ]
    for column in EXPORTED_DOCUMENTS.names:
        assert f"| `{column}` |" in text
    for title in ("Source", "Format", "Audience", "Licence"):
        table = text.split(f"| {title} | Documents |")[1].split("\n\n")[0].splitlines()[2:]
        assert sum(int(line.split(" | ")[1].replace(",", "")) for line in table) == built.manifest.flow.rows_out
    assert workspace.store.open("mixture").manifest.version in text
    assert "cosmo trace --shard" in text


def test_files_hold_a_bounded_number_of_rows(
    workspace: Workspace, built: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = built.manifest.flow.rows_out
    size = total // 2 - 1
    monkeypatch.setattr(export, "FILE_ROWS", size)
    manifest = export.build(workspace)
    again = workspace.store.open("corpus_export")
    listed = again.table().to_pylist()
    assert [row["rows"] for row in listed] == [size, size, total - 2 * size]
    assert [row["file"] for row in listed] == [f"data/train-0000{number}-of-00003.parquet" for number in range(3)]
    for row in listed:
        assert pq.read_metadata(again.folder / row["file"]).num_rows == row["rows"]
    opened = datasets.load_dataset(str(again.folder), cache_dir=str(tmp_path), split="train")
    assert opened.num_rows == total
    whole = pq.read_table(built.folder / "data" / "train-00000-of-00001.parquet")
    assert opened["doc_id"][:] == whole["doc_id"].to_pylist()
    assert manifest.version != built.manifest.version


def test_the_same_corpus_elsewhere_gives_the_same_export(other_workspace: Workspace, built: Dataset) -> None:
    assert export.build(other_workspace).version == built.manifest.version


def test_a_document_that_is_gone_is_an_error(workspace: Workspace, tmp_path: Path) -> None:
    shutil.copytree(workspace.store.root, tmp_path / "data")
    copy = Workspace(CorpusStore(tmp_path / "data"), workspace.recipe)
    mixture = copy.store.open("mixture")

    def one_more(writer: DatasetWriter) -> None:
        for bucket in ("b000", "b001"):
            rows = mixture.table(bucket=bucket).to_pylist()
            rows.append({**rows[0], "doc_id": f"gone from {bucket}"})
            writer.write(pa.Table.from_pylist(rows, schema=MIXTURE), bucket=bucket)
        writer.flow("documents", mixture.manifest.rows + 2, mixture.manifest.rows + 2)

    copy.build("mixture", one_more, stage_version="test", inputs=(), params={})
    with pytest.raises(CosmoError, match=r"corpus_export: 2 of the mixture's \d+ documents are not among") as caught:
        export.build(copy)
    assert "cosmo run" in caught.value.remedy
    current = copy.store.current("corpus_export")
    assert current is not None, "what was exported before is still there"
