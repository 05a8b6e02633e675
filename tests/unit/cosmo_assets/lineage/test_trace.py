"""Lineage: from any token to its document, prompt and seed, and from those to their tokens, beside a plain scan."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmo_assets.lineage import index
from cosmo_assets.lineage.arrays import BLOCK
from cosmo_assets.lineage.gather import FACETS
from cosmo_assets.lineage.lookup import ID_KEYS, Key, Lookup
from cosmo_assets.lineage.rows import Rows
from cosmo_assets.lineage.trace import Lineage, tokens, trace
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore, Dataset
from tests.unit.cosmo_assets.lineage.planted import (
    COPIES,
    DOCS,
    PROMPTS,
    SAMPLES,
    SEEDS,
    TEXTS,
    TOPICS,
    copies_of,
    generation,
    number_of,
    planted,
    put_inputs,
    put_mixture,
)
from tests.unit.cosmo_assets.synthetic import put
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Eleven documents from ten prompts from five seeds, in two buckets and several shards."""
    return planted(tmp_path_factory.mktemp("lineage"))


def stored(space: Workspace) -> Dataset:
    return space.store.open("token_lineage")


def spans(space: Workspace) -> list[dict[str, Any]]:
    return stored(space).table().to_pylist()


def test_every_span_of_the_shards_is_in_the_table_in_order(space: Workspace) -> None:
    columns = ["shard", "start", "end", "doc_id", "copy"]
    shards_table = space.store.open("tokenized_shards").table(columns).to_pylist()
    assert stored(space).table(columns).to_pylist() == shards_table
    assert len({row["shard"] for row in shards_table}) > 2


def test_a_span_names_everything_behind_it(space: Workspace) -> None:
    for span in spans(space):
        prompt = PROMPTS[SAMPLES[number_of(span["doc_id"])]]
        for column in ("prompt_id", "seed_id", "source", "licence", "cluster_id", "topic", "template"):
            assert span[column] == prompt[column], column


def test_tokens_add_up_in_every_column(space: Workspace) -> None:
    summary = stored(space).manifest.summary
    assert summary["tokens"] == space.store.open("tokenized_shards").manifest.summary["tokens"]
    assert {name: sum(parts.values()) for name, parts in summary["by"].items()} == dict.fromkeys(
        summary["by"], summary["tokens"]
    )
    assert set(summary["by"]["source"]) == {"web", "books"}
    assert set(summary["by"]["topic"]) == {*TOPICS[:2], "(none)"}
    assert (summary["documents"], summary["prompts"], summary["seeds"]) == (10, 9, 5)


@pytest.mark.parametrize("buckets", [1, 3])
@pytest.mark.parametrize("shard_tokens", [60, 100_000], ids=["many shards", "one shard"])
def test_every_token_leads_to_its_chain_as_a_plain_scan_does(tmp_path: Path, buckets: int, shard_tokens: int) -> None:
    space = planted(tmp_path, buckets=buckets, shard_tokens=shard_tokens)
    lookup, rows = Lookup.open(space.store), spans(space)
    for row in rows:
        for token in range(row["start"], row["end"]):
            span = lookup.span_at(row["shard"], token)
            assert span is not None
            found = lookup.chain(span)
            found.pop("rows")
            assert found == row
    sizes = dict(space.store.open("tokenized_shards").manifest.summary["shards"])
    assert (len(sizes) == 1) == (shard_tokens == 100_000)
    for shard, size in sizes.items():
        assert lookup.shard_size(shard) == size
        assert lookup.span_at(shard, size) is None
        assert lookup.span_at(shard, -1) is None
    assert lookup.span_at("shard-77777.ds", 0) is None


def test_a_trace_holds_the_texts_themselves(space: Workspace) -> None:
    lineage = Lineage.open(space.store)
    for span in spans(space):
        number = number_of(span["doc_id"])
        found = lineage.token(span["shard"], (span["start"] + span["end"]) // 2)
        assert found.span == span
        assert found.token_text == found.document["text"] == TEXTS[DOCS[number]]
        assert found.prompt["prompt"] == f"prompt {SAMPLES[number]}"
        assert found.seed["text"] == SEEDS[SAMPLES[number] // 2]["text"]
        assert sorted(copy["copy"] for copy in found.copies) == list(range(copies_of(number)))
        assert {key: span[key] for key in ("shard", "start", "end", "copy")} in found.copies


def test_a_token_is_told_with_its_id_and_the_versions_that_it_went_through(space: Workspace) -> None:
    found = trace(space.store, "0", 3)
    shard = shards.map_shard(space.store.open("tokenized_shards").folder / "shard-00000.ds")
    assert (found.token, found.token_id, found.run_id) == (3, int(shard[3]), "run-1")
    for asset in ("seed_documents", "prompt_table", "tokenized_shards", "token_lineage"):
        assert found.manifests[asset] == space.store.open(asset).manifest.version
    generations = space.store.open("generations", found.span["bucket"])
    assert found.manifests["generations"] == generations.manifest.version
    assert set(found.runs.values()) == {"run-1"}


def test_a_shard_is_named_by_its_number_or_its_file(space: Workspace) -> None:
    assert trace(space.store, "1", 5) == trace(space.store, "shard-00001.ds", 5)


@pytest.mark.parametrize(("shard", "token"), [("0", 10**9), ("0", -1), ("77", 0), ("nothing.ds", 0)])
def test_a_token_that_is_not_there_is_answered_with_the_shards(space: Workspace, shard: str, token: int) -> None:
    with pytest.raises(CosmoError, match=f"no token {token} in ") as caught:
        trace(space.store, shard, token)
    for name, size in space.store.open("tokenized_shards").manifest.summary["shards"][:5]:
        assert f"{name} ({size} tokens)" in caught.value.remedy


def test_a_document_is_found_by_its_id_or_the_beginning_of_it(space: Workspace) -> None:
    lineage = Lineage.open(space.store)
    for number, doc in enumerate(DOCS):
        if copies_of(number):
            found = lineage.document(doc[:12].upper())
            assert found == lineage.document(doc)
            assert (found.span["doc_id"], found.token) == (doc, found.span["start"])
    with pytest.raises(CosmoError, match=r"^0 documents of the corpus have ids that begin with") as caught:
        lineage.document(DOCS[COPIES.index(0)])
    assert "--text" in caught.value.remedy
    with pytest.raises(CosmoError, match=r"^10 documents .* '': \w{32}, .*, \.\.\.$|^0 documents"):
        lineage.document("")
    common = next(first for first in "0123456789abcdef" if sum(doc.startswith(first) for doc in DOCS) > 1)
    with pytest.raises(CosmoError, match=r"^[2-9] documents") as caught:
        lineage.document(common)
    assert all(doc in caught.value.message for doc in DOCS if doc.startswith(common) and copies_of(number_of(doc)))


VALUES: dict[Key, list[Any]] = {
    "prompt_id": [row["prompt_id"] for row in PROMPTS],
    "seed_id": [row["seed_id"] for row in SEEDS],
    "doc_id": DOCS,
    "source": ["web", "books"],
    "template": ["t0", "t1"],
    "licence": ["CC0-1.0", "MIT"],
    "topic": [*TOPICS],
    "cluster_id": [0, 1, 2],
    "model": ["m", "other"],
}


def expected(space: Workspace, keys: dict[Key, Any]) -> list[tuple[Any, ...]]:
    columns = ("shard", "start", "end", "copy", "doc_id", "prompt_id")
    return [
        tuple(span[column] for column in columns)
        for span in spans(space)
        if all(span[key] == value for key, value in keys.items())
    ]


@pytest.mark.parametrize("gathered", [0, 1 << 16], ids=["by going through all", "from lists"])
@pytest.mark.parametrize("key", VALUES)
def test_what_a_thing_has_made_is_exactly_the_spans_that_trace_to_it(
    space: Workspace, key: Key, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosmo_assets.lineage.lookup.GATHERED", gathered)
    monkeypatch.setattr("cosmo_assets.lineage.lookup.PAGE", 3)
    lookup, total = Lookup.open(space.store), 0
    for value in VALUES[key]:
        wanted = expected(space, {key: value})
        found = lookup.select({key: value if value is None else str(value)})
        assert found.frame().rows() == wanted
        assert [row for frame in found.frames() for row in frame.rows()] == wanted
        assert found.frame(1, 2).rows() == wanted[1:3]
        totals = found.totals
        assert totals.tokens == sum(row[2] - row[1] for row in wanted)
        assert (totals.spans, totals.documents) == (len(wanted), len({row[4] for row in wanted}))
        total += totals.spans
    assert total == len(spans(space))


def test_a_selection_by_several_keys_is_what_all_of_them_select(space: Workspace) -> None:
    lookup = Lookup.open(space.store)
    for keys in (
        {"source": "web", "template": "t1"},
        {"seed_id": SEEDS[1]["seed_id"], "template": "t0"},
        {"seed_id": SEEDS[4]["seed_id"], "model": "other", "prompt_id": PROMPTS[9]["prompt_id"]},
        {"source": "books", "licence": "CC0-1.0"},
        {"seed_id": SEEDS[4]["seed_id"], "prompt_id": PROMPTS[9]["prompt_id"]},
        {"seed_id": SEEDS[0]["seed_id"], "prompt_id": PROMPTS[9]["prompt_id"]},
    ):
        found = lookup.select(keys)  # type: ignore[arg-type]
        assert found.frame().rows() == expected(space, keys)  # type: ignore[arg-type]
        assert found.totals.spans == found.frame().height
        assert found.totals.documents == found.frame()["doc_id"].n_unique()


def test_totals_of_a_facet_are_those_of_its_values(space: Workspace) -> None:
    lookup = Lookup.open(space.store)
    for key in FACETS:
        listed = lookup.facet(key)  # type: ignore[arg-type]
        assert [entry[1].tokens for entry in listed] == sorted((entry[1].tokens for entry in listed), reverse=True)
        for value, totals in listed:
            assert totals == lookup.select({key: None if value is None else str(value)}).totals  # type: ignore[dict-item]
    assert {row[0] for row in lookup.facet("topic")} == {*TOPICS}
    web = lookup.select({"source": "web"})
    assert sum(web.tokens_by("template").values()) == web.totals.tokens
    assert web.tokens_by("template")["t1"] == lookup.select({"source": "web", "template": "t1"}).totals.tokens


def test_a_seed_knows_its_prompts(space: Workspace) -> None:
    lookup = Lookup.open(space.store)
    for number, seed in enumerate(SEEDS):
        rows = [row["prompt_id"] for at, row in enumerate(PROMPTS) if at // 2 == number and copies_of(at)]
        assert lookup.prompts_of_seed(seed["seed_id"]) == (sorted(rows), len(rows))
    assert lookup.prompts_of_seed("0" * 32) == ([], 0)


def test_an_id_may_be_abbreviated_and_a_name_may_not(space: Workspace) -> None:
    whole, short = (tokens(space.store, {"seed_id": SEEDS[1]["seed_id"][:size]}).frame() for size in (32, 10))
    assert whole.equals(short)
    assert whole.height
    assert tokens(space.store, {"source": "we"}).frame().is_empty()
    assert tokens(space.store, {"topic": "None"}).frame().is_empty()


def test_what_made_nothing_has_no_tokens(space: Workspace) -> None:
    for keys in ({"prompt_id": "0" * 32}, {"doc_id": DOCS[COPIES.index(0)]}, {"seed_id": "no id"}, {"source": "x"}):
        found = tokens(space.store, keys)  # type: ignore[arg-type]
        assert found.frame().is_empty()
        assert (found.totals.tokens, found.totals.spans, found.totals.documents) == (0, 0, 0)


def test_an_unknown_key_is_answered_with_those_there_are(space: Workspace) -> None:
    for keys in ({"colour": "red"}, {}):
        with pytest.raises(CosmoError, match="nothing is selected by") as caught:
            tokens(space.store, keys)  # type: ignore[arg-type]
        assert all(key in caught.value.remedy for key in (*ID_KEYS, *FACETS))


def contents(space: Workspace) -> dict[str, bytes]:
    folder = stored(space).folder
    return {path.name: path.read_bytes() for path in sorted((folder / "index").glob("*.npy"))}


def test_the_index_is_the_same_for_another_order_of_rows(tmp_path: Path) -> None:
    one, other = (planted(tmp_path / str(order), order=order) for order in (0, 7))
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys()
    different = {name for name in first if first[name] != second[name]}
    assert different <= {"documents.row.npy", "seeds.row.npy", "blocks.npy"}
    assert "documents.row.npy" in different, "rows stand elsewhere now"
    assert stored(one).table().equals(stored(other).table())


def test_it_gives_the_same_answers_from_any_number_of_buckets(tmp_path: Path) -> None:
    answers = []
    for buckets in (1, 4):
        space = planted(tmp_path / str(buckets), buckets=buckets)
        lookup = Lookup.open(space.store)
        chains = [lookup.chain(span) for span in range(len(spans(space)))]
        answers.append([{key: value for key, value in row.items() if key not in ("bucket", "rows")} for row in chains])
    assert answers[0] == answers[1]


def copy_of(space: Workspace, folder: Path) -> Workspace:
    """A copy of the corpus that a test may change."""
    shutil.copytree(space.store.root, folder, dirs_exist_ok=True)
    return Workspace(CorpusStore(folder), space.recipe)


def test_shards_of_documents_that_are_gone_cannot_be_indexed(tmp_path: Path, space: Workspace) -> None:
    changed = copy_of(space, tmp_path)
    put(changed, "generations", {None: [generation(1)]}, bucket="b001", version="2")
    with pytest.raises(CosmoError, match="tokenized_shards was made of another version of generations") as caught:
        index.build(changed)
    assert "cosmo run" in caught.value.remedy


def test_a_mixture_of_documents_that_are_gone_cannot_be_indexed(tmp_path: Path) -> None:
    space = planted(tmp_path)
    names = ["b000", "b001"]
    number, bucket = next((n, b) for n in (0, 1) for b in names if bucket_holds(space, b, n))
    wrong = names[1 - names.index(bucket)]
    put_mixture(space, [(number, wrong, 1)], names, version="2")
    shards.build(space, tiny_tokenizer())
    with pytest.raises(CosmoError, match="is not among the current generations") as caught:
        index.build(space)
    assert "cosmo run" in caught.value.remedy


def bucket_holds(space: Workspace, bucket: str, number: int) -> bool:
    return DOCS[number] in space.store.open("generations", bucket).table(["doc_id"])["doc_id"].to_pylist()


def test_a_seed_that_is_gone_cannot_be_indexed(tmp_path: Path, space: Workspace) -> None:
    changed = copy_of(space, tmp_path)
    put(changed, "seed_documents", {None: SEEDS[1:]}, version="2")
    with pytest.raises(CosmoError, match=f"seed {SEEDS[0]['seed_id']} of the prompts .* is not among") as caught:
        index.build(changed)
    assert "cosmo run" in caught.value.remedy


@pytest.mark.parametrize("asset", ["tokenized_shards", "mixture"])
def test_an_index_of_other_shards_or_another_mixture_refuses(tmp_path: Path, space: Workspace, asset: str) -> None:
    changed = copy_of(space, tmp_path)
    before = changed.store.open(asset).manifest.version
    if asset == "mixture":
        put_mixture(changed, [(0, "b000", 1)], ["b000", "b001"], version="2")
    else:
        put(changed, asset, {None: []}, version="2")
    with pytest.raises(CosmoError, match=f"made from {asset} {before}, the current one is") as caught:
        trace(changed.store, "0", 0)
    assert "cosmo run" in caught.value.remedy


def test_rows_are_read_from_the_versions_that_the_shards_were_made_from(tmp_path: Path, space: Workspace) -> None:
    changed, before = copy_of(space, tmp_path), trace(space.store, "0", 0)
    put(changed, "seed_documents", {None: []}, version="2")
    assert trace(changed.store, "0", 0) == before
    shutil.rmtree(tmp_path / "seed_documents" / "all" / before.manifests["seed_documents"])
    with pytest.raises(CosmoError, match=r"seed_documents .*, which the shards were made from") as caught:
        trace(changed.store, "0", 0)
    assert "cosmo run" in caught.value.remedy


def files_of_the_index(space: Workspace) -> list[str]:
    return [entry.name for entry in stored(space).manifest.files if entry.name.startswith("index/")]


def test_no_edited_byte_is_answered_from(tmp_path: Path, space: Workspace) -> None:
    """One byte of one file is changed, its length kept: whoever reads it is told the file and what to do; who does not
    read it gets the right answer."""
    everything = answers(space.store)
    told = set()
    for name in files_of_the_index(space):
        path = stored(space).folder.relative_to(space.store.root) / name
        size = (space.store.root / path).stat().st_size
        for place in {0, size // 2, size - 1}:
            changed = copy_of(space, tmp_path / f"{name.replace('/', '_')}-{place}")
            target = changed.store.root / path
            content = bytearray(target.read_bytes())
            content[place] ^= 0x10
            target.write_bytes(content)
            try:
                assert answers(changed.store) == everything, name
            except CosmoError as error:
                assert str(target) in error.message, error.message
                assert "cosmo run --asset token_lineage" in error.remedy
                told.add(name)
            shutil.rmtree(changed.store.root)
    assert told == set(files_of_the_index(space))


def answers(store: CorpusStore) -> Any:
    """Something from every file of the index."""
    lineage = Lineage.open(store)
    lookup = lineage.lookup
    chains = [lookup.chain(span) for span in range(len(lookup))]
    reverse = [
        lookup.select({key: value if value is None else str(value)}).frame().rows()
        for key, values in VALUES.items()
        for value in values
    ]
    found = [lineage.text(TEXTS[doc]).matches for doc in DOCS]
    sizes = [[(value, totals.documents) for value, totals in lookup.facet("source")]]
    seeds = [lookup.prompts_of_seed(seed["seed_id"]) for seed in SEEDS]
    rows = [lineage.row("prompt_table", PROMPTS[0]["prompt_id"]), lineage.row("seed_documents", SEEDS[0]["seed_id"])]
    return json.dumps([chains, reverse, [[str(match) for match in group] for group in found], sizes, seeds, rows])


def test_a_row_that_is_another_than_the_index_says_is_told(space: Workspace) -> None:
    rows = Rows(space.store.open("seed_documents"), "seed_id")
    name = rows.read(2)["seed_id"]
    assert rows.read(2, name)["seed_id"] == name
    with pytest.raises(CosmoError, match=rf"part-00000\.parquet: row 1 is \w+, the index says {name}") as caught:
        rows.read(1, name)
    assert "cosmo run --asset seed_documents" in caught.value.remedy
    with pytest.raises(CosmoError, match="no row 5"):
        rows.read(5)


def test_a_row_that_cannot_be_read_is_told(tmp_path: Path, space: Workspace) -> None:
    changed = copy_of(space, tmp_path)
    found = trace(space.store, "0", 0)
    bucket, version = found.span["bucket"], found.manifests["generations"]
    folder = tmp_path / "generations" / bucket / version
    for path in sorted(folder.glob("part-*.parquet")):
        content = bytearray(path.read_bytes())
        content[8 : len(content) // 2] = bytes(len(content) // 2 - 8)
        path.write_bytes(content)
    with pytest.raises(CosmoError, match=r"part-\d+\.parquet: .*row") as caught:
        trace(changed.store, "0", 0)
    assert "cosmo doctor --deep" in caught.value.remedy


def test_blocks_are_proved_one_by_one(tmp_path: Path) -> None:
    """A file of several blocks: damage in one of them is no harm to who reads another."""
    from cosmo_assets.lineage.arrays import Checked, _block_digests, _save

    values = np.arange(5 * BLOCK // 8, dtype=np.uint64)
    path = tmp_path / "values.npy"
    _save(path, values)
    digests = _block_digests(path)
    content = bytearray(path.read_bytes())
    content[2 * BLOCK + 5] ^= 1
    path.write_bytes(content)
    array = Checked(path, digests)
    assert array.item(3) == 3
    assert array.slice(4 * BLOCK // 8, len(values)).tolist() == values[4 * BLOCK // 8 :].tolist()
    harmed = 2 * BLOCK // 8
    for read in (
        lambda: array.item(harmed),
        lambda: array.slice(0, len(values)),
        lambda: array.take(np.array([0, harmed])),
    ):
        with pytest.raises(CosmoError, match=r"values\.npy: damaged or edited near byte 32768"):
            read()


def test_a_version_without_arrays_says_what_to_do(tmp_path: Path, space: Workspace) -> None:
    changed = copy_of(space, tmp_path)
    put(changed, "token_lineage", {None: []}, version="1")
    with pytest.raises(CosmoError, match=r"layout\.json: not what was written") as caught:
        Lineage.open(changed.store)
    assert "cosmo run --asset token_lineage" in caught.value.remedy


def test_fingerprints_of_unchanged_buckets_are_taken_over(tmp_path: Path) -> None:
    space = planted(tmp_path / "first")
    before = stored(space)
    rows = [(n, b, 1) for n in (0, 1, 2) for b in ("b000", "b001") if bucket_holds(space, b, n)]
    put_mixture(space, rows, ["b000", "b001"], version="2")
    shards.build(space, tiny_tokenizer())
    index.build(space)
    after = stored(space)
    assert after.folder != before.folder
    for bucket in ("b000", "b001"):
        name = f"index/snippets/{bucket}.npy"
        assert (after.folder / name).stat().st_ino == (before.folder / name).stat().st_ino
    fresh = Workspace(CorpusStore(tmp_path / "second"), space.recipe)
    put_inputs(fresh)
    put_mixture(fresh, rows, ["b000", "b001"], version="2")
    shards.build(fresh, tiny_tokenizer())
    assert index.build(fresh).version == after.manifest.version
