"""Tokenized shards: the mixture as token files that a trainer maps into memory.

Belongs here: the stage, the files, and which of them an earlier version has already. Does not belong here: the order
of documents (`layout`), encoding them (`encoding`), what a span comes from (`cosmo_assets.lineage`).

Format: datatrove's, see docs/format.md. `NAME.ds` holds token ids (uint16, or uint32 for vocabularies above 65,536),
little-endian, each document followed by the end-of-text token; `NAME.ds.index` holds the documents' ends (uint64);
`NAME.ds.metadata` names the tokenizer and counts the tokens. `tokenizer.json` lies beside them. Where the mixture has
stages, each has a folder of such files, and `stages.json` lists them in order.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.ids import ids_of, uniforms
from cosmo_assets.real.texts import DOCUMENTS, texts_of
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.corpus import TOKENIZED_SHARDS
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization.encoding import Chunk, Encoding, Part, TokenIds, encoded, write_spans
from cosmo_assets.tokenization.layout import Layout, Places, Tokens
from cosmo_assets.tokenization.stages import LISTING, counted, listing, stages_of
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.earlier import RowSource, unchanged_keys, versions_made_alike
from cosmo_resources.storage.files import disk_errors, link_or_copy, sync, write_text
from cosmo_resources.storage.ledger import ShardLedger
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import BuildPlan, CorpusStore, Dataset, intact
from cosmo_resources.storage.writer import DatasetWriter, read_table
from cosmo_resources.tokenizers import NamedTokenizer

STAGE_VERSION = "2"
TOKENIZER_NAME = "tokenizer.json"
SUFFIXES = ("", ".index", ".metadata")
"""What is appended to a shard's name to name its files."""
WORK = "shards"
"""Folder of unfinished work: encoded chunks, and by plan the shards that are done."""
CHUNK_DOCUMENTS = 20_000
"""Documents that are encoded as one piece of work, at least; the last piece has the rest."""
GATHERED = 50_000
"""Documents whose tokens are put together at a time."""
ROUND_TRIPS = 64
"""Documents that are decoded again from the finished shards."""


def build(workspace: Workspace, tokenizer: NamedTokenizer) -> Manifest:
    """Build `tokenized_shards`. A shard whose documents are what they were is linked from the earlier version. A killed
    build goes on with the chunks and shards that it has finished.

    Cost: encoding the documents that no earlier version has encoded with the same tokenizer, copying the tokens of the
    shards that are not what they were and comparing the checksums of what they are copied from, and one pass over the
    ids of the mixture and over the earlier version's index; its other tokens are not read. Memory: some 100 bytes for
    each document and copy, the texts of one chunk in each process, and the index of the largest shard. Disk: beside the
    shards, what is encoded anew a second time.

    Raises:
        CosmoError: the tokenizer does not know the end-of-text token; a document of the mixture is not among the
            current generations and real documents.
    """
    recipe = workspace.recipe.tokenization
    if tokenizer.tokenizer.token_to_id(recipe.eos) is None:
        raise CosmoError(
            f"the tokenizer {tokenizer.name} has no token {recipe.eos!r}",
            remedy="set tokenization.eos in the recipe to its end-of-text token",
        )
    store = workspace.store
    mixture = store.open("mixture")
    texts = texts_of(store, mixture)
    plan = BuildPlan(
        "tokenized_shards",
        STAGE_VERSION,
        TOKENIZED_SHARDS,
        params(workspace.recipe, tokenizer),
        (mixture.ref(), *(dataset.ref() for dataset in texts.values())),
    )
    manifest = workspace.build(
        plan.asset,
        lambda writer: _Build(workspace, plan, tokenizer, mixture, texts, writer).produce(),
        stage_version=plan.stage_version,
        inputs=plan.inputs,
        params=plan.params,
    )
    with store.lock(plan.asset, wait=False) as held:
        if held:
            shutil.rmtree(store.work(plan.asset) / WORK, ignore_errors=True)
    return manifest


def params(recipe: Recipe, tokenizer: NamedTokenizer) -> dict[str, Any]:
    """What of the recipe `tokenized_shards` depends on."""
    return {
        "tokenizer": tokenizer.digest,
        "named": named(tokenizer),
        "eos": recipe.tokenization.eos,
        "shard_tokens": recipe.tokenization.shard_tokens,
        "shards": recipe.tokenization.shards,
    }


def map_shard(path: Path) -> TokenIds:
    """The tokens of a `.ds` file as a read-only memory map."""
    size = int(path.with_name(path.name + ".metadata").read_text(encoding="utf-8").splitlines()[0].split("|")[-1])
    return np.memmap(path, dtype=np.uint16 if size == 2 else np.uint32, mode="r")


def named(tokenizer: NamedTokenizer) -> str:
    """What a shard's metadata calls its tokenizer: the repository, from which a trainer may load it, or the file beside
    the shards."""
    return tokenizer.repository or TOKENIZER_NAME


class _Earlier:
    """An earlier version of the shards whose tokens are what this build would encode."""

    def __init__(self, dataset: Dataset) -> None:
        self.folder = dataset.folder
        self.inputs = {(ref.asset, ref.bucket): ref for ref in dataset.manifest.inputs}
        self.dataset = dataset
        stages = dataset.manifest.summary.get("stages") or [{"folder": "", "cut": dataset.manifest.summary["cut"]}]
        self.cuts: dict[str, int] = {stage["folder"]: int(stage["cut"]) for stage in stages}
        """By the folders of the stages, the numbers of their shards."""
        self.sizes: dict[str, int] = dict(dataset.manifest.summary["shards"])
        rows = [entry for entry in dataset.manifest.files if entry.role == "rows"]
        self.parts = dict(zip(self.sizes, rows, strict=True))
        """By the names of the shards, in order, the parts of the index."""
        self.checksums = {entry.name: entry.checksum for entry in dataset.manifest.files}

    @classmethod
    def find(cls, store: CorpusStore, plan: BuildPlan) -> "_Earlier | None":
        """The best such version; of its files nothing but their sizes has been looked at."""
        how = itemgetter("tokenizer", "named", "eos")
        return next(map(cls, versions_made_alike(store, plan, depends=how, also=[DOCUMENTS])), None)

    def linkable(self, name: str) -> bool:
        """Whether the files of a shard may be linked: none was modified since (see `intact`)."""
        files = [self.parts[name].name, *(f"{name}{suffix}" for suffix in SUFFIXES)]
        return all(intact(self.dataset, file, read=False) for file in files)


class _Build:
    """One build of the shards, from the ids to the files."""

    def __init__(
        self,
        workspace: Workspace,
        plan: BuildPlan,
        tokenizer: NamedTokenizer,
        mixture: Dataset,
        texts: Mapping[str, Dataset],
        writer: DatasetWriter,
    ) -> None:
        recipe = workspace.recipe.tokenization
        self._store = workspace.store
        self._told = workspace.progress
        self._tokenizer = tokenizer
        self._mixture = mixture
        self._texts = texts
        self._writer = writer
        self._work = workspace.store.work(plan.asset) / WORK
        self._ledger = ShardLedger(self._work / plan.digest)
        self._earlier = _Earlier.find(workspace.store, plan)
        self._width = 2 if tokenizer.tokenizer.get_vocab_size() <= 1 << 16 else 4
        self._encoding = Encoding(writer.folder / TOKENIZER_NAME, tokenizer.digest, recipe.eos, self._width)
        sizes = (pc.sum(pc.multiply(table["tokens"], table["copies"])).as_py() for table in self._mixed("tokens"))
        withdrawn = self._mixture.manifest.summary.get("withdrawn", {}).get("tokens", 0)
        self._stages = stages_of(mixture.manifest, recipe, sum(size or 0 for size in sizes) + withdrawn)
        by_stage = ["stage_copies"] if len(self._stages) > 1 else []
        self._layout = Layout.of(self._mixed("doc_id", *by_stage), [stage.cut for stage in self._stages])
        self._names = [stage.shard_name(number) for stage in self._stages for number in range(stage.cut)]
        """The names of all shards, of which those without a document have no file."""
        self._tokens = Tokens.unknown(len(self._layout.documents))
        self._files: list[Path] = []
        """What the tokens are read from, by number."""
        self._linked: set[str] = set()
        """The shards that are what they were."""

    def produce(self) -> None:
        writer = self._writer
        writer.artifact(TOKENIZER_NAME, lambda path: write_text(path, self._tokenizer.tokenizer.to_str()))
        if self._earlier is not None:
            self._take_over(self._earlier)
        writer.reused_rows = int((self._tokens.source >= 0).sum())
        self._encode()
        sizes: list[tuple[str, int]] = []
        for shard in range(self._layout.shards):
            places = self._layout.in_shard(shard)
            if not len(places):
                continue  # an empty file cannot be mapped
            name = self._names[shard]
            if self._earlier is not None and name in self._linked:
                self._link(self._earlier, name)
            else:
                self._write(shard, name, places)
            sizes.append((name, int(self._tokens.size[places].sum())))
        if not sizes:
            writer.write(TOKENIZED_SHARDS.empty_table())
        self._account(sizes)
        writer.run["shards_linked"] = len(self._linked)

    def _mixed(self, *columns: str) -> Iterator[pa.Table]:
        """The mixture by bucket: some columns, and how many copies there are."""
        return (self._mixture.table([*columns, "copies"], bucket=bucket) for bucket in self._texts)

    def _take_over(self, earlier: _Earlier) -> None:
        """Find the tokens of the documents whose texts are what they were, and the shards that can be linked. A
        document's further copies, which the earlier version may lack, are read from its first."""
        layout, firsts = self._layout, self._layout.first[self._layout.documents]
        same = self._same_texts(earlier)
        for name, part in earlier.parts.items():
            self._files.append(earlier.folder / name)
            if not intact(earlier.dataset, part.name):
                continue
            table = read_table(earlier.folder / part.name, ["doc_id", "copy", "start", "end"])
            documents = layout.find(table["doc_id"])
            copies, start, end = (table[column].to_numpy().astype(np.int64) for column in ("copy", "start", "end"))
            places = layout.first[documents] + copies
            wanted = (documents >= 0) & same[documents] & (places < layout.first[documents + 1])
            self._tokens.put(places[wanted], len(self._files) - 1, start[wanted], end[wanted])
        self._tokens.repeat(firsts)
        by_shard = {name: layout.in_shard(shard) for shard, name in enumerate(self._names)}
        unchanged = {name for name, places in by_shard.items() if self._unchanged(earlier, name, places)}
        self._linked = set(filter(earlier.linkable, unchanged))
        written = [places for name, places in by_shard.items() if name not in self._linked]
        copied = set(self._tokens.source[np.concatenate([np.empty(0, np.int64), *written])].tolist())
        for number, name in enumerate(earlier.parts):
            if number in copied and not intact(earlier.dataset, name):
                self._tokens.forget(number)
                self._linked.discard(name)
        self._tokens.repeat(firsts)

    def _same_texts(self, earlier: _Earlier) -> npt.NDArray[np.bool_]:
        """Of each document, whether it has the text that the earlier version encoded."""
        same = np.zeros(len(self._layout.ids) + 1, np.bool_)  # the last for what is no document
        for bucket, dataset in self._texts.items():
            ref = dataset.ref()
            if earlier.inputs.get((ref.asset, ref.bucket)) == ref:
                ids = self._mixture.table(["doc_id"], bucket=bucket)["doc_id"]
            else:
                keys = unchanged_keys(self._store, earlier.dataset, "doc_id", [RowSource(dataset, ("text",))])
                ids = pa.array(sorted(keys), pa.string())
            same[self._layout.find(ids)] = True
        same[-1] = False
        return same

    def _encode(self) -> None:
        done, total = self._writer.reused_rows, len(self._layout.documents)
        for chunk, path, ends in encoded(self._chunks(), self._encoding, self._work / "encoded"):
            starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
            self._tokens.put(chunk.places, len(self._files), starts, ends)
            self._files.append(path)
            done += len(ends)
            self._told(done, total, "documents")

    def _chunks(self) -> Iterator[Chunk]:
        """The documents that must be encoded, in the order of buckets and part files.

        Raises:
            CosmoError: at the end, if some are not among the texts.
        """
        layout = self._layout
        missing = np.append(self._tokens.source[layout.first[:-1]] < 0, False)  # the last for what is no document
        parts: list[Part] = []
        found: list[Places] = []
        for bucket, dataset in self._texts.items():
            if not missing[layout.find(self._mixture.table(["doc_id"], bucket=bucket)["doc_id"])].any():
                continue
            for entry in (entry for entry in dataset.manifest.files if entry.role == "rows"):
                documents = layout.find(read_table(dataset.folder / entry.name, ["doc_id"])["doc_id"])
                rows = np.flatnonzero(missing[documents])
                missing[documents[rows]] = False
                if len(rows):
                    parts.append(Part(dataset.folder / entry.name, entry.content, rows))
                    found.append(documents[rows])
                if sum(map(len, found)) >= CHUNK_DOCUMENTS:
                    yield self._chunk(parts, found)
                    parts, found = [], []
        if parts:
            yield self._chunk(parts, found)
        if missing.any():
            first = ids_of(layout.ids[np.flatnonzero(missing)[:1]])[0]
            raise CosmoError(
                f"tokenized_shards: {missing.sum()} documents of the mixture are not among the current texts, "
                f"the first is {first}",
                remedy="these were built again since the mixture was: run `cosmo run` to the end, so that it follows",
            )

    def _chunk(self, parts: Sequence[Part], found: Sequence[Places]) -> Chunk:
        documents = np.concatenate(found)
        by_number = np.argsort(documents)
        places = self._layout.shuffled(self._layout.of_documents(documents))
        entries = by_number[np.searchsorted(documents[by_number], self._layout.documents[places])]
        return Chunk(tuple(parts), entries, places)

    def _unchanged(self, earlier: _Earlier, name: str, places: Places) -> bool:
        """Whether these copies are all that the shard of this name held, in the same order."""
        folder = name[: name.rfind("/") + 1]
        cut = next(stage.cut for stage in self._stages if stage.folder == folder)
        if not len(places) or earlier.cuts.get(folder) != cut or name not in earlier.sizes:
            return False
        start, size = self._tokens.start[places], self._tokens.size[places]
        ends = np.cumsum(size)
        within = (self._tokens.source[places] == list(earlier.sizes).index(name)).all()
        return bool(within and ends[-1] == earlier.sizes[name] and (start == ends - size).all())

    def _link(self, earlier: _Earlier, name: str) -> None:
        part = earlier.parts[name]
        path = earlier.folder / part.name
        self._writer.adopt(path, rows=part.rows, content=part.content, checksum=part.checksum)
        for file in (f"{name}{suffix}" for suffix in SUFFIXES):
            produce = partial(link_or_copy, earlier.folder / file)
            self._writer.artifact(file, produce, checksum=earlier.checksums[file])

    def _write(self, shard: int, name: str, places: Places) -> None:
        """Write a shard, unless a killed build has sealed it, and take it into the version."""
        folder = self._ledger.folder
        size = self._tokens.size[places]
        whole = (folder / name).is_file() and (folder / name).stat().st_size == int(size.sum()) * self._width
        done = self._ledger.done(shard) if whole else None
        if done is None:
            ends = np.cumsum(size)
            metadata = f"{named(self._tokenizer)}|{self._width}\n{ends[-1]}\n{ends[-1]}"
            with disk_errors(folder):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                self._gather(folder / name, places)
                ends.astype("<u8").tofile(folder / f"{name}.index")
                for file in (name, f"{name}.index"):
                    sync(folder / file)
                write_text(folder / f"{name}.metadata", metadata)
            columns = {
                "shard": pa.repeat(name, len(places)),
                "start": ends - size,
                "end": ends,
                "doc_id": self._layout.doc_ids(places),
                "copy": self._layout.copies(places).astype(np.int64),
            }
            done = self._ledger.seal(shard, pa.table(columns).cast(TOKENIZED_SHARDS), {"tokens": int(ends[-1])})
        self._writer.adopt(self._ledger.parquet(shard), rows=done.rows, content=done.content, checksum=done.checksum)
        for file in (f"{name}{suffix}" for suffix in SUFFIXES):
            self._writer.artifact(file, partial(link_or_copy, folder / file))

    def _gather(self, path: Path, places: Places) -> None:
        """Write the tokens of these copies one after another."""
        numbers = np.unique(self._tokens.source[places]).tolist()
        maps = {number: self._encoding.mapped(self._files[number]) for number in numbers}
        with path.open("wb") as stream:
            for first in range(0, len(places), GATHERED):
                block = places[first : first + GATHERED]
                source, start, size = (
                    column[block].tolist() for column in (self._tokens.source, self._tokens.start, self._tokens.size)
                )
                spans = zip(source, start, size, strict=True)
                write_spans(stream, [(maps[number], begin, begin + length) for number, begin, length in spans])

    def _account(self, sizes: list[tuple[str, int]]) -> None:
        layout, writer = self._layout, self._writer
        tried, same = self._round_trips()
        writer.flow("copies", self._mixture.manifest.summary["copies"], len(layout.documents))
        writer.summary = {
            "tokens": sum(size for _, size in sizes),
            "documents": len(layout.ids),
            "shards": [[name, size] for name, size in sizes],
            "cut": layout.shards,
            "tokenizer": self._tokenizer.name,
            "vocabulary": self._tokenizer.tokenizer.get_vocab_size(),
            "round_trips": [tried, same],
        }
        if self._stages[0].folder:
            rows = self._by_stage(sizes)
            writer.summary["stages"] = rows
            writer.artifact(LISTING, lambda path: write_text(path, listing(rows, sizes)))

    def _by_stage(self, sizes: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        firsts = [*self._layout.firsts, self._layout.shards]
        copies = np.diff(self._layout.begins[firsts]).tolist()
        mixed = np.zeros(len(self._stages), np.int64)
        for table in self._mixed("stage_copies"):
            values = table["stage_copies"].combine_chunks().flatten().to_numpy()
            mixed += values.reshape(-1, len(self._stages)).sum(axis=0)
        return counted(self._stages, sizes, copies, mixed.tolist())

    def _round_trips(self) -> tuple[int, int]:
        """Decode some documents, drawn by their ids: how many, and how many of them are their texts."""
        layout = self._layout
        drawn = np.argsort(uniforms(layout.ids[:, 1], "round trip"), kind="stable")[:ROUND_TRIPS]
        wanted = np.zeros(len(layout.ids) + 1, np.bool_)
        wanted[drawn] = True
        same = 0
        for bucket, dataset in self._texts.items():
            if not wanted[layout.find(self._mixture.table(["doc_id"], bucket=bucket)["doc_id"])].any():
                continue
            for path in dataset.paths():
                documents = layout.find(read_table(path, ["doc_id"])["doc_id"])
                rows = np.flatnonzero(wanted[documents])
                if len(rows):
                    texts = read_table(path, ["text"])["text"].take(rows).to_pylist()
                    pairs = zip(documents[rows].tolist(), texts, strict=True)
                    same += sum(self._decoded(document) == text for document, text in pairs)
        return len(drawn), same

    def _decoded(self, document: int) -> str:
        """What the first copy of a document decodes to, read from its shard."""
        layout = self._layout
        place = int(layout.first[document])
        shard = int(layout.shards_of(np.array([place]))[0])
        before = layout.in_shard(shard)
        start = int(self._tokens.size[before[: int(np.flatnonzero(before == place)[0])]].sum())
        ids = map_shard(self._writer.folder / self._names[shard])[start : start + int(self._tokens.size[place]) - 1]
        return str(self._tokenizer.tokenizer.decode(ids.tolist(), skip_special_tokens=False))
