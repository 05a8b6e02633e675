"""Where tokens come from: from a token, a document or a piece of text to its whole chain, and back.

Belongs here: the Python interface of the index, which the commands, the page and the report share. Does not belong
here: printing (`show`), serving (`server`), how the index answers (`lookup`).

    lineage = Lineage.open(store)
    lineage.token("0", 1234).seed["title"]
    lineage.document("3f2a").manifests
    lineage.text("a sentence that somebody has seen").matches
    lineage.tokens({"source": "web", "topic": "Rivers"}).totals

`open` proves that the index belongs to the shards and the mixture that are there. Rows are then read from exactly those
versions of generations, prompts and seeds that the index was made from, whatever is current.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cosmo_assets.lineage.find import Found, Match, find
from cosmo_assets.lineage.lookup import Key, Lookup, Selection
from cosmo_assets.lineage.rows import Rows
from cosmo_assets.real.texts import DOCUMENTS, REAL
from cosmo_assets.tokenization.shards import TOKENIZER_NAME, map_shard
from cosmo_assets.tokenization.stages import stage_of
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import ALL, CorpusStore, Dataset
from cosmo_resources.tokenizers import load_tokenizer

KEYS = {"generations": "doc_id", DOCUMENTS: "doc_id", "prompt_table": "prompt_id", "seed_documents": "seed_id"}
LISTED = 5


@dataclass(frozen=True)
class Trace:
    """Everything behind one token. `span` is the row of `token_lineage`; `copies` are the places of all copies of the
    document; `token_text` is what the document's tokens decode to, read from the shard; `document`, `prompt` and `seed`
    are the rows themselves (a real document has no prompt and no seed: its own row says file, row and licence);
    `manifests` are the versions they were read from, `runs` the Dagster runs that built these, and `run_id` that of the
    document's bucket, or of the real documents."""

    shard: str
    token: int
    token_id: int
    span: dict[str, Any]
    copies: list[dict[str, Any]]
    token_text: str
    document: dict[str, Any]
    prompt: dict[str, Any] | None
    seed: dict[str, Any] | None
    manifests: dict[str, str]
    runs: dict[str, str]
    run_id: str


class Lineage:
    """The lineage of a corpus, opened once and asked often. May be used by several threads."""

    def __init__(self, store: CorpusStore, lookup: Lookup) -> None:
        self._store = store
        self.lookup = lookup
        self._rows: dict[tuple[str, str], Rows] = {}
        self._datasets: dict[tuple[str, str], Dataset] = {}

    @classmethod
    def open(cls, store: CorpusStore) -> "Lineage":
        """The lineage of the current shards.

        Raises:
            CosmoError: the index is not built, damaged, or not of the current shards and mixture.
        """
        return cls(store, Lookup.open(store))

    def token(self, shard: str, token: int) -> Trace:
        """The chain behind the token at position `token` of a shard: its name, or its number, which where there are
        stages counts the shards of all.

        Raises:
            CosmoError: there is no such shard or token.
        """
        name = self._named(shard)
        span = self.lookup.span_at(name, token)
        if span is None:
            sizes = ", ".join(f"{known} ({size} tokens)" for known, size in self._sizes[:LISTED])
            more = f", and {len(self._sizes) - LISTED} more" if len(self._sizes) > LISTED else ""
            raise CosmoError(f"no token {token} in {name}", remedy=f"the shards are {sizes}{more}")
        return self._trace(span, token)

    def _named(self, shard: str) -> str:
        if not shard.isdigit():
            return shard
        names = [name for name, _ in self._sizes]
        if any(stage_of(name) for name in names) and int(shard) < len(names):
            return names[int(shard)]
        return f"shard-{int(shard):05d}.ds"

    def document(self, start: str) -> Trace:
        """The chain behind the first token of a document, by its id or the first characters of it.

        Raises:
            CosmoError: no document of the corpus has such an id, or several do.
        """
        names, count = self.lookup.ids_beginning("doc_id", start.lower(), LISTED)
        if count != 1:
            listed = ", ".join(names) + (", ..." if count > len(names) else "")
            raise CosmoError(
                f"{count} documents of the corpus have ids that begin with {start!r}"
                + (f": {listed}" if count else ""),
                remedy="give more of its id" if count else "`cosmo trace --text` finds documents by what they say",
            )
        document = self.lookup.documents.find(names[0])
        spans = [] if document is None else self.lookup.spans_of_document(document)
        return self._trace(spans[0], None)

    def text(self, text: str, *, scan: bool = False) -> Found:
        """The documents that hold a piece of text (see `find`)."""
        texts = ((bucket, self._dataset(*_place_of(bucket))) for bucket in self.lookup.buckets)
        return find(self.lookup, texts, text, scan=scan)

    def match(self, match: Match) -> Trace:
        """The chain behind the token at which a found text begins, in the first copy of its document.

        Raises:
            CosmoError: the document is not in the corpus.
        """
        if not match.spans:
            raise CosmoError(
                f"document {match.doc_id} was {'read' if match.bucket == REAL else 'generated'} but is not in the "
                "corpus",
                remedy="the rejected rows of generation_quality, decontaminated, deduplicated and mixture say why; of "
                "real documents those of real_eligible and mixture",
            )
        text = self._row(*_place_of(match.bucket)).read(match.row, match.doc_id)["text"]
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        number = next((at for at, (_, end) in enumerate(encoding.offsets) if end > match.start), 0)
        place = self.lookup.place(match.spans[0])
        return self._trace(match.spans[0], min(place["start"] + number, place["end"] - 1))

    def characters(self, found: Trace) -> tuple[int, int]:
        """Where a traced token stands in its document's text, from and to; the end of the text for the token that ends
        it."""
        offsets = self._tokenizer.encode(found.document["text"], add_special_tokens=False).offsets
        number = found.token - found.span["start"]
        end = len(found.document["text"])
        return offsets[number] if number < len(offsets) else (end, end)

    def tokens(self, keys: Mapping[Key, str | None]) -> Selection:
        """The spans that come from all of these (see `Lookup.select`)."""
        return self.lookup.select(keys)

    def row(self, asset: str, name: str) -> dict[str, Any] | None:
        """A prompt or a seed of the corpus by its id, as its row; None if there is none."""
        key = KEYS[asset]
        ids, array = {
            "prompt_id": (self.lookup.prompts, "prompts.row"),
            "seed_id": (self.lookup.seeds, "seeds.row"),
        }[key]
        place = ids.find(name)
        if place is None:
            return None
        return self._row(asset).read(int(self.lookup.files.array(array).item(place)), name)

    def _trace(self, span: int, token: int | None) -> Trace:
        chain = self.lookup.chain(span)
        rows = chain.pop("rows")
        bucket, name = chain["bucket"], chain["shard"]
        at = chain["start"] if token is None else token
        shards = self.lookup.shards
        tokens = map_shard(shards.folder / name)
        places = {asset: bucket if asset == "generations" else ALL for asset in rows}
        document, *behind = (
            self._row(asset, place).read(rows[asset], chain[KEYS[asset]]) for asset, place in places.items()
        )
        prompt, seed = behind or (None, None)
        manifests = {asset: self._dataset(asset, place).manifest for asset, place in reversed(places.items())}
        manifests |= {"tokenized_shards": shards.manifest, "token_lineage": self.lookup.dataset.manifest}
        runs = {asset: str(manifest.run.get("run_id", "")) for asset, manifest in manifests.items()}
        document_number = self.lookup.documents.find(chain["doc_id"])
        copies = [] if document_number is None else self.lookup.spans_of_document(document_number)
        return Trace(
            shard=name,
            token=at,
            token_id=int(tokens[at]),
            span=chain,
            copies=[self.lookup.place(copy) for copy in copies],
            token_text=self._tokenizer.decode(
                tokens[chain["start"] : chain["end"] - 1].tolist(), skip_special_tokens=False
            ),
            document=document,
            prompt=prompt,
            seed=seed,
            manifests={asset: manifest.version for asset, manifest in manifests.items()},
            runs=runs,
            run_id=runs[_place_of(bucket)[0]],
        )

    def _dataset(self, asset: str, bucket: str = ALL) -> Dataset:
        if (asset, bucket) not in self._datasets:
            ref = self.lookup.input(asset, bucket)
            try:
                self._datasets[asset, bucket] = self._store.version(ref)
            except CosmoError as error:
                raise CosmoError(
                    f"{asset} {ref.version}, which the shards were made from, cannot be read: {error.message}",
                    remedy="run `cosmo run` to the end, so that the shards follow what is there now",
                ) from error
        return self._datasets[asset, bucket]

    def _row(self, asset: str, bucket: str = ALL) -> Rows:
        if (asset, bucket) not in self._rows:
            self._rows[asset, bucket] = Rows(self._dataset(asset, bucket), KEYS[asset])
        return self._rows[asset, bucket]

    @cached_property
    def _sizes(self) -> list[tuple[str, int]]:
        return [(name, size) for name, size in self.lookup.shards.manifest.summary["shards"]]

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(str(self.lookup.shards.folder / TOKENIZER_NAME)).tokenizer


def _place_of(bucket: str) -> tuple[str, str]:
    """Asset and bucket of the texts that the index has under a bucket's name."""
    return (DOCUMENTS, ALL) if bucket == REAL else ("generations", bucket)


def trace(store: CorpusStore, shard: str, token: int) -> Trace:
    """`Lineage.token` for a single question."""
    return Lineage.open(store).token(shard, token)


def tokens(store: CorpusStore, keys: Mapping[Key, str | None]) -> Selection:
    """`Lineage.tokens` for a single question."""
    return Lineage.open(store).tokens(keys)
