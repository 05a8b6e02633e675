import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lxml.html
import numpy as np
import pytest

from cosmo_assets.charts.metadata import fits_metadata
from cosmo_assets.ids import seed_id
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.stage import Workspace
from cosmo_assets.topics import mapping
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.synthetic import filled, put, recipe

CLUSTERS = 6


def workspace_in(folder: Path, **settings: Any) -> Workspace:
    policy = settings.pop("policy", {})
    fields = {"topics": {"clustering": {"clusters": CLUSTERS}, "map": settings, "policy": policy}}
    return Workspace(CorpusStore(folder), recipe(**fields))


def identity(number: int) -> str:
    return seed_id("pages", str(number), f"text {number}")


def vector(number: int) -> list[float]:
    """About one of six centres."""
    draw = np.random.default_rng(number)
    centre = np.random.default_rng(10_000 + number % CLUSTERS).normal(size=384)
    found = centre + 0.6 * draw.normal(size=384)
    return (found / np.linalg.norm(found)).astype(np.float16).tolist()


def fill(workspace: Workspace, count: int, *, model: str = "1", topics: Mapping[int, str | None] | None = None) -> None:
    """Seeds up to their labels, in two part files."""
    numbers = list(range(count))
    ids = [identity(number) for number in numbers]
    texts = [{"seed_id": ids[n], "title": f"Title {n}", "text": f"Text of {n}", "source": "pages"} for n in numbers]
    vectors = [{"seed_id": ids[n], "embedding": vector(n)} for n in numbers]
    version = f"{model}/{count}"
    put(workspace, "seed_documents", {None: texts}, version=version)
    put(workspace, "seed_embeddings", {"a": vectors[: count // 3], "b": vectors[count // 3 :]}, version=version)
    centroids = [{"cluster_id": n, "centroid": vector(n)} for n in range(CLUSTERS)]
    put(workspace, "cluster_model", {None: centroids}, version=model)
    rows = [{"seed_id": ids[n], "cluster_id": n % CLUSTERS} for n in numbers]

    def assign(writer: Any) -> None:
        writer.write(filled("seed_clusters", rows))
        writer.flow("seeds", count, count)

    fitted = workspace.store.open("cluster_model").ref()
    workspace.build("seed_clusters", assign, stage_version=version, inputs=(fitted,), params={})
    names = topics or {n: f"Topic {n}" for n in range(CLUSTERS)}
    labels = [{"cluster_id": n, "topic": name, "score": 4.0 + n, "status": "ok"} for n, name in names.items()]
    put(workspace, "topic_labels", {None: labels}, version=str(sorted(names.items(), key=str)))


def places(workspace: Workspace) -> dict[str, tuple[float, float]]:
    rows = workspace.store.open("topic_map").table().to_pylist()
    return {row["seed_id"]: (row["x"], row["y"]) for row in rows}


def built(workspace: Workspace, count: int, **options: Any) -> Manifest:
    fill(workspace, count, **options)
    return mapping.build(workspace)


def test_every_seed_has_one_place_and_like_lies_by_like(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path, points=120)
    manifest = built(workspace, 300)
    rows = workspace.store.open("topic_map").table().to_pylist()
    assert [row["seed_id"] for row in rows] == [identity(n) for n in range(300)]
    assert [row["cluster_id"] for row in rows] == [n % CLUSTERS for n in range(300)]
    assert sum(row["laid_out"] for row in rows) == 120 == manifest.summary["laid_out"] == manifest.summary["shown"]
    assert manifest.flow.rows_in == manifest.flow.rows_out == 300
    assert manifest.summary["same_cluster"] > 0.95
    plane = np.array([[row["x"], row["y"]] for row in rows])
    assert np.abs(plane).max() <= 1
    middles = np.array([plane[number::CLUSTERS].mean(axis=0) for number in range(CLUSTERS)])
    apart = np.linalg.norm(plane[:, None] - middles[None], axis=-1)
    assert (apart.argmin(axis=1) == np.arange(300) % CLUSTERS).mean() > 0.95


def test_new_seeds_move_no_other(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path, points=120)
    first = built(workspace, 300)
    before = places(workspace)
    second = built(workspace, 330)
    after = places(workspace)
    assert len(after) == 330
    assert {seed: after[seed] for seed in before} == before
    assert second.params["layout"] == first.params["layout"]


def test_seeds_that_are_gone_still_span_the_layout(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path, points=120)
    built(workspace, 300)
    before = places(workspace)
    built(workspace, 200)
    after = places(workspace)
    assert after == {seed: before[seed] for seed in after}
    shown = (workspace.store.open("topic_map").folder / mapping.PAGE).read_text(encoding="utf-8")
    gone = [seed for seed in before if seed not in after]
    assert len(gone) == 100
    assert not any(seed in shown for seed in gone)


def test_a_refit_or_another_number_of_points_lays_out_anew_and_the_old_layout_is_found_again(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path, points=120)
    first = built(workspace, 300)
    refitted = built(workspace, 330, model="2")
    assert refitted.params["made_for"]["cluster_model"] != first.params["made_for"]["cluster_model"]
    assert refitted.params["layout"] != first.params["layout"]
    other = workspace_in(tmp_path, points=90)
    assert built(other, 330, model="2").params["layout"] not in (refitted.params["layout"], first.params["layout"])
    again = built(workspace, 330, model="1")
    assert again.params["layout"] == first.params["layout"]


def test_a_damaged_layout_is_not_used(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path, points=120)
    first = built(workspace, 300)
    folder = workspace.store.open("topic_map").folder
    path = folder / mapping.LAYOUT
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(CosmoError, match="layout"):
        built(workspace, 310)
    path.unlink()
    assert built(workspace, 310).params["made_for"] == first.params["made_for"]


def test_the_same_seeds_elsewhere_give_the_same_map(tmp_path: Path) -> None:
    versions = {built(workspace_in(tmp_path / name, points=100), 200).version for name in ("one", "two")}
    assert len(versions) == 1


def test_nothing_is_done_twice(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path, points=100)
    manifest = built(workspace, 150)
    assert mapping.build(workspace) == manifest


def test_the_policy_greys_out_and_moves_nothing(tmp_path: Path) -> None:
    built(workspace_in(tmp_path, points=100), 200, topics={n: f"Topic {n}" if n else None for n in range(CLUSTERS)})
    before = places(workspace_in(tmp_path))
    strict = workspace_in(tmp_path, points=100, policy={"deny": ["topic 3"]})
    mapping.build(strict)
    assert places(strict) == before
    folder = strict.store.open("topic_map").folder
    page = lxml.html.document_fromstring((folder / mapping.PAGE).read_text(encoding="utf-8"))
    topics = json.loads(page.xpath('//script[@type="application/json"]')[0].text)["topics"]
    excluded = {topic["name"]: topic["excluded"] for topic in topics if topic["excluded"]}
    assert excluded == {"Cluster 0": "topic unlabelled", "Topic 3": "topic denied"}
    chart = (folder / mapping.CHART).read_text(encoding="utf-8")
    assert "Grey: 2 of 6 topics are excluded by the policy." in chart
    assert fits_metadata(chart)


def test_a_cluster_without_a_label_row_is_named_in_the_error(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path, points=100)
    with pytest.raises(CosmoError, match="nothing of cluster 5") as error:
        built(workspace, 60, topics=dict.fromkeys(range(5), "a"))
    assert "topic_labels" in str(error.value)


def test_seeds_that_no_cluster_was_found_for_are_named_in_the_error(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path, points=100)
    fill(workspace, 30)
    new = [{"seed_id": identity(n), "embedding": vector(n)} for n in range(31)]
    put(workspace, "seed_embeddings", {"a": new}, version="more")
    with pytest.raises(CosmoError, match=f"nothing of seed {identity(30)}") as error:
        mapping.build(workspace)
    assert "--asset seed_clusters" in error.value.remedy


def test_one_seed_is_a_map(tmp_path: Path) -> None:
    manifest = built(workspace_in(tmp_path), 1)
    assert manifest.summary == {"clusters": 1, "laid_out": 1, "same_cluster": 1.0, "shown": 1}


def test_the_draw_is_stratified_and_one_more_seed_changes_hardly_anything() -> None:
    clusters = {identity(n): 0 if n < 900 else 1 if n < 990 else 2 for n in range(1000)}
    chosen = mapping.drawn(clusters, 200, 0)
    counts = Counter(clusters[seed] for seed in chosen)
    assert counts[0] == pytest.approx(157, abs=4)
    assert counts[1] == pytest.approx(28, abs=4)
    assert counts[2] == pytest.approx(15, abs=4) or counts[2] == 10
    assert mapping.drawn(clusters, 50, 0) == chosen[:50]
    assert len(set(mapping.drawn(clusters, 200, 1)) & set(chosen)) < 100
    more = mapping.drawn({**clusters, identity(5000): 0}, 200, 0)
    assert len(set(more) - set(chosen)) <= 3
    assert sorted(mapping.drawn(clusters, 5000, 0)) == sorted(clusters)


def test_recipe_bounds(tmp_path: Path) -> None:
    fields = workspace_in(tmp_path).recipe.model_dump()
    with pytest.raises(ValueError, match="points"):
        Recipe.model_validate({**fields, "topics": {**fields["topics"], "map": {"points": 20_000}}})
