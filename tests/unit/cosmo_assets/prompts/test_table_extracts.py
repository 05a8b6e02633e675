"""Extracts are cut once per seed: a later prompt table takes them over, whatever else has changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.prompts import extracts, table
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import put, recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer

SEEDS = {f"{number:032x}": prose(f"seed {number}", 150) + "  \n" for number in range(30)}
NEW = {f"{number:032x}": prose(f"seed {number}", 150) for number in (100, 101)}


@pytest.fixture
def cut_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were cut."""
    texts: list[str] = []

    def listening(text: str, tokens: int, count: Callable[[str], int]) -> str:
        texts.append(text)
        return extracts.cut(text, tokens, count)

    monkeypatch.setattr(table, "cut", listening)
    return texts


def build(folder: Path, texts: dict[str, str], *, topic: str = "Rivers", extra: int = 0, **prompts: Any) -> Manifest:
    mixes = {"web": {"per_seed": 2, "templates": [{"template": "blogpost"}, {"template": "textbook_academic"}]}}
    sections: dict[str, Any] = {"prompts": {"mixes": mixes, "extract_tokens": 60, **prompts}}
    space = Workspace(CorpusStore(folder), recipe(buckets=3, **sections))
    seeds = [{"seed_id": key, "kind": "web", "source": "pages", "text": text} for key, text in texts.items()]
    put(space, "seed_documents", {None: seeds}, version=json_digest(seeds))
    decided = [{"seed_id": key, "cluster_id": 0, "topic": topic} for key in texts]
    put(space, "seed_topics", {None: decided}, version=json_digest(decided))
    return table.build(space, tiny_tokenizer(extra))


def test_only_new_and_changed_seeds_are_cut(tmp_path: Path, cut_texts: list[str]) -> None:
    first = build(tmp_path / "store", SEEDS)
    assert sorted(cut_texts) == sorted(SEEDS.values())
    assert (first.run["computed_rows"], first.run["reused_rows"]) == (60, 0)
    cut_texts.clear()
    changed = dict.fromkeys([next(iter(SEEDS))], "Another text under the same id. " * 20)
    texts = {**NEW, **SEEDS, **changed}
    second = build(tmp_path / "store", texts)
    assert sorted(cut_texts) == sorted([*NEW.values(), *changed.values()])
    assert (second.run["computed_rows"], second.run["reused_rows"]) == (6, 58)
    assert second.version == build(tmp_path / "scratch", texts).version


CHANGES: dict[str, dict[str, Any]] = {
    "topics": {"topic": "Lakes", "topic_clause": 1.0},
    "templates": {"mixes": {"web": {"per_seed": 1, "templates": [{"template": "faq_web"}]}}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_topics_or_templates_cut_nothing_again(tmp_path: Path, cut_texts: list[str], name: str) -> None:
    build(tmp_path / "store", SEEDS)
    cut_texts.clear()
    manifest = build(tmp_path / "store", SEEDS, **CHANGES[name])
    assert cut_texts == []
    assert manifest.version == build(tmp_path / "scratch", SEEDS, **CHANGES[name]).version


@pytest.mark.parametrize("change", [{"extract_tokens": 61}, {"extra": 7}], ids=["tokens", "tokenizer"])
def test_another_length_or_tokenizer_cuts_everything_again(
    tmp_path: Path, cut_texts: list[str], change: dict[str, Any]
) -> None:
    build(tmp_path / "store", SEEDS)
    cut_texts.clear()
    build(tmp_path / "store", SEEDS, **change)
    assert len(cut_texts) == len(SEEDS)


def test_a_damaged_table_is_made_anew(tmp_path: Path, cut_texts: list[str]) -> None:
    first = build(tmp_path / "store", SEEDS)
    cut_texts.clear()
    for path in (CorpusStore(tmp_path / "store").place("prompt_table") / first.version).glob("part-*"):
        path.unlink()
    second = build(tmp_path / "store", SEEDS)
    assert len(cut_texts) == len(SEEDS)
    assert second.version == first.version
