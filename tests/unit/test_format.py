"""The page on formats: its code reads what the stages write, and datatrove's own classes read it too."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datatrove
import numpy as np
import pytest

from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.store import Dataset
from tests.corpora import ROOT
from tests.engines import vllm_on_the_cpu
from tests.unit.cosmo_assets.synthetic import recipe
from tests.unit.cosmo_assets.tokenization.test_shards import ODD_TEXTS, PROSE, built
from tests.unit.cosmo_assets.tokenization.test_stages import NAMES, STAGES
from tests.unit.cosmo_assets.tokenization.test_stages import built as staged
from tests.unit.test_documents import FENCE, text_of

PAGE = ROOT / "docs" / "format.md"
TEXTS = [*PROSE, *ODD_TEXTS]
SEQUENCE = 16
READ = """
import json, sys
sys.path.append(sys.argv[3])
from datatrove.utils.dataset import DatatroveFolderDataset

folder, length = sys.argv[1], int(sys.argv[2])
found = DatatroveFolderDataset(
    folder, seq_len=length, filename_pattern="*.ds", recursive=False, token_size=2, return_positions=True
)
items = [found[number] for number in range(len(found))]
samples, positions = ([item[key].tolist() for item in items] for key in ("input_ids", "positions"))
files = [file.file_path for file in found.files]
print(json.dumps({"samples": samples, "positions": positions, "files": files}))
"""


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the code of the page defines."""
    code = [body for language, body in FENCE.findall(text_of(PAGE)) if language == "python"]
    assert len(code) >= 3
    names: dict[str, Any] = {}
    exec(compile(ast.parse("\n".join(code)), str(PAGE), "exec"), names)
    return names


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    made_of = recipe(tokenization={"shards": 4})
    return built(tmp_path_factory.mktemp("format"), TEXTS, copies={PROSE[0]: 2}, made_of=made_of)


def test_the_code_of_the_page_reads_the_shards(page: dict[str, Any], shards: Dataset) -> None:
    corpus = shards.folder.parents[2]
    folder, manifest = page["current"](corpus, "tokenized_shards")
    assert folder == shards.folder
    assert page["damaged"](folder, manifest) == []
    rows = page["rows_of"](folder, manifest)
    assert len(rows) == len(TEXTS) + 1
    texts = {digest(text): text for text in TEXTS}
    assert [page["text_of"](folder, row) for row in rows] == [texts[row["doc_id"]] for row in rows]
    for name in {row["shard"] for row in rows}:
        spans = [(row["start"], row["end"]) for row in rows if row["shard"] == name]
        documents = page["documents_of"](folder, name)
        assert [len(document) for document in documents] == [end - start for start, end in spans]
        assert sum(map(len, documents)) == len(page["tokens_of"](folder, name))


def test_the_code_of_the_page_finds_damage(page: dict[str, Any], tmp_path: Path) -> None:
    dataset = built(tmp_path, PROSE[:3])
    path = dataset.folder / "shard-00000.ds"
    raw = path.read_bytes()
    path.write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
    folder, manifest = page["current"](tmp_path / "corpus", "tokenized_shards")
    assert page["damaged"](folder, manifest) == ["shard-00000.ds"]


@pytest.fixture(params=["a stand-in for torch", "torch"])
def torch_python(request: pytest.FixtureRequest) -> list[str]:
    """A Python that can import `torch`: a few functions of numpy, and, where vLLM is installed, the real one."""
    if request.param == "torch":
        return [str(vllm_on_the_cpu().python)]
    return ["env", f"PYTHONPATH={ROOT / 'tests' / 'doubles' / 'torch_of_numpy'}", sys.executable]


def read_by_datatrove(python: list[str], folder: Path) -> dict[str, Any]:
    """What datatrove's own class reads."""
    packages = Path(datatrove.__file__).parents[1]
    command = [*python, "-c", READ, str(folder), str(SEQUENCE), str(packages)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_class_of_datatrove_reads_every_stage_by_itself(
    page: dict[str, Any], torch_python: list[str], tmp_path: Path
) -> None:
    dataset = staged(tmp_path, STAGES)
    listed = page["stages_of"](dataset.folder)
    assert [stage["name"] for stage in listed] == list(NAMES)
    for stage in listed:
        found = read_by_datatrove(torch_python, dataset.folder / stage["folder"])
        names = [shard["name"] for shard in stage["shards"]]
        assert [f"{stage['folder']}/{path}" for path in found["files"]] == names
        size, expected = SEQUENCE + 1, []
        for name in names:
            tokens = page["tokens_of"](dataset.folder, name).tolist()
            expected += [tokens[start : start + size] for start in range(0, len(tokens) - size + 1, size)]
        assert found["samples"] == expected
        assert len(expected) > 10


def test_the_class_of_datatrove_reads_every_sample(
    page: dict[str, Any], torch_python: list[str], shards: Dataset
) -> None:
    found = read_by_datatrove(torch_python, shards.folder)
    names = sorted(path.name for path in shards.folder.glob("*.ds"))
    assert [Path(path).name for path in found["files"]] == names
    expected, positions, size = [], [], SEQUENCE + 1
    for name in names:
        tokens = page["tokens_of"](shards.folder, name).tolist()
        begins = [0, *np.fromfile(shards.folder / f"{name}.index", dtype="<u8").tolist()]
        for start in range(0, len(tokens) - size + 1, size):
            expected.append(tokens[start : start + size])
            places = range(start, start + size)
            positions.append([place - max(start, *(b for b in begins if b <= place)) for place in places])
    assert found["samples"] == expected
    assert len(expected) > 20
    assert found["positions"] == positions, "each document begins at 0, as its end in the index says"


def test_nanotron_finds_the_tokenizer_and_the_width_in_the_first_line_of_the_metadata(shards: Dataset) -> None:
    """As its configuration reads it: one bar, the name before it, the bytes of a token behind it."""
    lines = {path.read_text(encoding="utf-8").splitlines()[0] for path in shards.folder.glob("*.metadata")}
    (line,) = lines
    name, width = line.split("|")
    assert (name, int(width)) == ("tokenizer.json", 2)
    for path in shards.folder.glob("*.ds"):
        total = int(path.with_name(f"{path.name}.metadata").read_text(encoding="utf-8").splitlines()[1])
        assert path.stat().st_size == total * int(width)
