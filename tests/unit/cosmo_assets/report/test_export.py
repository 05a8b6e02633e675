import json
import re
import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from cosmo_assets.report import export
from cosmo_assets.schemas.corpus import EXPORTED_DOCUMENTS, MIXTURE
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
    paths = [path for path in built.paths(role="artifact") if path.suffix == ".parquet"]
    assert len(paths) > 1
    rows = []
    for path in paths:
        table = pq.read_table(path, partitioning=None)
        assert table.schema.equals(EXPORTED_DOCUMENTS, check_metadata=True)
        assert table["seed_data"].unique().to_pylist() == [path.parent.name]
        rows += table.to_pylist()
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
    sources = sorted({row["source"] for row in workspace.store.open("mixture").table(["source"]).to_pylist()})
    assert len(sources) > 1
    assert front["configs"] == [
        {"config_name": name, "data_files": [{"split": "train", "path": f"data/{folder}/train-*.parquet"}]}
        for name, folder in [("default", "*"), *((source, source) for source in sources)]
    ]
    for column in EXPORTED_DOCUMENTS.names:
        assert f"| `{column}` |" in text
    for title, place in (
        ("| Source | Documents |", 1),
        ("| Format | Documents |", 1),
        ("| Audience | Documents |", 1),
        ("| Licence | Sources |", 2),
    ):
        table = text.split(title)[1].split("\n\n")[0].splitlines()[1:]
        counts = [int(line.split(" | ")[place].replace(",", "")) for line in table if not line.startswith("| ---")]
        assert sum(counts) == built.manifest.flow.rows_out
    pictures = re.findall(r"!\[[^\]]{30,}\]\((charts/\w+\.svg)\)", text)
    assert sorted(pictures) == [
        path.relative_to(built.folder).as_posix() for path in sorted(built.folder.glob("charts/*"))
    ]
    assert all((built.folder / name).read_bytes().startswith(b"<svg") for name in pictures)
    assert workspace.store.open("mixture").manifest.version in text
    assert "cosmo trace --shard" in text


def test_every_source_is_a_configuration(built: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    names = datasets.get_dataset_config_names(str(built.folder))
    whole = datasets.load_dataset(str(built.folder), cache_dir=str(tmp_path), split="train")
    assert names == ["default", *sorted(set(whole["seed_data"]))]
    for name in names[1:]:
        part = datasets.load_dataset(str(built.folder), name, cache_dir=str(tmp_path), split="train")
        assert part["doc_id"][:] == [row["doc_id"] for row in whole if row["seed_data"] == name]
        assert part.num_rows


def test_the_provenance_names_the_version_of_every_input(built: Dataset) -> None:
    found = json.loads((built.folder / export.PROVENANCE).read_text(encoding="utf-8"))
    named = {(item["asset"], item["bucket"], item["version"]) for item in found["inputs"]}
    assert named == {(ref.asset, ref.bucket, ref.version) for ref in built.manifest.inputs}
    assert {asset for asset, _, _ in named} >= {"seed_documents", "prompt_table", "generations", "mixture"}


def test_files_hold_a_bounded_number_of_rows(
    workspace: Workspace, built: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = built.manifest.flow.rows_out
    monkeypatch.setattr(export, "FILE_ROWS", 3)
    manifest = export.build(workspace)
    again = workspace.store.open("corpus_export")
    listed = again.table().to_pylist()
    for config in {row["config"] for row in listed}:
        own = [row for row in listed if row["config"] == config]
        assert [row["rows"] for row in own[:-1]] == [3] * (len(own) - 1)
        assert 1 <= own[-1]["rows"] <= 3
        assert [row["file"] for row in own] == [
            f"data/{config}/train-{number:05d}-of-{len(own):05d}.parquet" for number in range(len(own))
        ]
    for row in listed:
        assert pq.read_metadata(again.folder / row["file"]).num_rows == row["rows"]
    opened = datasets.load_dataset(str(again.folder), cache_dir=str(tmp_path / "few"), split="train")
    assert opened.num_rows == total
    whole = datasets.load_dataset(str(built.folder), cache_dir=str(tmp_path / "whole"), split="train")
    assert opened["doc_id"][:] == whole["doc_id"][:]
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
