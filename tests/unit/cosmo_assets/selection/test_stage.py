"""The selection by a rule that compares embeddings, of made-up documents in any buckets and order."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmo_assets.ids import bucket_name
from cosmo_assets.schemas.columns import EMBEDDING_DIMENSION
from cosmo_assets.selection import stage
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.selection.test_keeping import ids
from tests.unit.cosmo_assets.synthetic import put, recipe

COUNT = 60
IDS = ids(COUNT).to_pylist()
VECTORS = np.eye(EMBEDDING_DIMENSION)[np.random.default_rng(4).integers(0, 12, COUNT)]
"""Many are the same, and all others as far from one another."""
RULES: tuple[dict[str, Any], ...] = (
    {"rule": "d4", "clusters": 5, "keep_different": 0.8, "keep_atypical": 0.5},
    {"rule": "d2", "signal": "quality.words", "fraction": 0.5, "neighbours": 3},
)


def workspace(folder: Path, keep: dict[str, Any], buckets: int, order: list[int], embedded: int = COUNT) -> Workspace:
    """The documents in this order, one bucket after the other."""
    space = Workspace(CorpusStore(folder), recipe(buckets=buckets, selection={"keep": keep}))
    for index, part in enumerate(np.array_split(np.array(order), buckets)):
        rows = [{"doc_id": IDS[at], "keep": True, "words": at % 3, "embedding": VECTORS[at].tolist()} for at in part]
        for asset in ("deduplicated", "generations", "generation_quality", "text_embeddings"):
            there = rows if asset != "text_embeddings" else [row for row in rows if row["doc_id"] in IDS[:embedded]]
            put(space, asset, {None: there}, bucket=bucket_name(index))
    return space


def reasons(space: Workspace) -> dict[str, str | None]:
    stage.build(space)
    return {row["doc_id"]: row["reason"] for row in space.store.open("selection").table().to_pylist()}


@pytest.mark.parametrize("keep", RULES, ids=lambda keep: str(keep["rule"]))
def test_the_same_documents_in_other_buckets_and_another_order_are_chosen_alike(
    tmp_path: Path, keep: dict[str, Any]
) -> None:
    found = reasons(workspace(tmp_path / "one", keep, 1, list(range(COUNT))))
    for number in range(5):
        order = np.random.default_rng(number).permutation(COUNT).tolist()
        assert reasons(workspace(tmp_path / f"{number}", keep, 2 + number, order)) == found
    assert len(set(found.values())) == (3 if keep["rule"] == "d4" else 2)
    assert list(found.values()).count(None) == (24 if keep["rule"] == "d4" else 30)


def test_documents_without_an_embedding_are_of_other_generations(tmp_path: Path) -> None:
    space = workspace(tmp_path, RULES[0], 2, list(range(COUNT)), embedded=COUNT - 2)
    with pytest.raises(CosmoError, match="2 documents have no row in text_embeddings"):
        stage.build(space)
