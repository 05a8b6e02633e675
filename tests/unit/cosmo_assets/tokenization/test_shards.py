"""Token shards: memory maps that a trainer reads, and spans that say which document every token is of."""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datatrove.pipeline.tokens import DocumentTokenizerMerger
from datatrove.pipeline.tokens.merger import load_doc_ends

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest, json_digest
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.tokenizers import NamedTokenizer
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import put, recipe
from tests.unit.cosmo_assets.tiny_tokenizer import EOS, tiny_tokenizer

ODD_TEXTS = [
    "",
    " ",
    "\n",
    "\t\n  \u00a0",
    "a",
    "zwölf Boxkämpfer — “quoted”",
    "e\u0301 and é are two",
    "日本語のテキスト。العربية. हिन्दी",
    "emoji 🧪👩\u200d🔬🏳️\u200d🌈 end",
    "nul \0, separators \u2028\u2029\u0085, \ufeff and \ufffd",
    "  leading and trailing  ",
    "line\r\nline\rline\n\n\n",
    f"a text that spells {EOS} out",
    EOS,
    "x" * 3000,
]
PROSE = [prose(f"document {number}", 40) for number in range(20)]


def built(
    folder: Path,
    texts: list[str],
    *,
    shard_tokens: int = 10**8,
    copies: Mapping[str, int] | None = None,
    buckets: int = 1,
    extra_tokens: int = 0,
    made_of: Recipe | None = None,
    tokenizer: NamedTokenizer | None = None,
) -> Dataset:
    """The shards of some documents; a text's id is its digest, and `copies` counts more than one of it."""
    space = Workspace(CorpusStore(folder / "corpus"), made_of or recipe(tokenization={"shard_tokens": shard_tokens}))
    counts = copies or {}
    parts: dict[str | None, list[dict[str, Any]]] = {f"b{index:03d}": [] for index in range(buckets)}
    for number, text in enumerate(texts):
        bucket = f"b{number % buckets:03d}"
        parts[bucket].append({"doc_id": digest(text), "bucket": bucket, "tokens": 30, "copies": counts.get(text, 1)})
    for index in range(buckets):
        rows = [{"doc_id": digest(text), "text": text} for text in texts[index::buckets]]
        put(space, "generations", {None: rows}, bucket=f"b{index:03d}", version=json_digest(rows))
    total = {"copies": sum(row["copies"] for rows in parts.values() for row in rows)}
    put(space, "mixture", parts, version=json_digest(list(parts.values())), summary=total)
    shards.build(space, tokenizer or tiny_tokenizer(extra_tokens))
    return space.store.open("tokenized_shards")


def spans(dataset: Dataset) -> list[dict[str, Any]]:
    return dataset.table().to_pylist()


def tokens(dataset: Dataset) -> dict[str, list[int]]:
    return {name: shards.map_shard(dataset.folder / name).tolist() for name, _ in dataset.manifest.summary["shards"]}


def decoded(dataset: Dataset, span: Mapping[str, Any]) -> str:
    ids = tokens(dataset)[span["shard"]][span["start"] : span["end"] - 1]
    return str(tiny_tokenizer().tokenizer.decode(ids, skip_special_tokens=False))


@pytest.mark.parametrize("text", ODD_TEXTS, ids=[json.dumps(text)[:24] for text in ODD_TEXTS])
def test_any_text_decodes_from_its_span_to_itself(tmp_path: Path, text: str) -> None:
    dataset = built(tmp_path, [PROSE[0], text, PROSE[1]])
    (span,) = [span for span in spans(dataset) if span["doc_id"] == digest(text)]
    assert decoded(dataset, span) == text


def test_every_document_decodes_from_its_span_to_its_text(tmp_path: Path) -> None:
    dataset = built(tmp_path, [*PROSE, *ODD_TEXTS], shard_tokens=200)
    expected = {digest(text): text for text in [*PROSE, *ODD_TEXTS]}
    assert {span["doc_id"]: decoded(dataset, span) for span in spans(dataset)} == expected


@pytest.mark.parametrize("shard_tokens", [1, 100, 10**8])
def test_spans_tile_every_shard_without_gap_or_overlap(tmp_path: Path, shard_tokens: int) -> None:
    dataset = built(tmp_path, [*PROSE, *ODD_TEXTS], shard_tokens=shard_tokens)
    ends: Counter[str] = Counter()
    for span in spans(dataset):
        assert span["start"] == ends[span["shard"]]
        assert span["end"] > span["start"]
        ends[span["shard"]] = span["end"]
    assert ends == {name: len(ids) for name, ids in tokens(dataset).items()}


def test_every_span_ends_with_the_end_of_text_and_holds_no_other(tmp_path: Path) -> None:
    dataset = built(tmp_path, [*PROSE[:5], *ODD_TEXTS], shard_tokens=200)
    eos = tiny_tokenizer().tokenizer.token_to_id(EOS)
    shard = tokens(dataset)
    for span in spans(dataset):
        ids = shard[span["shard"]][span["start"] : span["end"]]
        assert ids.index(eos) == len(ids) - 1, span


@pytest.mark.parametrize(
    ("shard_tokens", "pinned", "cut"),
    [(600, None, 1), (599, None, 2), (150, None, 4), (149, None, 8), (10**8, None, 1), (10**8, 3, 3)],
)
def test_shards_are_as_many_as_the_size_of_the_corpus_needs_or_the_recipe_says(
    tmp_path: Path, shard_tokens: int, pinned: int | None, cut: int
) -> None:
    made_of = recipe(tokenization={"shard_tokens": shard_tokens, "shards": pinned})
    dataset = built(tmp_path, PROSE, made_of=made_of)  # each of 30 tokens, as the mixture says
    assert dataset.manifest.summary["cut"] == cut
    numbers = [int(name.removeprefix("shard-").removesuffix(".ds")) for name, _ in dataset.manifest.summary["shards"]]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] < cut
    assert sorted(path.name for path in dataset.folder.glob("*.ds")) == [f"shard-{n:05d}.ds" for n in numbers]


def test_a_document_stands_in_the_corpus_as_often_as_the_mixture_says(tmp_path: Path) -> None:
    dataset = built(tmp_path, PROSE[:4], copies={PROSE[1]: 3, PROSE[2]: 2})
    found = Counter((span["doc_id"], span["copy"]) for span in spans(dataset))
    assert found == {
        (digest(PROSE[index]), copy): 1 for index, copies in enumerate((1, 3, 2, 1)) for copy in range(copies)
    }
    assert all(decoded(dataset, span) in PROSE for span in spans(dataset))


def test_documents_are_shuffled_the_same_way_however_they_are_spread_over_buckets(tmp_path: Path) -> None:
    one = built(tmp_path / "one", PROSE, buckets=1, shard_tokens=200)
    other = built(tmp_path / "other", PROSE[::-1], buckets=3, shard_tokens=200)
    assert tokens(one) == tokens(other)
    order = [span["doc_id"] for span in spans(one)]
    assert order not in ([digest(text) for text in PROSE], sorted(order))


def test_copies_of_a_document_do_not_follow_one_another(tmp_path: Path) -> None:
    dataset = built(tmp_path, PROSE, copies=dict.fromkeys(PROSE, 2))
    order = [span["doc_id"] for span in spans(dataset)]
    neighbours = sum(left == right for left, right in itertools.pairwise(order))
    assert neighbours <= 4


@pytest.mark.parametrize(("extra", "width"), [(0, 2), (66_000, 4)], ids=["small vocabulary", "large vocabulary"])
def test_a_token_has_the_width_that_its_vocabulary_needs(tmp_path: Path, extra: int, width: int) -> None:
    text = f"{PROSE[0]} \ue00065999" if extra else PROSE[0]
    dataset = built(tmp_path, [text], extra_tokens=extra)
    path = dataset.folder / "shard-00000.ds"
    mapped = shards.map_shard(path)
    assert mapped.dtype.itemsize == width
    assert path.stat().st_size == len(mapped) * width
    assert mapped.max() < tiny_tokenizer(extra).tokenizer.get_vocab_size()
    assert (mapped.max() > 65_535) == bool(extra)


def test_a_shard_is_mapped_and_not_read(tmp_path: Path) -> None:
    dataset = built(tmp_path, PROSE[:2])
    mapped = shards.map_shard(dataset.folder / "shard-00000.ds")
    assert isinstance(mapped, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 1


def test_datatrove_reads_the_index_as_the_ends_of_the_spans(tmp_path: Path) -> None:
    dataset = built(tmp_path, PROSE[:6])
    with (dataset.folder / "shard-00000.ds.index").open("rb") as stream:
        assert load_doc_ends(stream).tolist() == [span["end"] for span in spans(dataset)]


def test_datatrove_merges_the_shards_into_the_same_tokens(tmp_path: Path) -> None:
    dataset = built(tmp_path, [*PROSE, *ODD_TEXTS], shard_tokens=200)
    merger = DocumentTokenizerMerger(
        str(dataset.folder), str(tmp_path / "merged"), save_filename="all", shuffle=False, progress=False
    )
    merger.run()
    merged = np.fromfile(tmp_path / "merged" / "000_all.ds", dtype="<u2").tolist()
    assert merged == [token for ids in tokens(dataset).values() for token in ids]


def test_the_tokenizer_lies_beside_the_shards_and_is_named_without_a_path(tmp_path: Path) -> None:
    dataset = built(tmp_path, PROSE[:2])
    assert (dataset.folder / "tokenizer.json").read_text(encoding="utf-8") == tiny_tokenizer().tokenizer.to_str()
    (metadata,) = dataset.folder.glob("*.metadata")
    total = dataset.manifest.summary["tokens"]
    assert metadata.read_text(encoding="utf-8").splitlines() == ["tokenizer.json|2", str(total), str(total)]


def test_the_manifest_counts_documents_copies_and_tokens(tmp_path: Path) -> None:
    dataset = built(tmp_path, PROSE[:4], copies={PROSE[0]: 3})
    summary = dataset.manifest.summary
    assert (summary["documents"], dataset.manifest.flow.rows_in, dataset.manifest.flow.rows_out) == (4, 6, 6)
    assert summary["tokens"] == sum(len(ids) for ids in tokens(dataset).values())
    assert summary["round_trips"] == [4, 4]


def test_nothing_but_shards_spans_and_tokenizer_is_left_in_the_folder(tmp_path: Path) -> None:
    dataset = built(tmp_path, PROSE[:2])
    assert sorted(path.name for path in dataset.folder.iterdir()) == [
        "_manifest.json",
        "part-00000.parquet",
        "shard-00000.ds",
        "shard-00000.ds.index",
        "shard-00000.ds.metadata",
        "tokenizer.json",
    ]


def test_a_tokenizer_without_the_end_of_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"the tokenizer tiny has no token '</s>'") as caught:
        built(tmp_path, PROSE[:1], made_of=recipe(tokenization={"eos": "</s>"}))
    assert "tokenization.eos" in caught.value.remedy


def test_a_document_without_a_text_is_an_error(tmp_path: Path) -> None:
    built(tmp_path, PROSE[:3])
    space = Workspace(CorpusStore(tmp_path / "corpus"), recipe())
    rows = [{"doc_id": digest(text), "bucket": "b000", "tokens": 30, "copies": 1} for text in PROSE[:5]]
    put(space, "mixture", {"b000": rows}, version="two more", summary={"copies": 5})
    with pytest.raises(CosmoError, match="2 documents of the mixture are not among the current texts"):
        shards.build(space, tiny_tokenizer())


def test_the_metadata_name_the_repository_of_a_tokenizer_of_the_hub(tmp_path: Path) -> None:
    tokenizer = dataclasses.replace(tiny_tokenizer(), repository="owner/name")
    dataset = built(tmp_path, PROSE[:2], tokenizer=tokenizer)
    (metadata,) = dataset.folder.glob("*.metadata")
    assert metadata.read_text(encoding="utf-8").splitlines()[0] == "owner/name|2"
    assert built(tmp_path, PROSE[:2]).manifest.run["shards_linked"] == 0, "its metadata are others"
