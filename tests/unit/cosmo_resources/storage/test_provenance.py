"""What is read must have been made of what is current, at any distance."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.provenance import Upstream
from cosmo_resources.storage.store import ALL, BuildPlan, CorpusStore
from cosmo_resources.storage.writer import DatasetWriter

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False)])


@pytest.fixture
def store(tmp_path: Path) -> CorpusStore:
    return CorpusStore(tmp_path)


def put(store: CorpusStore, asset: str, rows: dict[str | None, str], *inputs: InputRef, bucket: str = ALL) -> Manifest:
    """Build an asset of one row for each bucket of its files."""

    def produce(writer: DatasetWriter) -> None:
        for part, value in rows.items():
            writer.write(pa.table({"id": [value]}, schema=SCHEMA), bucket=part)
        writer.flow("rows", len(rows), len(rows))

    return store.build(BuildPlan(asset, "1", SCHEMA, {"rows": sorted(rows.values())}, inputs, bucket), produce, run={})


def names(store: CorpusStore, *inputs: InputRef, pinned: frozenset[str] = frozenset()) -> list[tuple[str, str, str]]:
    found = Upstream(store, inputs, pinned=pinned).outdated()
    return [(each.dataset.asset, each.dataset.bucket, each.made_of.asset) for each in found]


def test_nothing_is_outdated_in_a_corpus_built_in_order(store: CorpusStore) -> None:
    seeds = put(store, "seeds", {None: "s"}, InputRef(asset="files", bucket=ALL, version="outside"))
    prompts = put(store, "prompts", {"b000": "p", "b001": "q"}, seeds.ref())
    texts = [put(store, "texts", {None: b}, prompts.ref(b), bucket=b) for b in ("b000", "b001")]
    assert names(store, *(text.ref() for text in texts), prompts.ref()) == []


def test_an_ancestor_of_another_version_is_found_at_any_distance(store: CorpusStore) -> None:
    first = put(store, "benchmarks", {None: "one"})
    clean = put(store, "clean", {None: "c"}, first.ref())
    unique = put(store, "unique", {None: "u"}, clean.ref())
    second = put(store, "benchmarks", {None: "two"})
    assert names(store, unique.ref()) == [("clean", ALL, "benchmarks")]
    (found,) = Upstream(store, [unique.ref()]).outdated()
    assert (found.made_of, found.now) == (first.ref(), second.ref())
    put(store, "benchmarks", {None: "one"})
    assert names(store, unique.ref()) == []


def test_all_that_is_between_is_told_from_the_beginning_on(store: CorpusStore) -> None:
    seeds = put(store, "seeds", {None: "s"})
    prompts = put(store, "prompts", {None: "p"}, seeds.ref())
    texts = put(store, "texts", {None: "t"}, prompts.ref(), seeds.ref())
    put(store, "prompts", {None: "other"}, seeds.ref())
    put(store, "seeds", {None: "more"})
    assert names(store, texts.ref()) == [
        ("prompts", ALL, "seeds"),
        ("texts", ALL, "prompts"),
        ("texts", ALL, "seeds"),
    ]


def test_a_bucket_does_not_depend_on_the_others_of_a_table(store: CorpusStore) -> None:
    prompts = put(store, "prompts", {"b000": "p", "b001": "q"})
    texts = {b: put(store, "texts", {None: b}, prompts.ref(b), bucket=b) for b in ("b000", "b001")}
    put(store, "prompts", {"b000": "p", "b001": "changed"})
    assert names(store, texts["b000"].ref()) == []
    assert names(store, texts["b001"].ref()) == [("texts", "b001", "prompts")]


def test_what_is_pinned_may_be_older_than_its_inputs(store: CorpusStore) -> None:
    seeds = put(store, "seeds", {None: "s"})
    model = put(store, "model", {None: "m"}, seeds.ref())
    clusters = put(store, "clusters", {None: "c"}, model.ref())
    put(store, "seeds", {None: "more"})
    assert names(store, clusters.ref()) == [("model", ALL, "seeds")]
    assert names(store, clusters.ref(), pinned=frozenset({"model"})) == []


def test_an_input_without_a_current_version_is_outdated(store: CorpusStore) -> None:
    prompts = put(store, "prompts", {None: "p"}, bucket="b000")
    texts = put(store, "texts", {None: "t"}, prompts.ref(), bucket="b000")
    shutil.rmtree(store.place("prompts", "b000"))
    put(store, "prompts", {None: "q"}, bucket="b001")
    (found,) = Upstream(store, [texts.ref()]).outdated()
    assert found.now is None


def test_a_manifest_edited_by_hand_is_an_error(store: CorpusStore) -> None:
    seeds = put(store, "seeds", {None: "s"})
    prompts = put(store, "prompts", {None: "p"}, seeds.ref())
    path = store.place("seeds") / seeds.version / "_manifest.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"rows_in":1', '"rows_in":2').replace('"rows_in": 1', '"rows_in": 2'),
        encoding="utf-8",
    )
    with pytest.raises(CosmoError, match="does not match its version"):
        Upstream(store, [prompts.ref()]).outdated()
