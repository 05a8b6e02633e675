"""Look-ups in the index: from a token to its chain of numbers, and from ids and facets to spans.

Belongs here: questions that the arrays answer alone, with proofs that the answer is for the corpus that is there. Does
not belong here: reading texts (`trace`), printing or serving.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from cosmo_assets.lineage.arrays import NO_PROMPT, REMEDY, Array, IndexFiles, Places
from cosmo_assets.lineage.gather import FACETS, FacetKey
from cosmo_assets.real.texts import DOCUMENTS
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import InputRef
from cosmo_resources.storage.store import ALL, CorpusStore, Dataset

IdKey = Literal["prompt_id", "seed_id", "doc_id"]
Key = IdKey | FacetKey
ID_KEYS: tuple[IdKey, ...] = ("doc_id", "prompt_id", "seed_id")

GATHERED = 1 << 16
"""A selection of at most so many spans is put together from the lists of its profiles; a larger one is found by going
through all spans in order, which begins to answer at once and ends after at most one pass over 4 bytes a span."""

PAGE = 1 << 16
SCHEMA = pl.Schema(
    {
        "shard": pl.String,
        "start": pl.Int64,
        "end": pl.Int64,
        "copy": pl.Int64,
        "doc_id": pl.String,
        "prompt_id": pl.String,
    }
)


@dataclass(frozen=True)
class Totals:
    """How much something has made: spans are copies of documents."""

    tokens: int
    spans: int
    documents: int


class Lookup:
    """An opened index. Opening reads some hundred kilobytes; every answer after that reads what it needs, from memory
    maps. An instance may be used by several threads."""

    def __init__(self, dataset: Dataset, shards: Dataset) -> None:
        self.dataset = dataset
        self.shards = shards
        self.files = IndexFiles(dataset)
        facts = self.files.facts
        self.shard_names = [name for name, _ in facts["shards"]]
        self._shard_starts = [start for _, start in facts["shards"]]
        self._buckets = [bucket for bucket, _ in facts["texts"]]
        self._bucket_ends = np.cumsum([rows for _, rows in facts["texts"]]).tolist()
        self._facets: dict[str, list[Any]] = facts["facets"]
        self.documents, self.prompts, self.seeds = (self.files.ids(name) for name in ("documents", "prompts", "seeds"))
        array, groups = self.files.array, self.files.groups
        self._ends, self._copies, self._span_documents = (
            array(f"spans.{name}") for name in ("end", "copy", "document")
        )
        self._prompt_of, self._profile_of, self._rows_of = (
            array(f"documents.{name}") for name in ("prompt", "profile", "row")
        )
        self._seed_of, self._prompt_rows, self._seed_rows = (
            array(name) for name in ("prompts.seed", "prompts.row", "seeds.row")
        )
        self._profiles = array("profiles.value")
        self._profile_tokens, self._profile_documents = array("profiles.tokens"), array("profiles.documents")
        self._spans_of, self._documents_of, self._prompts_of, self._profile_spans = (
            groups(name) for name in ("documents.spans", "prompts.documents", "seeds.prompts", "profiles.spans")
        )

    @classmethod
    def open(cls, store: CorpusStore) -> "Lookup":
        """The index of the current shards.

        Raises:
            CosmoError: it is not built or damaged, or was made from other shards or another mixture than the current.
        """
        dataset, shards = store.open("token_lineage"), store.open("tokenized_shards")
        for ref in dataset.manifest.inputs:
            if ref.asset in ("tokenized_shards", "mixture"):
                current = store.current_version(ref.asset, ref.bucket)
                if current != ref.version:
                    raise CosmoError(
                        f"the token index was made from {ref.asset} {ref.version}, the current one is {current}",
                        remedy="run `cosmo run` to the end, so that the index follows",
                    )
        return cls(dataset, shards)

    def __len__(self) -> int:
        """How many spans there are."""
        return len(self._ends)

    def input(self, asset: str, bucket: str = ALL) -> InputRef:
        """The version of an asset that the index was made from."""
        for ref in self.dataset.manifest.inputs:
            if (ref.asset, ref.bucket) == (asset, bucket):
                return ref
        raise CosmoError(f"the token index was not made from {asset} {bucket}", remedy="run `cosmo run` to the end")

    @property
    def buckets(self) -> list[str]:
        return self._buckets

    def shard_size(self, shard: str) -> int:
        """Tokens of a shard."""
        _, last = self._spans_in(shard)
        return int(self._ends.item(last - 1))

    def span_at(self, shard: str, token: int) -> int | None:
        """The number of the span that holds a token of a shard; None if there is none. Cost: a binary search."""
        if shard not in self.shard_names or token < 0:
            return None
        first, last = self._spans_in(shard)
        start, stop = first, last
        while start < stop:  # by hand: a search over the memory map would read blocks that are not proved
            middle = (start + stop) // 2
            if int(self._ends.item(middle)) <= token:
                start = middle + 1
            else:
                stop = middle
        return start if start < last else None

    def place(self, span: int) -> dict[str, Any]:
        """Where a span is: shard, start, end, and which copy of its document it is."""
        shard = bisect_right(self._shard_starts, span) - 1
        start = 0 if span == self._shard_starts[shard] else int(self._ends.item(span - 1))
        return {
            "shard": self.shard_names[shard],
            "start": start,
            "end": int(self._ends.item(span)),
            "copy": int(self._copies.item(span)),
        }

    def chain(self, span: int) -> dict[str, Any]:
        """Everything about a span: its place, bucket, ids and facets, as a row of the asset's table, and `rows`: where
        document, prompt and seed are read. A real document has neither prompt nor seed.

        Raises:
            CosmoError: the index contradicts itself.
        """
        document = int(self._span_documents.item(span))
        prompt = int(self._prompt_of.item(document))
        row = int(self._rows_of.item(document))
        bucket = bisect_right(self._bucket_ends, row)
        if span not in self._spans_of.of(document, document + 1):
            raise CosmoError(f"{self.dataset.folder}: span {span} is not among those of its document", remedy=REMEDY)
        row -= self._bucket_ends[bucket - 1] if bucket else 0
        names: dict[str, str | None] = {"prompt_id": None, "seed_id": None}
        rows = {DOCUMENTS: row}
        if prompt != NO_PROMPT:
            seed = int(self._seed_of.item(prompt))
            names = {"prompt_id": self.prompts.name(prompt), "seed_id": self.seeds.name(seed)}
            rows = {
                "generations": row,
                "prompt_table": int(self._prompt_rows.item(prompt)),
                "seed_documents": int(self._seed_rows.item(seed)),
            }
        return {
            **self.place(span),
            "doc_id": self.documents.name(document),
            "bucket": self._buckets[bucket],
            **names,
            **self.profile(int(self._profile_of.item(document))),
            "rows": rows,
        }

    def profile(self, number: int) -> dict[str, Any]:
        """The facets of a profile."""
        codes = self._profiles.slice(number, number + 1)[0].tolist()
        return {name: self._facets[name][code] for name, code in zip(FACETS, codes, strict=True)}

    def spans_of_document(self, document: int) -> list[int]:
        """The spans of a document, in the order of the shards."""
        found: list[int] = self._spans_of.of(document, document + 1).tolist()
        return found

    def ids_beginning(self, key: IdKey, start: str, limit: int) -> tuple[list[str], int]:
        """The first ids that begin so, at most `limit`, and how many there are."""
        first, last = self._ids(key).beginning_with(start)
        return self._ids(key).names(np.arange(first, min(last, first + limit))), last - first

    def prompts_of_seed(self, seed: str, start: int = 0, limit: int = 100) -> tuple[list[str], int]:
        """Prompts of a seed in the corpus, and how many there are."""
        place = self.seeds.find(seed)
        found = np.empty(0, np.uint32) if place is None else self._prompts_of.of(place, place + 1)
        return self.prompts.names(found[start : start + limit]), len(found)

    def of_prompt(self, prompt: str) -> dict[str, Any]:
        """A prompt's id and the facets of its first document.

        Raises:
            CosmoError: it is not in the corpus.
        """
        place = self.prompts.find(prompt)
        if place is None:
            raise CosmoError(f"prompt {prompt} is not in the corpus", remedy="look for it by its first characters")
        document = int(self._documents_of.of(place, place + 1)[0])
        return {"prompt_id": prompt, **self.profile(int(self._profile_of.item(document)))}

    def select(self, keys: Mapping[Key, str | None]) -> "Selection":
        """The spans that come from all of these: ids, of which the first characters are enough, and values of facets
        (None asks for those without one).

        Raises:
            CosmoError: there is nothing to select by, or no such key.
        """
        unknown = sorted(set(keys) - {*ID_KEYS, *FACETS})
        if unknown or not keys:
            raise CosmoError(
                f"nothing is selected by {', '.join(unknown) or 'no key'}",
                remedy="name one of " + ", ".join((*ID_KEYS, *FACETS)),
            )
        facets = {key: value for key, value in keys.items() if key in FACETS}
        profiles = self._profiles_with(facets) if facets else None
        documents: Array | None = None
        for key in ID_KEYS:
            if key in keys:
                found = self._documents_from(key, keys[key] or "")
                documents = found if documents is None else documents[np.isin(documents, found)]
        if documents is not None and profiles is not None:
            documents = documents[np.isin(self._profile_of.take(documents), profiles)]
        return Selection(self, documents, profiles)

    def facet(self, key: FacetKey) -> list[tuple[Any, Totals]]:
        """The values of a facet, each with what it has made, by falling tokens."""
        codes = self._table[:, FACETS.index(key)]
        count = len(self._facets[key])
        tokens, spans, documents = (
            _sums(codes, values, count) for values in (self._tokens, self._span_counts, self._document_counts)
        )
        found = [
            (value, Totals(int(tokens[code]), int(spans[code]), int(documents[code])))
            for code, value in enumerate(self._facets[key])
        ]
        return sorted(found, key=lambda entry: (-entry[1].tokens, str(entry[0])))

    def _ids(self, key: IdKey) -> Any:
        return {"doc_id": self.documents, "prompt_id": self.prompts, "seed_id": self.seeds}[key]

    def _spans_in(self, shard: str) -> tuple[int, int]:
        number = self.shard_names.index(shard)
        last = self._shard_starts[number + 1] if number + 1 < len(self._shard_starts) else len(self._ends)
        return self._shard_starts[number], last

    def _documents_from(self, key: IdKey, start: str) -> Array:
        """The documents that an id, or ids that begin so, lead to, ascending."""
        first, last = self._ids(key).beginning_with(start)
        if key == "doc_id":
            return np.arange(first, last)
        if key == "prompt_id":
            return np.sort(self._documents_of.of(first, last))
        return np.sort(self._documents_of.of_each(self._prompts_of.of(first, last)))

    def _profiles_with(self, facets: Mapping[Any, Any]) -> Array:
        kept = np.ones(len(self._profiles), bool)
        for name, value in facets.items():
            codes = [
                code
                for code, known in enumerate(self._facets[name])
                if known == value or (known is not None and str(known) == value)
            ]
            kept &= np.isin(self._table[:, FACETS.index(name)], codes)
        return np.flatnonzero(kept)

    @cached_property
    def _table(self) -> Array:
        return self._profiles.slice(0, len(self._profiles))

    @cached_property
    def _tokens(self) -> Array:
        return self._profile_tokens.slice(0, len(self._profiles))

    @cached_property
    def _document_counts(self) -> Array:
        return self._profile_documents.slice(0, len(self._profiles))

    @cached_property
    def _span_counts(self) -> Array:
        bounds = self.files.array("profiles.spans.bounds")
        return np.diff(bounds.slice(0, len(bounds)))

    def spans_of_documents(self, documents: Array) -> Places:
        """The spans of documents, ascending."""
        return np.sort(self._spans_of.of_each(documents)).astype(np.int64)

    def spans_of_profiles(self, profiles: Array) -> Places:
        return np.sort(self._profile_spans.of_each(profiles)).astype(np.int64)

    def spans_in_order(self, profiles: Array) -> Iterator[Places]:
        """The spans of profiles, ascending, as they are found by going through all."""
        wanted = np.zeros(len(self._profiles), bool)
        wanted[profiles] = True
        of_document = self._profile_of.slice(0, len(self._profile_of))
        for first in range(0, len(self._span_documents), PAGE):
            documents = self._span_documents.slice(first, min(first + PAGE, len(self._span_documents)))
            yield first + np.flatnonzero(wanted[of_document[documents]])

    def totals_of_profiles(self, profiles: Array) -> Totals:
        columns = (self._tokens, self._span_counts, self._document_counts)
        tokens, spans, documents = (int(values[profiles].sum(dtype=np.int64)) for values in columns)
        return Totals(tokens, spans, documents)

    def totals_of_spans(self, spans: Places, documents: int) -> Totals:
        starts, ends = self._edges(spans)
        return Totals(int((ends - starts).sum()), len(spans), documents)

    def breakdown(self, profiles: Array, key: FacetKey) -> dict[Any, int]:
        """The tokens of profiles by a facet."""
        sums = _sums(self._table[profiles, FACETS.index(key)], self._tokens[profiles], len(self._facets[key]))
        return {self._facets[key][code]: int(sums[code]) for code in np.flatnonzero(sums).tolist()}

    def frame(self, spans: Places) -> pl.DataFrame:
        """Spans as a table."""
        documents = self._span_documents.take(spans)
        starts, ends = self._edges(spans)
        names = np.searchsorted(self._shard_starts, spans, side="right") - 1
        columns = {
            "shard": [self.shard_names[name] for name in names.tolist()],
            "start": starts,
            "end": ends,
            "copy": self._copies.take(spans).astype(np.int64),
            "doc_id": self.documents.names(documents),
            "prompt_id": self._prompt_names(self._prompt_of.take(documents)),
        }
        return pl.DataFrame(columns, schema=SCHEMA)

    def _prompt_names(self, prompts: Array) -> list[str | None]:
        there = prompts != NO_PROMPT
        names = iter(self.prompts.names(prompts[there]))
        return [next(names) if has else None for has in there.tolist()]

    def _edges(self, spans: Places) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        ends = self._ends.take(spans).astype(np.int64)
        starts = np.where(spans > 0, self._ends.take(np.maximum(spans - 1, 0)).astype(np.int64), 0)
        starts[np.isin(spans, self._shard_starts)] = 0
        return starts, ends


class Selection:
    """The spans of something, in the order of the shards: its totals at once, and the spans as a slice or a stream."""

    def __init__(self, lookup: Lookup, documents: Array | None, profiles: Array | None) -> None:
        self._lookup = lookup
        self._documents = documents
        self._profiles = profiles if profiles is not None else np.empty(0, np.int64)

    @cached_property
    def totals(self) -> Totals:
        """Cost: linear in the profiles, or, where ids select, in the spans."""
        if self._documents is None:
            return self._lookup.totals_of_profiles(self._profiles)
        return self._lookup.totals_of_spans(self._few, len(self._documents))

    def frame(self, start: int = 0, limit: int | None = None) -> pl.DataFrame:
        """Spans from number `start` on, at most `limit`: shard, start, end, copy, doc_id, prompt_id."""
        frames, skip, left = [], start, limit
        for spans in self._spans():
            part = spans[skip:] if left is None else spans[skip : skip + left]
            skip = max(skip - len(spans), 0)
            left = None if left is None else left - len(part)
            frames.append(self._lookup.frame(part))
            if left == 0:
                break
        return pl.concat([pl.DataFrame(schema=SCHEMA), *frames])

    def frames(self) -> Iterator[pl.DataFrame]:
        """All spans, a bounded number at a time."""
        for spans in self._spans():
            for first in range(0, len(spans), PAGE):
                yield self._lookup.frame(spans[first : first + PAGE])

    def tokens_by(self, key: FacetKey) -> dict[Any, int]:
        """The tokens by a facet, for a selection by facets."""
        return self._lookup.breakdown(self._profiles, key)

    @cached_property
    def _few(self) -> Places:
        if self._documents is not None:
            return self._lookup.spans_of_documents(self._documents)
        return self._lookup.spans_of_profiles(self._profiles)

    def _spans(self) -> Iterator[Places]:
        if self._documents is None and self.totals.spans > GATHERED:
            yield from self._lookup.spans_in_order(self._profiles)
        else:
            yield self._few


def _sums(codes: Array, values: Array, count: int) -> npt.NDArray[np.int64]:
    sums = np.zeros(count, np.int64)
    np.add.at(sums, codes, values.astype(np.int64))
    return sums
