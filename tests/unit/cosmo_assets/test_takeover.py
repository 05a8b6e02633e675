"""What is taken over from earlier versions is what would be computed: the versions are those of an empty store."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.decontamination import seeds as contaminated_seeds
from cosmo_assets.decontamination import stage as decontamination
from cosmo_assets.deduplication import signatures
from cosmo_assets.ids import uniform
from cosmo_assets.quality import stage as quality
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import encoding, shards
from cosmo_resources.storage.digest import digest, json_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import ALL, CorpusStore
from cosmo_resources.storage.writer import DatasetWriter
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import filled, put, recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer

QUESTION = "Which lamp did the keeper of the far island light every evening before dusk?"
STAGES = {
    "generation_quality": "b000",
    "decontaminated": "b000",
    "text_signatures": "b000",
    "tokenized_shards": ALL,
}
COUNT = 24
KEYS = [digest(f"doc {number}") for number in range(COUNT)]
ODD = {
    3: f"As an AI I cannot. {prose('boilerplate', 60)}",
    4: "Too short.",
    5: f"{prose('before', 40)} {QUESTION} The green one. {prose('after', 40)}",
    6: prose("copied", 80) + " One.",
    7: prose("copied", 80) + " Two.",
    8: "",
    9: "Four words, no signature.",
    10: f"{prose('special', 40)} <|endoftext|> 🧪",
}
TEXTS = {key: ODD.get(number, prose(f"document {number}", 60)) for number, key in enumerate(KEYS)}


@dataclass(frozen=True)
class Corpus:
    """What the stages are given."""

    texts: Mapping[str, str] = field(default_factory=lambda: dict(TEXTS))
    failed: frozenset[str] = frozenset()
    questions: tuple[str, ...] = (QUESTION,)
    min_words: int = 3
    shard_rows: int = 7
    most_copies: int = 2

    def build(self, folder: Path) -> dict[str, Manifest]:
        """Build the stages that take rows over in the store of a folder, upon what it holds already."""
        folder.mkdir(parents=True, exist_ok=True)
        items = [{"id": f"q{number}", "question": text, "answer": "it"} for number, text in enumerate(self.questions)]
        (folder / "bench.jsonl").write_text("\n".join(map(json.dumps, items)) + "\n", encoding="utf-8")
        space = workspace(folder, quality={"min_words": self.min_words})
        rows = [self._generation(key) for key in self.texts]
        prompts = [
            {
                "prompt_id": row["prompt_id"],
                "prompt": f"Write {row['prompt_id']}",
                "seed_id": f"seed of {row['doc_id']}",
            }
            for row in rows
        ]
        put(space, "prompt_table", {"b000": prompts}, version=json_digest(prompts))
        seeds = [{"seed_id": prompt["seed_id"], "text": f"Of {prompt['seed_id']}"} for prompt in prompts]
        put(space, "seed_documents", {None: seeds}, version=json_digest(seeds))
        self._put_generations(space, rows)
        decontamination.build_benchmarks(space)
        contaminated_seeds.build(space)
        manifests = [
            quality.build(space, "b000"),
            decontamination.build(space, "b000"),
            signatures.build(space, "b000"),
        ]
        kept = space.store.open("text_signatures", "b000").table(["doc_id"])["doc_id"].to_pylist()
        copies = {key: 1 + int(self.most_copies * uniform("copies", key)) for key in kept}
        mixed = [{"doc_id": key, "bucket": "b000", "tokens": 30, "copies": copies[key]} for key in kept]
        summary = {"copies": sum(copies.values())}
        put(space, "mixture", {"b000": mixed}, version=json_digest(mixed), summary=summary)
        manifests.append(shards.build(space, tiny_tokenizer()))
        return {manifest.asset: manifest for manifest in manifests}

    def _generation(self, key: str) -> dict[str, Any]:
        text = "" if key in self.failed else self.texts[key]
        status = "failed" if key in self.failed else "ok"
        same = {"prompt_id": f"prompt of {key}", "finish_reason": "stop", "completion_tokens": len(text.split())}
        return {"doc_id": key, "status": status, "text": text, **same}

    def _put_generations(self, space: Workspace, rows: list[dict[str, Any]]) -> None:
        def produce(writer: DatasetWriter) -> None:
            for start in range(0, len(rows), self.shard_rows):
                writer.write(filled("generations", rows[start : start + self.shard_rows]))
            writer.flow("documents", len(rows), len(rows) - len(self.failed), failed={"failed": len(self.failed)})

        version = json_digest([rows, self.shard_rows])
        space.build("generations", produce, bucket="b000", stage_version=version, inputs=(), params={})


def workspace(folder: Path, **sections: Any) -> Workspace:
    benchmarks = [{"name": "bench", "path": "bench.jsonl", "licence": "CC0-1.0"}]
    made_of = recipe(
        folder=folder,
        decontamination={"benchmarks": benchmarks},
        tokenization={"shard_tokens": 400},
        **sections,
    )
    return Workspace(CorpusStore(folder / "store"), made_of)


def computed(manifests: Mapping[str, Manifest]) -> list[int]:
    return [manifests[asset].run["computed_rows"] for asset in STAGES]


def check_against_scratch(corpus: Corpus, manifests: Mapping[str, Manifest], folder: Path) -> None:
    scratch = corpus.build(folder)
    assert {asset: found.version for asset, found in manifests.items()} == {
        asset: found.version for asset, found in scratch.items()
    }
    checksums = [[entry.checksum for entry in found["tokenized_shards"].files] for found in (manifests, scratch)]
    assert checksums[0] == checksums[1]
    for asset in STAGES:
        assert scratch[asset].run["computed_rows"] == scratch[asset].rows > 0
        run = manifests[asset].run
        assert run["computed_rows"] + run["reused_rows"] == manifests[asset].rows


def spans_of(corpus: Corpus, *keys: str) -> int:
    return sum(1 + int(corpus.most_copies * uniform("copies", key)) for key in keys)


NEW = digest("doc new")
CHANGES: dict[str, tuple[Corpus, list[str]]] = {
    "one more": (Corpus({NEW: prose("new", 70), **TEXTS}), [NEW]),
    "one more, that is empty": (Corpus({**TEXTS, NEW: "..."}), []),
    "one less": (Corpus({key: TEXTS[key] for key in KEYS[1:]}), []),
    "another order": (Corpus({key: TEXTS[key] for key in reversed(KEYS)}), []),
    "other shards": (Corpus(shard_rows=5), []),
    "another text under the same id": (Corpus({**TEXTS, KEYS[0]: prose("asked again", 50)}), [KEYS[0]]),
    "a failed row that was asked again": (Corpus(), [KEYS[1]]),
}
"""What changes, and which documents must be computed for it."""


@pytest.mark.parametrize("name", CHANGES)
def test_after_a_change_only_its_documents_are_computed(tmp_path: Path, name: str) -> None:
    corpus, new = CHANGES[name]
    before = Corpus(failed=frozenset(new)) if name.startswith("a failed") else Corpus()
    before.build(tmp_path / "store")
    manifests = corpus.build(tmp_path / "store")
    check_against_scratch(corpus, manifests, tmp_path / "scratch")
    judged = 1 if name == "one more, that is empty" else len(new)
    assert computed(manifests) == [judged, len(new), len(new), spans_of(corpus, *new)]


@pytest.mark.parametrize("most_copies", [1, 4])
def test_further_copies_are_copied_and_not_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_copies: int
) -> None:
    encoded: list[str] = []
    method = encoding._texts

    def listening(parts: Any) -> Iterator[str]:
        for text in method(parts):
            encoded.append(text)
            yield text

    monkeypatch.setattr(encoding, "_texts", listening)
    first = Corpus().build(tmp_path / "store")["tokenized_shards"]
    assert len(encoded) == first.summary["documents"] < first.rows
    encoded.clear()
    corpus = Corpus(most_copies=most_copies)
    second = corpus.build(tmp_path / "store")["tokenized_shards"]
    assert encoded == []
    assert (second.run["computed_rows"], second.run["reused_rows"]) == (0, second.rows)
    check_against_scratch(corpus, corpus.build(tmp_path / "store"), tmp_path / "scratch")


def test_many_changes_one_after_another_end_like_an_empty_store(tmp_path: Path) -> None:
    texts = dict(TEXTS)
    for step in range(6):
        texts |= {digest(f"more {step} {number}"): prose(f"more {step} {number}", 50) for number in range(3)}
        texts.pop(KEYS[step])
        texts[KEYS[10 + step]] = prose(f"again {step}", 40)
        corpus = Corpus({key: texts[key] for key in sorted(texts, key=lambda key: uniform("order", str(step), key))})
        manifests = corpus.build(tmp_path / "store")
        check_against_scratch(corpus, manifests, tmp_path / f"scratch {step}")
        if step:
            assert all(count <= 2 * 4 for count in computed(manifests))


def test_other_benchmarks_search_every_document_again_and_measure_none(tmp_path: Path) -> None:
    Corpus().build(tmp_path / "store")
    corpus = Corpus(questions=(QUESTION, " ".join(TEXTS[KEYS[0]].split()[:20])))
    manifests = corpus.build(tmp_path / "store")
    check_against_scratch(corpus, manifests, tmp_path / "scratch")
    assert computed(manifests)[0] == COUNT, "the store found the version that is there"
    assert manifests["generation_quality"].run["reused_rows"] == 0
    assert manifests["decontaminated"].run["reused_rows"] == 0
    assert computed(manifests)[2:] == [0, 0]


def test_other_rules_measure_every_document_again(tmp_path: Path) -> None:
    Corpus().build(tmp_path / "store")
    corpus = Corpus(min_words=45)
    manifests = corpus.build(tmp_path / "store")
    check_against_scratch(corpus, manifests, tmp_path / "scratch")
    assert computed(manifests) == [COUNT, 0, 0, 0]


def test_back_to_an_older_recipe_takes_over_what_that_one_made(tmp_path: Path) -> None:
    for min_words in (3, 45):
        Corpus(min_words=min_words).build(tmp_path / "store")
    corpus = Corpus({**TEXTS, NEW: prose("new", 70)})
    manifests = corpus.build(tmp_path / "store")
    check_against_scratch(corpus, manifests, tmp_path / "scratch")
    assert manifests["generation_quality"].run["computed_rows"] == 1


MODULES: dict[str, tuple[Any, str]] = {
    "generation_quality": (quality, "STAGE_VERSION"),
    "decontaminated": (decontamination, "STAGE_VERSION"),
    "text_signatures": (signatures, "STAGE_VERSION"),
    "tokenized_shards": (shards, "STAGE_VERSION"),
}


@pytest.mark.parametrize("asset", STAGES)
def test_another_version_of_a_stage_takes_nothing_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asset: str
) -> None:
    Corpus().build(tmp_path / "store")
    monkeypatch.setattr(*MODULES[asset], "next")
    corpus = replace(Corpus(), texts={**TEXTS, NEW: prose("new", 70)})
    manifests = corpus.build(tmp_path / "store")
    check_against_scratch(corpus, manifests, tmp_path / "scratch")
    assert manifests[asset].run["reused_rows"] == 0
    others = [found.run["reused_rows"] for name, found in manifests.items() if name != asset]
    assert all(others), "the other stages took theirs over"


def flip(path: Path) -> None:
    """Change one byte in the middle: size and name stay."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "rows lost": ("part-*.parquet", Path.unlink),
    "rows cut": ("part-*.parquet", cut),
    "rows changed": ("part-*.parquet", flip),
    "reasons changed": ("rejected-*.parquet", flip),
    "signatures lost": ("*.minhash.sig", Path.unlink),
    "signatures changed": ("*.minhash.sig", flip),
    "tokens lost": ("*.ds", Path.unlink),
    "tokens changed": ("*.ds", flip),
    "manifest changed": ("_manifest.json", flip),
    "manifest lost": ("_manifest.json", Path.unlink),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_version_is_computed_anew(tmp_path: Path, damage: str) -> None:
    pattern, harm = DAMAGES[damage]
    before = Corpus().build(tmp_path / "store")
    store = CorpusStore(tmp_path / "store" / "store")
    harmed = set()
    for asset, bucket in STAGES.items():
        for path in (store.place(asset, bucket) / before[asset].version).glob(pattern):
            harm(path)
            harmed.add(asset)
    assert harmed
    corpus = Corpus({**TEXTS, NEW: prose("new", 70)})
    manifests = corpus.build(tmp_path / "store")
    check_against_scratch(corpus, manifests, tmp_path / "scratch")
    for asset in STAGES:
        assert (manifests[asset].run["reused_rows"] == 0) == (asset in harmed)


@pytest.mark.parametrize("pattern", ["part-*.parquet", "_manifest.json"])
def test_where_the_earlier_texts_are_gone_everything_is_computed(tmp_path: Path, pattern: str) -> None:
    Corpus().build(tmp_path / "store")
    store = CorpusStore(tmp_path / "store" / "store")
    for path in store.open("generations", "b000").folder.glob(pattern):
        path.unlink()
    corpus = Corpus({**TEXTS, NEW: prose("new", 70)})
    manifests = corpus.build(tmp_path / "store")
    check_against_scratch(corpus, manifests, tmp_path / "scratch")
    assert [manifests[asset].run["reused_rows"] for asset in STAGES] == [0, 0, 0, 0]
