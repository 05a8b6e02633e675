from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest

from cosmo_assets.ids import seed_id
from cosmo_assets.recipe.topics import Clustering
from cosmo_assets.stage import Workspace
from cosmo_assets.topics import clustering
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.synthetic import put, recipe


def workspace_in(folder: Path, **fields: Any) -> Workspace:
    return Workspace(CorpusStore(folder), recipe(topics={"clustering": {"clusters": 4, "lexical": 0, **fields}}))


def vector(number: int, noise: float) -> list[float]:
    """About one of four centres."""
    centre = np.random.default_rng(number % 4).normal(size=384)
    found = centre / np.linalg.norm(centre) + noise * np.random.default_rng(100 + number).normal(size=384) / 20
    return (found / np.linalg.norm(found)).astype(np.float16).tolist()


def fill(workspace: Workspace, parts: list[int], *, revision: str = "1", noise: float = 0.3) -> dict[str, int]:
    """Seeds and their embeddings, one part of so many each; the centre of each seed."""
    numbers = iter(range(sum(parts)))
    files = {str(part): [next(numbers) for _ in range(count)] for part, count in enumerate(parts)}
    ids = {n: seed_id("pages", str(n), f"text {n}") for file in files.values() for n in file}
    seeds = {p: [{"seed_id": ids[n], "title": None, "text": f"text {n}"} for n in file] for p, file in files.items()}
    vectors = {p: [{"seed_id": ids[n], "embedding": vector(n, noise)} for n in file] for p, file in files.items()}
    put(workspace, "seed_documents", dict(seeds), version=str(parts))
    put(workspace, "seed_embeddings", dict(vectors), version=str(parts), params={"revision": revision})
    return {identity: number % 4 for number, identity in ids.items()}


def built(workspace: Workspace, *, refit: bool = False) -> Manifest:
    clustering.fit(workspace, refit=refit)
    return clustering.assign(workspace)


def rows(workspace: Workspace) -> list[dict[str, Any]]:
    return workspace.store.open("seed_clusters").table().to_pylist()


def test_a_model_of_a_sample_assigns_all_seeds_whatever_parts_they_lie_in(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path, sample=40)
    centre_of = fill(workspace, [100, 1, 1, 1, 1, 96])
    assert built(workspace).rows == 200
    assert workspace.store.open("cluster_model").manifest.summary["fitted"] == 40
    pairs = {(centre_of[row["seed_id"]], row["cluster_id"]) for row in rows(workspace)}
    assert len(pairs) == 4
    other = workspace_in(tmp_path / "other", sample=40)
    fill(other, [50, 150])
    built(other)
    clusters = {row["seed_id"]: row["cluster_id"] for row in rows(other)}
    assert clusters == {row["seed_id"]: row["cluster_id"] for row in rows(workspace)}


def test_without_a_share_of_outliers_there_are_none(tmp_path: Path) -> None:
    """Not even in clusters of one seed, or of equal ones, whose mean distance is zero."""
    workspace = workspace_in(tmp_path, clusters=60, outliers=0)
    fill(workspace, [60])
    assert built(workspace).summary["outliers"] == 0
    equal = workspace_in(tmp_path / "equal", outliers=0)
    fill(equal, [60], noise=0)
    assert built(equal).summary["outliers"] == 0


def test_few_seeds_do_not_tell_what_is_far(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path, outliers=0.01)
    fill(workspace, [60])
    built(workspace)
    strange = [{"seed_id": seed_id("pages", "x", "x"), "title": None, "text": "x"}]
    put(workspace, "seed_documents", {"a": strange}, version="strange")
    vectors = [{"seed_id": strange[0]["seed_id"], "embedding": vector(3, 9.0)}]
    put(workspace, "seed_embeddings", {"a": vectors}, version="strange", params={"revision": "1"})
    assert built(workspace).summary["outliers"] == 0


def test_outliers_are_the_share_asked_for(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path, outliers=0.05)
    fill(workspace, [400])
    assert 10 <= built(workspace).summary["outliers"] <= 20


def test_new_seeds_are_assigned_by_the_pinned_model_and_the_others_taken_over(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path)
    fill(workspace, [200])
    built(workspace)
    before, model = rows(workspace), workspace.store.open("cluster_model").manifest.version
    fill(workspace, [200, 20])
    manifest = built(workspace)
    assert (manifest.run["computed_rows"], manifest.run["reused_rows"]) == (20, 200)
    assert rows(workspace)[:200] == before
    assert workspace.store.open("cluster_model").manifest.version == model


def test_embeddings_of_another_model_are_not_assigned_by_the_pinned_one(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path)
    fill(workspace, [100])
    built(workspace)
    fill(workspace, [100, 4], revision="2")
    with pytest.raises(CosmoError, match="made in another way") as error:
        clustering.assign(workspace)
    assert "cluster_model" in error.value.remedy
    assert built(workspace).run["reused_rows"] == 0


def test_fewer_seeds_than_clusters_is_an_error_with_both_numbers(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path)
    fill(workspace, [3])
    with pytest.raises(CosmoError, match=r"topics\.clustering\.clusters is 4, but there are only 3 seeds"):
        clustering.fit(workspace)


@pytest.mark.parametrize("fields", [{"sample": 3}, {"seed": -1}, {"seed": 2**31}])
def test_a_recipe_that_no_method_could_follow_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(pydantic.ValidationError):
        Clustering(clusters=4, **fields)  # type: ignore[arg-type]
