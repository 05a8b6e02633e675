"""Stages of a curriculum in the shards: each has its own, in order, with the documents and tokens of the mixture."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.reporting import Check
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_assets.tokenization.checks import CHECKS
from cosmo_assets.tokenization.layout import Layout
from cosmo_assets.tokenization.stages import stage_of
from cosmo_resources.storage.digest import digest, json_digest
from cosmo_resources.storage.store import CorpusStore, Dataset
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import put, recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer
from tests.unit.cosmo_assets.tokenization.test_shards import decoded, spans, tokens

TEXTS = [prose(f"text {number}", 12) for number in range(40)]
NAMES = ("broad", "anneal")
STAGES: dict[str, list[int]] = {text: [number % 3, number % 2] for number, text in enumerate(TEXTS)}
"""The copies of each text in each stage; some are in none."""


def built(
    folder: Path, texts: Mapping[str, Sequence[int]], *, names: Sequence[str] = NAMES, shard_tokens: int = 150
) -> Dataset:
    """The shards of texts with their copies by stage."""
    space = Workspace(CorpusStore(folder / "corpus"), recipe(tokenization={"shard_tokens": shard_tokens}))
    rows = [{"doc_id": digest(text), "text": text} for text in TEXTS]
    put(space, "generations", {None: rows}, bucket="b000", version=json_digest(rows))
    mixed = [
        {"doc_id": digest(text), "bucket": "b000", "tokens": 12, "copies": sum(copies), "stage_copies": list(copies)}
        for text, copies in texts.items()
        if sum(copies)
    ]
    wanted = [12 * sum(STAGES[text][number] for text in TEXTS) for number in range(len(names))]
    stages = [{"stage": name, "wanted": wanted[number]} for number, name in enumerate(names)]
    summary = {"copies": sum(row["copies"] for row in mixed), **({"stages": stages} if names else {})}
    put(space, "mixture", {"b000": mixed}, version=json_digest([mixed, summary]), summary=summary)
    shards.build(space, tiny_tokenizer())
    return space.store.open("tokenized_shards")


def by_stage(dataset: Dataset) -> dict[str | None, Counter[str]]:
    """How often each document stands in each stage."""
    found: dict[str | None, Counter[str]] = {}
    for span in spans(dataset):
        found.setdefault(stage_of(span["shard"]), Counter())[span["doc_id"]] += 1
    return found


def check(name: str) -> Check:
    return next(one for one in CHECKS if one.name == name)


def test_every_stage_has_the_documents_and_the_tokens_of_the_mixture(tmp_path: Path) -> None:
    dataset = built(tmp_path, STAGES)
    assert by_stage(dataset) == {
        name: Counter({digest(text): copies[number] for text, copies in STAGES.items() if copies[number]})
        for number, name in enumerate(NAMES)
    }
    texts = {digest(text): text for text in TEXTS}
    assert all(decoded(dataset, span) == texts[span["doc_id"]] for span in spans(dataset))
    size = {digest(text): len(tiny_tokenizer().tokenizer.encode(text, add_special_tokens=False).ids) for text in TEXTS}
    listed = json.loads((dataset.folder / "stages.json").read_text(encoding="utf-8"))["stages"]
    assert [stage["name"] for stage in listed] == list(NAMES)
    start = 0
    for number, stage in enumerate(listed):
        copies = {digest(text): given[number] for text, given in STAGES.items()}
        wanted = sum((size[key] + 1) * count for key, count in copies.items())
        assert (stage["tokens"], stage["documents"]) == (wanted, sum(copies.values()))
        assert stage["start_token"] == start
        assert sum(shard["tokens"] for shard in stage["shards"]) == wanted
        start += wanted
    assert start == dataset.manifest.summary["tokens"]
    assert check("stages").test(dataset.manifest, recipe())[0]


def test_shards_stand_in_the_order_of_the_stages_each_in_the_folder_of_its_own(tmp_path: Path) -> None:
    dataset = built(tmp_path, STAGES)
    names = [name for name, _ in dataset.manifest.summary["shards"]]
    folders = [name.split("/")[0] for name in names]
    assert len(names) > 4
    assert names == sorted(names)
    assert list(dict.fromkeys(folders)) == ["stage-00-broad", "stage-01-anneal"]
    assert sorted(path.relative_to(dataset.folder).as_posix() for path in dataset.folder.rglob("*.ds")) == names
    listed = json.loads((dataset.folder / "stages.json").read_text(encoding="utf-8"))["stages"]
    assert [shard["name"] for stage in listed for shard in stage["shards"]] == names
    rows = [entry.name for entry in dataset.manifest.files if entry.role == "rows"]
    assert len(rows) == len(names), "a part of the index for each shard"


def test_copies_are_numbered_through_the_stages(tmp_path: Path) -> None:
    text = TEXTS[0]
    dataset = built(tmp_path, {text: [2, 1]})
    copies = sorted((span["copy"], stage_of(span["shard"])) for span in spans(dataset))
    assert copies == [(0, "broad"), (1, "broad"), (2, "anneal")]


def test_a_purge_leaves_every_other_shard_as_it_was(tmp_path: Path) -> None:
    before = built(tmp_path, STAGES)
    gone = TEXTS[5]  # stands in both stages
    touched = {span["shard"] for span in spans(before) if span["doc_id"] == digest(gone)}
    assert {stage_of(name) for name in touched} == set(NAMES)
    inodes = {name: (before.folder / name).stat().st_ino for name, _ in before.manifest.summary["shards"]}
    after = built(tmp_path, {text: copies for text, copies in STAGES.items() if text != gone})
    same = {name for name, inode in inodes.items() if (after.folder / name).stat().st_ino == inode}
    assert same == inodes.keys() - touched
    assert len(same) >= 2
    assert after.manifest.run["shards_linked"] == len(same)
    was = {name: ids for name, ids in tokens(before).items() if name in same}
    assert was == {name: ids for name, ids in tokens(after).items() if name in same}


def test_a_document_that_changes_its_stage_moves_alone(tmp_path: Path) -> None:
    before = built(tmp_path, STAGES)
    moved = TEXTS[1]
    assert STAGES[moved] == [1, 1]
    after = built(tmp_path, {**STAGES, moved: [0, 2]})
    assert after.manifest.run["reused_rows"] == after.manifest.flow.rows_out, "no text was encoded again"
    key = digest(moved)
    places = [[(span["shard"], span["doc_id"], span["copy"]) for span in spans(one)] for one in (before, after)]
    assert [place for place in places[0] if place[1] != key] == [place for place in places[1] if place[1] != key]
    assert by_stage(after)["anneal"][key] == 2


def test_tokens_are_taken_over_where_stages_come_and_go(tmp_path: Path) -> None:
    plain = {text: [sum(copies)] for text, copies in STAGES.items()}
    without = built(tmp_path, plain, names=())
    assert not (without.folder / "stages.json").exists()
    assert all(stage_of(name) is None and "/" not in name for name, _ in without.manifest.summary["shards"])
    staged = built(tmp_path, STAGES)
    assert staged.manifest.run["reused_rows"] == staged.manifest.flow.rows_out
    again = built(tmp_path, plain, names=())
    assert again.manifest.version == without.manifest.version
    assert tokens(again) == tokens(without)


def test_the_check_sees_a_stage_with_other_documents(tmp_path: Path) -> None:
    manifest = built(tmp_path, STAGES).manifest
    summary = json.loads(json.dumps(manifest.summary))
    summary["stages"][1]["copies"] -= 1
    assert not check("stages").test(manifest.model_copy(update={"summary": summary}), recipe())[0]
    summary = json.loads(json.dumps(manifest.summary))
    summary["stages"][0]["tokens"] += 1
    assert not check("stages").test(manifest.model_copy(update={"summary": summary}), recipe())[0]


COPIES = st.dictionaries(
    st.integers(0, 1000).map(lambda number: digest(str(number))),
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 1)),
    max_size=40,
)


def laid_out(copies: Mapping[str, Sequence[int]], cuts: Sequence[int]) -> list[list[tuple[str, int]]]:
    columns: dict[str, Any] = {
        "doc_id": pa.array(list(copies), pa.string()),
        "copies": pa.array([sum(found) for found in copies.values()], pa.int64()),
        "stage_copies": pa.array([list(found) for found in copies.values()], pa.list_(pa.int64())),
    }
    found = Layout.of([pa.table(columns)], cuts)
    places = [found.in_shard(shard) for shard in range(found.shards)]
    for shard, mine in enumerate(places):
        assert (found.shards_of(mine) == shard).all()
    return [list(zip(found.doc_ids(p).to_pylist(), found.copies(p).tolist(), strict=True)) for p in places]


@given(COPIES, st.tuples(*[st.integers(1, 4)] * 3))
def test_every_copy_stands_once_in_a_shard_of_its_stage(
    copies: dict[str, tuple[int, int, int]], cuts: tuple[int, int, int]
) -> None:
    found = laid_out(copies, cuts)
    firsts = [0, cuts[0], cuts[0] + cuts[1], sum(cuts)]
    for stage in range(3):
        here = sorted(entry for shard in found[firsts[stage] : firsts[stage + 1]] for entry in shard)
        before = {key: sum(given[:stage]) for key, given in copies.items()}
        assert here == sorted(
            (key, copy) for key, given in copies.items() for copy in range(before[key], before[key] + given[stage])
        )
