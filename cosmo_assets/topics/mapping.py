"""The map of the seeds: a place on a plane for each, a chart, and a page to walk through.

Belongs here: which seeds are laid out and which are shown, the pinned layout, the stage. Does not belong here: how a
layout comes about (`projection`), the page (`map_page`), drawing (`cosmo_assets.charts`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.charts.atlas import MAX_ATLAS_POINTS, Region, atlas, colours_apart
from cosmo_assets.charts.metadata import fits_metadata
from cosmo_assets.ids import uniform
from cosmo_assets.recipe.topics import TopicMap
from cosmo_assets.schemas.columns import EMBEDDING_DIMENSION
from cosmo_assets.schemas.topics import TOPIC_MAP
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import matrix
from cosmo_assets.topics.map_page import Document, Topic, page
from cosmo_assets.topics.policy import decide, resolved
from cosmo_assets.topics.projection import METHOD_VERSION, Plane, Vectors, lay_out, nearest_on_plane, place
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import table_digest
from cosmo_resources.storage.files import write_parquet, write_text
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.storage.writer import DatasetWriter, read_table

STAGE_VERSION = "1"
LAYOUT, PAGE, CHART = "layout.parquet", "map.html", "map.svg"
DECIMALS = 4
NEIGHBOURS = 10

_LAYOUT_SCHEMA = pa.schema(
    [
        pa.field("seed_id", pa.string(), nullable=False),
        pa.field("embedding", pa.list_(pa.float16(), EMBEDDING_DIMENSION), nullable=False),
        pa.field("x", pa.float64(), nullable=False),
        pa.field("y", pa.float64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Layout:
    """The seeds that span the map: their ids, vectors and places."""

    table: pa.Table

    @property
    def digest(self) -> str:
        return table_digest(self.table)

    @property
    def vectors(self) -> Vectors:
        return matrix(self.table)

    @property
    def plane(self) -> Plane:
        return np.stack([self.table["x"].to_numpy(), self.table["y"].to_numpy()], axis=1)

    def places(self) -> dict[str, tuple[float, float]]:
        return dict(zip(self.table["seed_id"].to_pylist(), map(tuple, self.plane.tolist()), strict=True))


def build(workspace: Workspace) -> Manifest:
    """Build `topic_map`.

    The layout is pinned like the cluster model: it is made once for a version of it, on at most `topics.map.points`
    seeds, and lies beside every map that uses it. All other seeds, new ones above all, are placed among these, so
    that none moves because of another.

    Cost: laying out is bounded by `points`; then seeds x points. Memory: ids of all seeds, one part of the embeddings.

    Raises:
        CosmoError: an asset that it is made of is not built yet.
    """
    store, settings = workspace.store, workspace.recipe.topics.map
    names = ("seed_documents", "seed_embeddings", "seed_clusters", "topic_labels")
    seeds, embeddings, clusters, labels = (store.open(name) for name in names)
    (model,) = (ref.version for ref in clusters.manifest.inputs if ref.asset == "cluster_model")
    made_for = {"cluster_model": model, "method": METHOD_VERSION, **settings.model_dump()}
    layout = _pinned(store, made_for) or _laid_out(embeddings, _clusters_of(clusters), settings)
    policy = resolved(workspace.recipe)
    return workspace.build(
        "topic_map",
        lambda writer: _produce(writer, workspace, layout, seeds, embeddings, clusters, labels),
        stage_version=STAGE_VERSION,
        inputs=(seeds.ref(), embeddings.ref(), clusters.ref(), labels.ref()),
        params={"made_for": made_for, "layout": layout.digest, "policy": policy.model_dump(mode="json")},
    )


def drawn(cluster_of: Mapping[str, int], wanted: int, salt: int) -> list[str]:
    """At most so many seeds, by their ids, in an order of which every beginning is stratified by cluster: of each about
    the same share, of small ones more, so that no cluster of some size is left out."""
    members: dict[int, list[tuple[float, str]]] = defaultdict(list)
    for seed, cluster in cluster_of.items():
        members[cluster].append((uniform("map", str(salt), seed), seed))
    raised = len(cluster_of) / max(len(members), 1) / 4
    keys = [
        ((rank + draw) / (len(found) + raised), seed)
        for found in members.values()
        for rank, (draw, seed) in enumerate(sorted(found))
    ]
    return [seed for _, seed in sorted(keys)[:wanted]]


def _pinned(store: CorpusStore, made_for: Mapping[str, Any]) -> Layout | None:
    """The layout that an earlier version holds of the same cluster model, points and method."""
    for dataset in store.versions("topic_map"):
        if dataset.manifest.params["made_for"] == made_for:
            layout = Layout(read_table(dataset.folder / LAYOUT).cast(_LAYOUT_SCHEMA))
            if layout.digest == dataset.manifest.params["layout"]:
                return layout
    return None


def _laid_out(embeddings: Dataset, cluster_of: Mapping[str, int], settings: TopicMap) -> Layout:
    wanted = pa.array(sorted(drawn(cluster_of, settings.points, settings.seed)), pa.string())
    parts = [table.filter(pc.is_in(table["seed_id"], value_set=wanted)) for table in embeddings.tables()]
    found = pa.concat_tables(parts).sort_by("seed_id")
    plane = lay_out(matrix(found)).round(DECIMALS)
    columns = {"seed_id": found["seed_id"], "embedding": found["embedding"], "x": plane[:, 0], "y": plane[:, 1]}
    return Layout(pa.table(columns, schema=_LAYOUT_SCHEMA))


def _clusters_of(clusters: Dataset) -> dict[str, int]:
    table = clusters.table(["seed_id", "cluster_id"])
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    layout: Layout,
    seeds: Dataset,
    embeddings: Dataset,
    clusters: Dataset,
    labels: Dataset,
) -> None:
    recipe = workspace.recipe
    cluster_of = _clusters_of(clusters)
    _same_seeds(embeddings, cluster_of)
    shown = drawn(cluster_of, recipe.topics.map.points, recipe.topics.map.seed)
    wanted, places = set(shown), _place_all(writer, workspace, layout, embeddings, cluster_of)
    place_of = {seed: at for part in places for seed, at in part if seed in wanted}
    plane = np.array([place_of[seed] for seed in shown], np.float64).reshape(-1, 2)
    numbers = np.array([cluster_of[seed] for seed in shown], np.int64)
    topics = _topics(workspace, labels, cluster_of, plane, numbers)
    index = {topic.cluster: number for number, topic in enumerate(topics)}
    documents = _documents(seeds, shown, place_of, [index[cluster] for cluster in numbers.tolist()])
    writer.artifact(LAYOUT, partial(write_parquet, table=layout.table))
    writer.artifact(PAGE, partial(write_text, text=page(recipe.name, topics, documents, len(cluster_of))))
    writer.artifact(CHART, partial(write_text, text=_chart(recipe.name, topics, documents)))
    writer.flow("seeds", embeddings.manifest.rows, len(cluster_of))
    writer.summary = {
        "clusters": len(topics),
        "laid_out": layout.table.num_rows,
        "shown": len(shown),
        "same_cluster": _same_cluster(plane, numbers),
    }


def _same_seeds(embeddings: Dataset, cluster_of: Mapping[str, int]) -> None:
    """Raises:
    CosmoError: a seed has an embedding and no cluster.
    """
    for table in embeddings.tables(["seed_id"]):
        for seed in table["seed_id"].to_pylist():
            if seed not in cluster_of:
                raise CosmoError(
                    f"seed_clusters knows nothing of seed {seed}: it was built of other seeds",
                    remedy="run `cosmo run --asset seed_clusters`, then this again",
                )


def _place_all(
    writer: DatasetWriter, workspace: Workspace, layout: Layout, embeddings: Dataset, cluster_of: Mapping[str, int]
) -> Iterable[list[tuple[str, tuple[float, float]]]]:
    """Write the table, part by part; the ids and places of each part."""
    total, done = embeddings.manifest.rows, 0
    vectors, plane, fixed = layout.vectors, layout.plane, layout.places()
    for table in embeddings.tables():
        ids = table["seed_id"].to_pylist()
        placed = place(matrix(table), vectors, plane).round(DECIMALS).tolist()
        at = [fixed.get(seed) or (x, y) for seed, (x, y) in zip(ids, placed, strict=True)]
        columns = {
            "seed_id": ids,
            "cluster_id": [cluster_of[seed] for seed in ids],
            "x": [x for x, _ in at],
            "y": [y for _, y in at],
            "laid_out": [seed in fixed for seed in ids],
        }
        writer.write(pa.table(columns, schema=TOPIC_MAP))
        done += len(ids)
        workspace.progress(done, total, "seeds")
        yield list(zip(ids, at, strict=True))


def _topics(
    workspace: Workspace,
    labels: Dataset,
    cluster_of: Mapping[str, int],
    plane: Plane,
    numbers: npt.NDArray[np.int64],
) -> list[Topic]:
    """The clusters that have seeds, the largest first, each with its place: where its seeds lie densest."""
    policy = resolved(workspace.recipe)
    known = {label["cluster_id"]: label for label in labels.table().to_pylist()}
    ids, sizes = np.unique(np.array(list(cluster_of.values()), np.int64), return_counts=True)
    order = [int(ids[position]) for position in np.lexsort((ids, -sizes))]
    size_of = dict(zip(ids.tolist(), sizes.tolist(), strict=True))
    middle = {cluster: _densest(plane[numbers == cluster]) for cluster in order}
    colours = colours_apart([middle[cluster] for cluster in order])
    if unknown := set(order) - set(known):
        raise CosmoError(
            f"topic_labels knows nothing of cluster {min(unknown)}, which seed_clusters has seeds in",
            remedy="run `cosmo run --asset topic_labels`, then this again",
        )
    return [
        Topic(
            cluster=cluster,
            name=known[cluster]["topic"] or f"Cluster {cluster}",
            score=known[cluster]["score"],
            seeds=size_of[cluster],
            excluded=decide(known[cluster], policy),
            x=middle[cluster][0],
            y=middle[cluster][1],
            colour=colour,
        )
        for cluster, colour in zip(order, colours, strict=True)
    ]


def _documents(
    seeds: Dataset, shown: list[str], place_of: Mapping[str, tuple[float, float]], topics: list[int]
) -> list[Document]:
    wanted = pa.array(shown, pa.string())
    rows: dict[str, dict[str, Any]] = {}
    for table in seeds.tables(["seed_id", "source", "title", "text"]):
        found = table.filter(pc.is_in(table["seed_id"], value_set=wanted))
        rows |= {row["seed_id"]: row for row in found.to_pylist()}
    return [
        Document(
            seed_id=seed,
            x=place_of[seed][0],
            y=place_of[seed][1],
            topic=topic,
            source=rows[seed]["source"],
            title=rows[seed]["title"],
            text=rows[seed]["text"],
        )
        for seed, topic in zip(shown, topics, strict=True)
    ]


def _chart(name: str, topics: Sequence[Topic], documents: Sequence[Document]) -> str:
    """The map as a small chart, with as many points as an asset's metadata takes."""
    regions = [
        Region(topic.name, topic.x, topic.y, topic.colour if topic.excluded is None else None) for topic in topics
    ]
    points = [(document.x, document.y, document.topic) for document in documents]
    svg = ""
    for limit in (MAX_ATLAS_POINTS, 1_600, 1_200, 300):
        svg = atlas(f"{name}: seeds by topic", points[:limit], regions, _legend(topics))
        if fits_metadata(svg):
            break
    return svg


def _legend(topics: Sequence[Topic]) -> str:
    excluded = sum(topic.excluded is not None for topic in topics)
    return f"Grey: {excluded} of {len(topics)} topics are excluded by the policy." if excluded else ""


def _densest(points: Plane) -> tuple[float, float]:
    """The point that has most of the others close by (within about a tenth of the map); of the first 400 points."""
    some = points[:400]
    if not len(some):
        return 0.0, 0.0
    squared = ((some[:, None] - some[None]) ** 2).sum(axis=-1)
    best = int(np.exp(-squared / 0.01).sum(axis=1).round(6).argmax())
    x, y = some[best].tolist()
    return x, y


def _same_cluster(plane: Plane, numbers: npt.NDArray[np.int64]) -> float:
    """Of the nearest ten points of a point on the map, the share that is of its own cluster; mean over the points."""
    if len(plane) < 2:
        return 1.0
    near = nearest_on_plane(plane, min(NEIGHBOURS, len(plane) - 1))
    return round(float((numbers[near] == numbers[:, None]).mean()), 4)
