"""A seed that holds an item marks what is made of it; rows that are taken over are marked as of today."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.build import ASSETS
from cosmo_assets.decontamination import seeds, stage
from cosmo_assets.quality import stage as quality
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import filled, put, recipe

QUESTION = "Which lamp did the keeper of the far island light every evening before dusk?"
OTHER = "Whose boat carried salt and timber past the northern harbour during the long winter?"
SEEDS = {
    "clean": prose("clean", 60),
    "holds": f"{prose('h', 40)} {QUESTION} {prose('i', 40)}",
    "two": f"{OTHER} {QUESTION}",
    "titled": prose("titled", 50),
}
TITLES = {"titled": QUESTION}
DOCUMENTS = {
    "of clean": ("clean", prose("of clean", 60)),
    "of holds": ("holds", prose("of holds", 60)),
    "of titled": ("titled", prose("of titled", 60)),
    "of two, and holds one": ("two", f"{prose('x', 30)} {OTHER} {prose('y', 30)}"),
    "of clean, and holds one": ("clean", f"{prose('z', 30)} {QUESTION} {prose('w', 30)}"),
}


@dataclass(frozen=True)
class Corpus:
    """Seeds, and documents of them."""

    texts: Mapping[str, str] = field(default_factory=lambda: dict(SEEDS))
    titles: Mapping[str, str] = field(default_factory=lambda: dict(TITLES))
    questions: tuple[str, ...] = (QUESTION, OTHER)
    seeds: str = "mark"
    part: int = 2

    def recipe(self, folder: Path) -> Recipe:
        benchmarks = [{"name": "bench", "path": "bench.jsonl", "licence": "CC0-1.0"}]
        chosen = {"benchmarks": benchmarks, "seeds": self.seeds}
        return recipe(folder=folder, decontamination=chosen, quality={"min_words": 3})

    def build(self, folder: Path) -> "Built":
        folder.mkdir(parents=True, exist_ok=True)
        items = [{"id": f"q{number}", "question": text, "answer": ""} for number, text in enumerate(self.questions)]
        (folder / "bench.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
        space = Workspace(CorpusStore(folder / "store"), self.recipe(folder))
        texts = [{"seed_id": key, "text": text, "title": self.titles.get(key)} for key, text in self.texts.items()]
        parts = [texts[start : start + self.part] for start in range(0, len(texts), self.part)]
        self._put_seeds(space, parts)
        prompts = [
            {"prompt_id": f"for {key}", "prompt": "Write.", "seed_id": seed, "source": f"source {seed[0]}"}
            for key, (seed, _) in DOCUMENTS.items()
        ]
        put(space, "prompt_table", {"b000": prompts})
        answers: list[dict[str, Any]] = [
            {"doc_id": key, "prompt_id": f"for {key}", "status": "ok", "text": text, "completion_tokens": 60}
            for key, (_, text) in DOCUMENTS.items()
        ]
        put(space, "generations", {None: answers}, bucket="b000")
        stage.build_benchmarks(space)
        quality.build(space, "b000")
        return Built(space, seeds.build(space), stage.build(space, "b000"))

    def _put_seeds(self, space: Workspace, parts: list[list[dict[str, Any]]]) -> None:
        def produce(writer: Any) -> None:
            for rows in parts:
                writer.write(filled("seed_documents", rows))
            count = sum(map(len, parts))
            writer.flow("rows", count, count)

        space.build("seed_documents", produce, stage_version=json_digest(parts), inputs=(), params={})


@dataclass(frozen=True)
class Built:
    space: Workspace
    seeds: Manifest
    documents: Manifest

    def rows(self, asset: str, key: str, bucket: str = "all") -> dict[str, dict[str, Any]]:
        return {row[key]: row for row in self.space.store.open(asset, bucket).table().to_pylist()}

    @property
    def hits(self) -> dict[str, dict[str, Any]]:
        return self.rows("contaminated_seeds", "seed_id")

    @property
    def verdicts(self) -> dict[str, dict[str, Any]]:
        return self.rows("decontaminated", "doc_id", "b000")

    def check(self, corpus: Corpus, scratch: Path) -> None:
        """It is what an empty store would hold."""
        anew = corpus.build(scratch)
        assert (self.seeds.version, self.documents.version) == (anew.seeds.version, anew.documents.version)
        assert anew.seeds.run["searched_seeds"] == len(corpus.texts)


def test_only_seeds_that_hold_an_item_have_a_row(tmp_path: Path) -> None:
    built = Corpus().build(tmp_path)
    assert {key: (row["benchmark"], row["item"], row["items"]) for key, row in built.hits.items()} == {
        "holds": ("bench", "q0", ["bench:q0"]),
        "two": ("bench", "q0", ["bench:q0", "bench:q1"]),
        "titled": ("bench", "q0", ["bench:q0"]),
    }
    assert built.hits["holds"]["span"] == QUESTION.lower().rstrip("?")
    summary = built.seeds.summary
    assert (summary["contaminated"], built.seeds.flow.rows_in, built.seeds.flow.rows_out) == (3, 4, 4)
    assert summary["sources"] == [{"source": "some source", "seeds": 4, "contaminated": 3}]
    assert summary["benchmarks"] == [{"benchmark": "bench", "seeds": 3, "unique_items": 2}]
    (case, *_) = summary["cases"]
    assert [QUESTION.rstrip("?"), True] in case["pieces_of_text"]


def test_documents_of_contaminated_seeds_are_marked_and_kept(tmp_path: Path) -> None:
    built = Corpus().build(tmp_path)
    found = {key: (row["seed_item"], row["keep"], row["place"]) for key, row in built.verdicts.items()}
    assert found == {
        "of clean": (None, True, None),
        "of holds": ("bench:q0", True, None),
        "of titled": ("bench:q0", True, None),
        "of two, and holds one": ("bench:q0", False, "text"),
        "of clean, and holds one": (None, False, "text"),
    }
    assert built.documents.summary["of_contaminated_seeds"] == {"kept": 2, "removed": 1}
    assert {key: row["source"] for key, row in built.verdicts.items()} == {
        key: f"source {seed[0]}" for key, (seed, _) in DOCUMENTS.items()
    }


def test_documents_of_contaminated_seeds_are_dropped_where_the_recipe_says_so(tmp_path: Path) -> None:
    built = Corpus(seeds="drop").build(tmp_path)
    found = built.verdicts
    assert [key for key, row in found.items() if row["keep"]] == ["of clean"]
    assert (found["of holds"]["place"], found["of holds"]["item"], found["of holds"]["items"]) == ("seed", "q0", [])
    assert found["of holds"]["span"] == built.hits["holds"]["span"]
    assert (found["of two, and holds one"]["place"], found["of two, and holds one"]["item"]) == ("text", "q1")
    rejected = built.space.store.open("decontaminated", "b000").rejected()
    assert rejected is not None
    assert sorted((row["place"], row["field"]) for row in rejected.to_pylist())[1:3] == [
        ("of holds", "seed"),
        ("of titled", "seed"),
    ]
    assert built.documents.flow.balanced
    assert built.documents.flow.dropped == {"contaminated_bench": 4}


NEW = {**SEEDS, "new": prose("new", 40)}
CHANGES: dict[str, tuple[Corpus, int]] = {
    "a seed more": (Corpus(NEW), 1),
    "a seed more, that is contaminated": (Corpus({**SEEDS, "new": f"{prose('n', 9)} {OTHER}"}), 1),
    "another order, other parts": (Corpus(dict(reversed(NEW.items())), part=3), 1),
    "a seed less": (Corpus({key: text for key, text in SEEDS.items() if key != "two"}), 0),
    "a seed that is clean now": (Corpus({**SEEDS, "holds": prose("clean now", 60)}), 1),
    "a seed that was clean": (Corpus({**SEEDS, "clean": f"{prose('now', 30)} {OTHER}"}), 1),
    "a title that was an item": (Corpus(titles={}), 1),
}
"""What changes, and how many seeds must be searched for it."""


@pytest.mark.parametrize("mode", ["mark", "drop"])
@pytest.mark.parametrize("name", CHANGES)
def test_only_new_seeds_are_searched_and_every_document_is_marked_anew(tmp_path: Path, name: str, mode: str) -> None:
    changed, searched = CHANGES[name]
    corpus = Corpus(changed.texts, changed.titles, part=changed.part, seeds=mode)
    Corpus(seeds=mode).build(tmp_path / "store")
    built = corpus.build(tmp_path / "store")
    built.check(corpus, tmp_path / "scratch")
    assert built.seeds.run["searched_seeds"] == searched
    assert built.documents.run["reused_rows"] == len(DOCUMENTS)
    assert built.verdicts["of holds"]["seed_item"] == (None if name == "a seed that is clean now" else "bench:q0")
    assert built.verdicts["of clean"]["seed_item"] == ("bench:q1" if name == "a seed that was clean" else None)


def test_another_use_of_the_marks_searches_no_document_again(tmp_path: Path) -> None:
    marked = Corpus().build(tmp_path)
    dropped = Corpus(seeds="drop").build(tmp_path)
    assert dropped.documents.run["reused_rows"] == len(DOCUMENTS)
    assert dropped.verdicts["of holds"]["place"] == "seed"
    back = Corpus({**SEEDS, "two": prose("clean now", 9)}).build(tmp_path)
    assert back.documents.run["reused_rows"] == len(DOCUMENTS)
    assert (back.verdicts["of holds"]["keep"], back.verdicts["of holds"]["rule"]) == (True, None)
    assert Corpus().build(tmp_path).documents.version == marked.documents.version


def test_other_benchmarks_search_every_seed_again(tmp_path: Path) -> None:
    Corpus(questions=(OTHER,)).build(tmp_path / "store")
    built = Corpus().build(tmp_path / "store")
    built.check(Corpus(), tmp_path / "scratch")
    assert built.seeds.run["searched_seeds"] == len(SEEDS)
    assert built.documents.run["reused_rows"] == 0


def test_what_asks_the_model_does_not_depend_on_contaminated_seeds() -> None:
    read = {asset.key.to_user_string(): {key.to_user_string() for key in asset.dependency_keys} for asset in ASSETS}
    above = {"generations"}
    while more := {parent for asset in above for parent in read.get(asset, ())} - above:
        above |= more
    assert {"prompt_table", "seed_documents"} < above
    assert not {"contaminated_seeds", "benchmark_index", "decontaminated"} & above
