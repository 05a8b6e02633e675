"""A change of the corpus changes the shards that hold what has changed, and no byte of the others."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosmo_assets.tokenization import shards
from cosmo_resources.storage import store
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.store import Dataset, verify_checksums
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import recipe
from tests.unit.cosmo_assets.tokenization.test_shards import built, spans, tokens
from tests.unit.cosmo_resources.storage.memory_folder import MEMORY

TEXTS = [prose(f"text {number}", 12) for number in range(24)]
SHARDS = 5


def build(folder: Path, texts: list[str], **options: Any) -> Dataset:
    return built(folder, texts, made_of=recipe(tokenization={"shards": SHARDS}), **options)


def contents(dataset: Dataset) -> dict[str, bytes]:
    """The bytes of every file but the manifest; the parts of the index by the shard that they are of."""
    files = {entry.name: (dataset.folder / entry.name).read_bytes() for entry in dataset.manifest.files}
    names = [name for name, _ in dataset.manifest.summary["shards"]]
    parts = [entry.name for entry in dataset.manifest.files if entry.role == "rows"]
    return {f"{new}.part" if old else new: files[old or new] for new, old in _renamed(files, names, parts)}


def _renamed(files: Mapping[str, bytes], names: list[str], parts: list[str]) -> list[tuple[str, str | None]]:
    return [*zip(names, parts, strict=True), *((name, None) for name in files if name not in parts)]


def by_document(dataset: Dataset) -> dict[tuple[str, int], tuple[str, list[int]]]:
    ids = tokens(dataset)
    return {
        (span["doc_id"], span["copy"]): (span["shard"], ids[span["shard"]][span["start"] : span["end"]])
        for span in spans(dataset)
    }


SUBSETS = st.sets(st.integers(0, len(TEXTS) - 1), min_size=1)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(SUBSETS, SUBSETS)
def test_whatever_comes_or_goes_only_its_spans_come_or_go(before: set[int], after: set[int]) -> None:
    with TemporaryDirectory(dir=MEMORY) as place:
        one = build(Path(place), [TEXTS[number] for number in sorted(before)])
        other = build(Path(place), [TEXTS[number] for number in sorted(after)])
        old, new = by_document(one), by_document(other)
        changed = {digest(TEXTS[number]) for number in before ^ after}
        assert {key: found for key, found in old.items() if key[0] not in changed} == {
            key: found for key, found in new.items() if key[0] not in changed
        }
        assert {key for key, _ in old.keys() ^ new.keys()} == changed
        touched = {shard for key, (shard, _) in {**old, **new}.items() if key[0] in changed}
        left = {name.removesuffix(".ds") for name, _ in one.manifest.summary["shards"]} - {
            name.removesuffix(".ds") for name in touched
        }
        was, now = contents(one), contents(other)
        same = [name for name in was if name.split(".")[0] in left]
        assert len(same) == 4 * len(left)
        assert [was[name] for name in same] == [now[name] for name in same]
        for name in same:
            if name.endswith(".ds"):
                assert (one.folder / name).stat().st_ino == (other.folder / name).stat().st_ino, "linked, not written"
        if before != after:
            assert other.manifest.run["shards_linked"] == len(left)
        assert verify_checksums(other) == []
        scratch = build(Path(place) / "scratch", [TEXTS[number] for number in sorted(after)])
        assert contents(scratch) == now
        assert scratch.manifest.version == other.manifest.version


def test_twice_the_shards_take_all_tokens_over(tmp_path: Path) -> None:
    few = built(tmp_path, TEXTS, shard_tokens=200)
    many = built(tmp_path, TEXTS, shard_tokens=100)
    assert (many.manifest.summary["cut"], few.manifest.summary["cut"]) == (8, 4)
    assert many.manifest.run["reused_rows"] == len(TEXTS)
    joined = [ids for _, ids in sorted(tokens(many).items())]
    assert [token for ids in joined for token in ids] == [t for _, ids in sorted(tokens(few).items()) for t in ids]


def damage(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))


def shard_of(dataset: Dataset, text: str) -> str:
    return next(span["shard"] for span in spans(dataset) if span["doc_id"] == digest(text))


@pytest.mark.parametrize("which", ["touched", "another"])
@pytest.mark.parametrize("suffix", ["", ".index", ".metadata", "part"])
def test_a_damaged_shard_is_made_again_and_the_others_are_linked(tmp_path: Path, suffix: str, which: str) -> None:
    first = build(tmp_path, TEXTS, copies={TEXTS[0]: 4, TEXTS[1]: 4})
    touched = shard_of(first, TEXTS[-1])
    names = [name for name, _ in first.manifest.summary["shards"]]
    number = names.index(touched) if which == "touched" else (names.index(touched) + 1) % len(names)
    part = [entry.name for entry in first.manifest.files if entry.role == "rows"][number]
    damaged = part if suffix == "part" else f"{names[number]}{suffix}"
    damage(first.folder / damaged)
    assert verify_checksums(first) == [damaged]
    second = build(tmp_path, TEXTS[:-1], copies={TEXTS[0]: 4, TEXTS[1]: 4})
    assert verify_checksums(second) == []
    assert second.manifest.run["shards_linked"] == len(names) - len({touched, names[number]})
    scratch = build(tmp_path / "scratch", TEXTS[:-1], copies={TEXTS[0]: 4, TEXTS[1]: 4})
    assert contents(second) == contents(scratch)


def test_only_what_is_copied_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(tmp_path, TEXTS)
    read: list[str] = []
    plain = store.file_digest
    monkeypatch.setattr(store, "file_digest", lambda path: read.append(path.name) or plain(path))
    build(tmp_path, TEXTS[:-1])
    parts = [entry.name for entry in first.manifest.files if entry.role == "rows"]
    assert sorted(read) == sorted([*parts, shard_of(first, TEXTS[-1])])


def test_bytes_that_rot_unseen_are_found_where_they_are_linked_to(tmp_path: Path) -> None:
    first = build(tmp_path, TEXTS)
    touched = shard_of(first, TEXTS[-1])
    name = next(name for name, _ in first.manifest.summary["shards"] if name != touched)
    for rotten in (name, touched):
        path = first.folder / rotten
        before = path.stat()
        damage(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = build(tmp_path, TEXTS[:-1])
    assert verify_checksums(second) == [name], "linked with the checksum that it should have; copied, nothing is wrong"


def test_every_file_has_its_checksum_and_the_index_sums_to_the_files(tmp_path: Path) -> None:
    dataset = build(tmp_path, TEXTS, copies={TEXTS[0]: 3})
    assert verify_checksums(dataset) == []
    ends: dict[str, int] = {}
    for span in spans(dataset):
        assert span["start"] == ends.get(span["shard"], 0)
        ends[span["shard"]] = span["end"]
    sizes = dict(dataset.manifest.summary["shards"])
    assert ends == sizes
    assert sum(sizes.values()) == dataset.manifest.summary["tokens"]
    assert sizes == {name: len(shards.map_shard(dataset.folder / name)) for name in sizes}
