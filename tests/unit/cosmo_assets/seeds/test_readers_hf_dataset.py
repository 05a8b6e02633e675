"""Hugging Face data sets: saved on disk, in files, and streamed from a hub that speaks the real protocol."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.sources import Source
from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row
from cosmo_assets.seeds.readers.registry import read
from cosmo_assets.seeds.readers.sources import rows, units
from cosmo_resources.errors import CosmoError
from tests.doubles.hub import Hub, serving

COMMIT = "c0ffee" + "0" * 34
OPTIONS = {"text": "body", "title": "head"}


def table(first: int, last: int) -> pa.Table:
    numbers = range(first, last)
    return pa.table(
        {
            "id": [f"row-{number}" for number in numbers],
            "body": [f"The body of row {number}, which is text." for number in numbers],
            "head": [f"Row {number}" for number in numbers],
            "license": ["cc-by-4.0" if number % 2 else None for number in numbers],
            "attribution": [["Ada", "Alan"] if number % 2 else None for number in numbers],
            "pixels": [os.urandom(2000) for _ in numbers],
        }
    )


def seed(number: int) -> RawSeed:
    stated = {"licence": "CC-BY-4.0", "attribution": "Ada, Alan"} if number % 2 else {}
    return RawSeed(f"row-{number}", f"The body of row {number}, which is text.", title=f"Row {number}", **stated)


def parquet(content: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(content, stream, row_group_size=100)
    return stream.getvalue()


def local(path: Path, **options: Any) -> list[Row]:
    return list(read("hub", "hf_dataset", path, {**OPTIONS, **options}))


def test_the_folder_of_a_saved_data_set_is_one_unit_with_the_rows_of_all_its_files(tmp_path: Path) -> None:
    datasets.Dataset(table(0, 50)).save_to_disk(tmp_path / "saved", num_shards=3)
    source = Source(name="s", kind="web", reader="hf_dataset", path="saved", licence="none", options=OPTIONS)
    (unit,) = units(Recipe.model_construct(name="small", folder=tmp_path), source)
    assert list(rows(source, unit)) == [seed(number) for number in range(50)]
    assert {path.name for path in unit.files} >= {"state.json", "data-00000-of-00003.arrow"}


def test_of_a_saved_dictionary_the_split_is_read(tmp_path: Path) -> None:
    splits = {"train": datasets.Dataset(table(0, 5)), "test": datasets.Dataset(table(5, 7))}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    assert local(tmp_path / "saved") == [seed(number) for number in range(5)]
    assert local(tmp_path / "saved", split="test") == [seed(5), seed(6)]
    with pytest.raises(CosmoError, match="no split 'dev'") as error:
        local(tmp_path / "saved", split="dev")
    assert "test, train" in error.value.remedy


def test_files_are_read_by_their_suffix(tmp_path: Path) -> None:
    expected = [seed(number) for number in range(3)]
    (tmp_path / "a.parquet").write_bytes(parquet(table(0, 3)))
    lines = "".join(json.dumps(row) + "\n" for row in table(0, 3).drop(["pixels"]).to_pylist())
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    assert local(tmp_path / "a.parquet") == local(tmp_path / "a.jsonl") == expected
    (tmp_path / "a.csv").write_text("id,body,head\nrow-0,Text,Head\n", encoding="utf-8")
    assert local(tmp_path / "a.csv") == [RawSeed("row-0", "Text", title="Head")]
    with pa.OSFile(str(tmp_path / "footer.arrow"), "wb") as stream, pa.ipc.new_file(stream, table(0, 3).schema) as out:
        out.write_table(table(0, 3))
    assert local(tmp_path / "footer.arrow") == expected


def test_what_is_no_data_set_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"no state\.json") as error:
        local(tmp_path)
    assert "data/train-*.parquet" in error.value.remedy
    (tmp_path / "state.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(CosmoError, match=r"state\.json: it cannot be read"):
        local(tmp_path)
    for name, said in (("a.txt", "no format by its name"), ("a.arrow", "cannot be read as Arrow")):
        (tmp_path / name).write_text("text", encoding="utf-8")
        with pytest.raises(CosmoError, match=said):
            local(tmp_path / name)
    datasets.Dataset(table(0, 3)).save_to_disk(tmp_path / "saved")
    with pytest.raises(CosmoError, match="no column 'words' for the text; it has 'id', 'body'"):
        local(tmp_path / "saved", text="words")


def test_an_arrow_file_that_is_cut_off_gives_what_comes_before(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, table(0, 40).schema) as writer:
        writer.write_table(table(0, 40), max_chunksize=10)
    path.write_bytes(path.read_bytes()[:-30_000])
    found = local(path)
    assert found[:-1] == [seed(number) for number in range(20)]
    assert isinstance(found[-1], BadRow)
    assert (found[-1].place, found[-1].reason) == ("a.arrow:21", "damaged_file")
    path.write_bytes(b"")
    assert local(path) == [BadRow("a.arrow", "empty_file")]


REPOSITORY = {
    "README.md": b"---\nlicense: cc-by-4.0\nconfigs:\n- config_name: main\n  default: true\n  data_files: data/*\n"
    b"- config_name: more\n  data_files:\n  - split: test\n    path: more.parquet\n---\n# A set\n",
    "data/train-00000-of-00002.parquet": parquet(table(0, 300)),
    "data/train-00001-of-00002.parquet": parquet(table(300, 600)),
    "more.parquet": parquet(pa.table({"body": ["One more.", ""]})),
}

SCRIPT = """
import json, sys
from contextlib import closing
from itertools import islice
from pathlib import Path
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.sources import Source
from cosmo_assets.seeds.readers.sources import rows, units
from cosmo_resources.errors import CosmoError

def tried(path, options, count):
    source = Source(name="s", kind="web", reader="hf_dataset", path=path, licence="none", options=options)
    try:
        (unit,) = units(Recipe.model_construct(name="small", folder=Path()), source)
        with closing(rows(source, unit)) as found:  # what is left unread may still be fetched when Python ends
            return [repr(row) for row in islice(found, count)]
    except CosmoError as error:
        return [error.message, error.remedy]

print(json.dumps([tried(*case) for case in json.loads(sys.argv[1])]))
"""


def from_hub(
    hub: Hub, home: Path, cases: list[tuple[str, dict[str, str], int | None]], offline: bool
) -> list[list[str]]:
    """What rows or errors a process gives whose hub is this one."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": str(int(offline)),
    }
    command = [sys.executable, "-c", SCRIPT, json.dumps(cases)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, (done.returncode, done.stderr)
    answer: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_a_data_set_of_the_hub_is_streamed_at_its_commit(tmp_path: Path) -> None:
    files = {("owner/set", COMMIT, path): content for path, content in REPOSITORY.items()}
    size = sum(map(len, REPOSITORY.values()))
    path = f"hub:owner/set@{COMMIT}"
    with serving(files) as hub:
        (few,) = from_hub(hub, tmp_path / "first", [(path, OPTIONS, 5)], offline=False)
        assert few == [repr(seed(number)) for number in range(5)]
        assert 0 < hub.served < 0.7 * size, "five rows do not cost the whole data set"
        assert all(COMMIT in asked or asked.startswith("GET /api/agent") for asked in hub.requests), hub.requests
        everything, more, columns, split, commit, name = from_hub(
            hub,
            tmp_path / "second",
            [
                (path, OPTIONS, None),
                (path, {"text": "body", "config": "more", "split": "test"}, None),
                (path, {"text": "words"}, None),
                (path, {**OPTIONS, "split": "dev"}, None),
                (f"hub:owner/set@{COMMIT[::-1]}", OPTIONS, None),
                (f"hub:owner/other@{COMMIT}", OPTIONS, None),
            ],
            offline=False,
        )
    assert everything == [repr(seed(number)) for number in range(600)]
    assert [line.partition("(")[0] for line in more] == ["RawSeed", "BadRow"]
    assert "no column 'words' for the text; it has 'id', 'body', 'head'" in columns[0]
    assert "dev" in split[0]
    assert f"hub:owner/set@{COMMIT[::-1]}: cannot be read" in commit[0]
    assert f"hub:owner/other@{COMMIT}: cannot be read" in name[0]
    assert "HF_TOKEN" in name[1]


def test_no_network_is_asked_where_it_is_switched_off_or_the_path_is_local(tmp_path: Path) -> None:
    datasets.Dataset(table(0, 3)).save_to_disk(tmp_path / "saved")
    with serving({("owner/set", COMMIT, path): content for path, content in REPOSITORY.items()}) as hub:
        cases: list[tuple[str, dict[str, str], int | None]] = [(f"hub:owner/set@{COMMIT}", OPTIONS, None)]
        (refused,) = from_hub(hub, tmp_path / "home", cases, offline=True)
        (read_locally,) = from_hub(hub, tmp_path / "home", [(str(tmp_path / "saved"), OPTIONS, None)], offline=False)
        assert hub.requests == []
    assert "cannot be read" in refused[0]
    assert "HF_HUB_OFFLINE" in refused[1]
    assert read_locally == [repr(seed(number)) for number in range(3)]


def test_a_hub_that_breaks_off_is_an_error_and_no_bad_row(tmp_path: Path) -> None:
    files = {("owner/set", COMMIT, path): content for path, content in REPOSITORY.items()}
    second = ("owner/set", COMMIT, "data/train-00001-of-00002.parquet")
    files[second] = files[second][:5000] + os.urandom(200_000) + files[second][-5000:]
    with serving(files) as hub:
        (found,) = from_hub(hub, tmp_path, [(f"hub:owner/set@{COMMIT}", OPTIONS, None)], offline=False)
    assert f"hub:owner/set@{COMMIT}: cannot be read after" in found[0]
