"""Embeddings are taken over from the version before, as long as what is embedded of a seed is the same."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cosmo_assets.ids import uniform
from cosmo_assets.stage import Workspace
from cosmo_assets.topics import embedding
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.synthetic import put, recipe


class Embedder:
    """Vectors that are a function of the text; keeps what it was asked for."""

    name = "listening"

    def __init__(self, revision: str = "1") -> None:
        self.revision = revision
        self.texts: list[str] = []

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        self.texts += texts
        rows = [[uniform(text, str(number)) for number in range(384)] for text in texts]
        return np.array(rows, np.float32).reshape(-1, 384)


def seeds(*titles: str | None) -> list[dict[str, Any]]:
    return [{"seed_id": f"s{number}", "title": title, "text": f"text {number}"} for number, title in enumerate(titles)]


def build(folder: Path, rows: list[dict[str, Any]], embedder: Embedder) -> Manifest:
    space = Workspace(CorpusStore(folder), recipe())
    put(space, "seed_documents", {None: rows}, version=json_digest(rows))
    return embedding.build(space, embedder)


def test_only_a_new_seed_and_a_changed_title_are_embedded(tmp_path: Path) -> None:
    build(tmp_path / "store", seeds("A", "B", None), Embedder())
    embedder = Embedder()
    rows = seeds("A", "Other", None, "New")
    manifest = build(tmp_path / "store", rows, embedder)
    assert embedder.texts == ["Other\ntext 1", "New\ntext 3"]
    assert (manifest.run["computed_rows"], manifest.run["reused_rows"]) == (2, 2)
    assert manifest.version == build(tmp_path / "scratch", rows, Embedder()).version


@pytest.mark.parametrize("pattern", ["part-*.parquet", "_manifest.json"])
def test_a_damaged_version_is_embedded_anew(tmp_path: Path, pattern: str) -> None:
    before = build(tmp_path / "store", seeds("A", "B"), Embedder())
    folder = CorpusStore(tmp_path / "store").place("seed_embeddings") / before.version
    for path in folder.glob(pattern):
        path.write_bytes(path.read_bytes()[:-40])
    embedder = Embedder()
    build(tmp_path / "store", seeds("A", "B", "C"), embedder)
    assert len(embedder.texts) == 3


def test_another_model_or_stage_embeds_everything_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "store", seeds("A", "B"), Embedder())
    embedder = Embedder("2")
    build(tmp_path / "store", seeds("A", "B"), embedder)
    assert len(embedder.texts) == 2
    monkeypatch.setattr(embedding, "STAGE_VERSION", "next")
    embedder = Embedder("2")
    build(tmp_path / "store", seeds("A", "B"), embedder)
    assert len(embedder.texts) == 2
