"""Clusters of seeds: a model that is fitted once and pinned, and the assignment of every seed to a cluster.

Belongs here: `cluster_model` and `seed_clusters`. Does not belong here: the features and methods of clustering
(`features`, `grouping`), naming the clusters (`labelling`), or what becomes of outliers (`decisions`).

A model is fitted on at most `clustering.sample` seeds. Any seed, fitted or new, joins the cluster that most of its
nearest fitted seeds are in, weighted by similarity (k nearest neighbours, Cover and Hart, 1967), and so depends on
itself and the pinned model alone.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.ids import uniform
from cosmo_assets.recipe.topics import Clustering, Labelling
from cosmo_assets.schemas.columns import EMBEDDING_DIMENSION
from cosmo_assets.schemas.topics import CLUSTER_MODEL, SEED_CLUSTERS
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import embedded_text, matrix
from cosmo_assets.topics.features import FeatureSpace, Vectors, unit
from cosmo_assets.topics.grouping import (
    Labels,
    density_clusters,
    graph_communities,
    k_means,
    nearest_neighbours,
    neighbour_index,
    neighbourhood,
)
from cosmo_resources.embedding.minilm import MAX_CHARS
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

FIT_VERSION = "3"
ASSIGN_VERSION = "2"
ANCHORS, SPACE = "anchors.npz", "space.npz"
BATCH = 16_384


@dataclass(frozen=True)
class ClusterModel:
    """A fitted clustering.

    Attributes:
        space: how features are made of an embedding and a text.
        anchors: features of the fitted seeds, (fitted, dimensions), float16.
        labels: their clusters, (fitted,), numbered by falling size.
        centroids: unit means of the clusters' embeddings, (clusters, 384).
        neighbours: how many of the nearest fitted seeds speak for a seed.
    """

    space: FeatureSpace
    anchors: npt.NDArray[np.float16]
    labels: Labels
    centroids: Vectors
    neighbours: int

    @staticmethod
    def fit(embeddings: Vectors, texts: Sequence[str], recipe: Clustering) -> "tuple[ClusterModel, Labels]":
        """A model of these seeds, embeddings (n, 384) and texts, and the clusters (n,) that it assigns them to."""
        space, anchors = FeatureSpace.fit(embeddings, texts, recipe)
        anchors = unit(anchors.astype(np.float16))
        nearest = nearest_neighbours(anchors, neighbourhood(len(anchors), recipe.clusters), recipe.seed)
        if recipe.method == "graph":
            found = graph_communities(anchors, nearest, recipe.clusters, recipe.seed)
        elif recipe.method == "kmeans":
            found = k_means(anchors, recipe.clusters, recipe.seed)
        else:
            found = density_clusters(anchors, recipe.clusters)
        sizes = np.bincount(found)
        order = [int(cluster) for cluster in np.argsort(-sizes, kind="stable") if sizes[cluster]]
        number_of = np.zeros(len(sizes), np.int64)
        number_of[order] = np.arange(len(order))
        labels = number_of[found]
        similarity, places = nearest
        model = ClusterModel(space, anchors.astype(np.float16), labels, _centroids(embeddings, labels), places.shape[1])
        own = np.arange(len(anchors))[:, None]  # a seed is its own nearest neighbour, as `assign` finds
        similarity = np.hstack([np.ones_like(similarity[:, :1]), similarity[:, :-1]])
        places = np.hstack([own, places[:, :-1]])
        return model, np.concatenate([model._votes(similarity[part], places[part]) for part in _parts(len(places))])

    def assign(self, embeddings: Vectors, texts: Sequence[str]) -> tuple[Labels, Vectors]:
        """The cluster of each seed, and the cosine distance of its embedding to the cluster's centroid; both (n,).
        Cost: n times the square root of the number of fitted seeds."""
        labels = self._votes(*self._index.search(self.space.apply(embeddings, texts), self.neighbours))
        return labels, _distances(embeddings, labels, self.centroids)

    def _votes(self, similarity: Vectors, places: npt.NDArray[np.int64]) -> Labels:
        """The cluster that most of the nearest fitted seeds are in, by their similarity."""
        weights = np.where(places >= 0, np.maximum(similarity, 1e-3), 0.0)
        votes = self.labels[places]
        same = votes[:, :, None] == votes[:, None, :]
        heard = (same * weights[:, None, :]).sum(axis=2)
        labels: Labels = np.take_along_axis(votes, heard.argmax(axis=1)[:, None], axis=1)[:, 0]
        return labels

    @cached_property
    def _index(self) -> faiss.Index:
        return neighbour_index(unit(self.anchors.astype(np.float32)), self.space.seed)

    def save(self, writer: DatasetWriter) -> None:
        """As artifacts beside the table, which holds the centroids."""
        writer.artifact(SPACE, self.space.save)
        writer.artifact(ANCHORS, self._save_anchors)

    def _save_anchors(self, path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, anchors=self.anchors, labels=self.labels.astype(np.int32), neighbours=self.neighbours)

    @staticmethod
    def load(dataset: Dataset) -> "ClusterModel":
        with np.load(dataset.folder / ANCHORS) as found:
            anchors, labels = found["anchors"], found["labels"].astype(np.int64)
            neighbours = int(found["neighbours"])
        space = FeatureSpace.load(dataset.folder / SPACE)
        return ClusterModel(space, anchors, labels, centroids(dataset.table(["centroid"])), neighbours)


def fit(workspace: Workspace, *, refit: bool = False) -> Manifest:
    """Build `cluster_model`, or keep the one that is there: it is pinned as long as the recipe asks for the same
    clustering, extracts and embedding model, so that new seeds are assigned to known topics instead of moving every
    topic. `refit` fits anew.

    Cost: that of the method (`grouping`) on the sample; memory for the sample's texts and vectors.

    Raises:
        CosmoError: there are fewer seeds than clusters.
    """
    recipe = workspace.recipe.topics
    params = {"clustering": recipe.clustering.model_dump(), "labelling": _shown(recipe.labelling)}
    pinned = workspace.store.current("cluster_model")
    embeddings = workspace.store.open("seed_embeddings")
    params["embedding"] = embeddings.manifest.params
    same = pinned is not None and pinned.manifest.stage_version == FIT_VERSION and pinned.manifest.params == params
    if pinned is not None and same and not refit:
        return pinned.manifest
    seeds = workspace.store.open("seed_documents")
    return workspace.build(
        "cluster_model",
        lambda writer: _fit(writer, recipe.clustering, recipe.labelling, embeddings, seeds),
        stage_version=FIT_VERSION,
        inputs=(seeds.ref(), embeddings.ref()),
        params=params,
    )


def assign(workspace: Workspace) -> Manifest:
    """Build `seed_clusters`.

    Cost: linear in the new seeds, and a digest of every seed's text; memory for the model, the rows of the earlier
    version and one part of the seeds.

    Raises:
        CosmoError: the seeds were embedded otherwise than those that the model is fitted on.
    """
    seeds = workspace.store.open("seed_documents")
    embeddings = workspace.store.open("seed_embeddings")
    model = workspace.store.open("cluster_model")
    if model.manifest.params["embedding"] != embeddings.manifest.params:
        raise CosmoError(
            "cluster_model is fitted on embeddings made in another way than seed_embeddings",
            remedy="run `cosmo run --asset cluster_model`, then this again",
        )
    return workspace.build_rows(
        "seed_clusters",
        lambda writer, earlier: _assign(writer, workspace, seeds, embeddings, model, earlier),
        key="seed_id",
        sources=[RowSource(seeds, ("title", "text"))],
        stage_version=ASSIGN_VERSION,
        inputs=(seeds.ref(), embeddings.ref()),
        params={"embedding": embeddings.manifest.params},
        fixed=(model.ref(),),
    )


def centroids(model: pa.Table) -> Vectors:
    """The centroids of a cluster model as float32 (clusters, 384)."""
    flat: Vectors = model["centroid"].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return flat.reshape(-1, EMBEDDING_DIMENSION)


def _fit(writer: DatasetWriter, recipe: Clustering, labelling: Labelling, embeddings: Dataset, seeds: Dataset) -> None:
    if embeddings.manifest.rows < recipe.clusters:
        raise CosmoError(
            f"recipe field topics.clustering.clusters is {recipe.clusters}, but there are only "
            f"{embeddings.manifest.rows} seeds",
            remedy="lower the number of clusters, or check why so few seeds were kept (seed_documents, its funnel)",
        )
    sample = _sample(embeddings, recipe.sample)
    ids, vectors = _vectors(embeddings, sample)
    found = {row["seed_id"]: (_text(row), _extract(row, labelling.extract_chars)) for row in _rows(seeds, sample)}
    texts, extracts = zip(*(found.pop(seed) for seed in ids), strict=True)
    model, labels = ClusterModel.fit(vectors, texts, recipe)
    distances = _distances(vectors, labels, model.centroids)
    rows = []
    for cluster in range(len(model.centroids)):
        members = np.flatnonzero(labels == cluster)
        if not len(members):  # each of its seeds has more neighbours elsewhere
            members = np.flatnonzero(model.labels == cluster)
        shown = _examples(members, distances, ids, labelling)
        rows.append(
            {
                "cluster_id": cluster,
                "centroid": model.centroids[cluster].tolist(),
                "size": len(members),
                "spread": float(distances[members].mean().round(5)),
                "example_ids": [ids[position] for position in shown],
                "extracts": [extracts[position] for position in shown],
            }
        )
    writer.write(pa.Table.from_pylist(rows, schema=CLUSTER_MODEL))
    model.save(writer)
    writer.flow("seeds", embeddings.manifest.rows, embeddings.manifest.rows)
    strayed = np.sort(distances / _scales([row["spread"] for row in rows])[labels])
    far = int(recipe.outliers * len(strayed))
    reach = float(np.ceil(strayed[-1 - far] * 1000) / 1000) if far else None  # so few seeds do not tell how far is far
    writer.summary = {
        "clusters": len(rows),
        "sizes": [row["size"] for row in rows],
        "fitted": len(ids),
        "reach": reach,
    }


def _assign(
    writer: DatasetWriter,
    workspace: Workspace,
    seeds: Dataset,
    embeddings: Dataset,
    fitted: Dataset,
    earlier: Earlier,
) -> None:
    model = ClusterModel.load(fitted)
    scales = _scales(fitted.table(["spread"])["spread"].to_pylist())
    reach = fitted.manifest.summary["reach"]
    sizes = np.zeros(len(scales), np.int64)
    total, done, outliers = seeds.manifest.rows, 0, 0
    for texts, vectors in _batches(seeds, embeddings):
        before = {row["seed_id"]: row for row in earlier.rows(list(texts)).to_pylist()}
        writer.reused_rows += len(before)
        new = [position for position, seed in enumerate(texts) if seed not in before]
        words = list(texts.values())
        rows = dict(before)
        if new:
            labels, distances = model.assign(vectors[new], [words[position] for position in new])
            ids = list(texts)
            for position, label, distance in zip(new, labels.tolist(), distances.astype(np.float64), strict=True):
                far = reach is not None and bool(distance > reach * scales[label])
                row = {"cluster_id": label, "distance": round(float(distance), 5), "outlier": far}
                rows[ids[position]] = {"seed_id": ids[position], **row}
        table = [rows[seed] for seed in texts]
        sizes += np.bincount([row["cluster_id"] for row in table], minlength=len(sizes))
        outliers += sum(row["outlier"] for row in table)
        writer.write(pa.Table.from_pylist(table, schema=SEED_CLUSTERS))
        done += len(table)
        workspace.progress(done, total, "seeds")
    writer.flow("seeds", total, done)
    writer.summary = {"sizes": sizes.tolist(), "outliers": outliers}


def _batches(seeds: Dataset, embeddings: Dataset) -> Iterator[tuple[dict[str, str], Vectors]]:
    """Texts by seed id and vectors of the seeds, some thousands at a time, in the order of both (embeddings are written
    in that of the seeds).

    Raises:
        CosmoError: the embeddings are of other seeds.
    """
    vectors = (table for table in embeddings.tables())
    held: pa.Table | None = None
    for table in seeds.tables(["seed_id", "title", "text"]):
        for start in range(0, table.num_rows, BATCH):
            rows = table.slice(start, BATCH).to_pylist()
            while held is None or held.num_rows < len(rows):
                more = next(vectors, None)
                if more is None:
                    break
                held = more if held is None else pa.concat_tables([held, more])
            ids = [row["seed_id"] for row in rows]
            taken = held.slice(0, len(rows)) if held is not None else None
            if taken is None or taken["seed_id"].to_pylist() != ids:
                raise CosmoError(
                    "seed_embeddings are of other seeds than seed_documents",
                    remedy="run `cosmo run --asset seed_embeddings`, then this again",
                )
            yield {row["seed_id"]: _text(row) for row in rows}, matrix(taken)
            held = held.slice(len(rows)) if held is not None else None


def _sample(embeddings: Dataset, most: int) -> set[str]:
    """The ids of at most `most` seeds, drawn by their ids."""
    ids = (seed for table in embeddings.tables(["seed_id"]) for seed in table["seed_id"].to_pylist())
    if embeddings.manifest.rows <= most:
        return set(ids)
    return set(heapq.nsmallest(most, ids, key=lambda seed: uniform("cluster", seed)))


def _vectors(embeddings: Dataset, sample: set[str]) -> tuple[list[str], Vectors]:
    """Ids and vectors of the sample, by rising id: the order of the seeds' files is no part of a model."""
    ids: list[str] = []
    parts = []
    for table in embeddings.tables():
        chosen = [position for position, seed in enumerate(table["seed_id"].to_pylist()) if seed in sample]
        part = table.take(pa.array(chosen, pa.int64()))
        ids += part["seed_id"].to_pylist()
        parts.append(matrix(part))
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return [ids[position] for position in order], np.concatenate(parts)[order]


def _rows(seeds: Dataset, sample: set[str]) -> Iterator[dict[str, Any]]:
    for table in seeds.tables(["seed_id", "title", "text"]):
        yield from (row for row in table.to_pylist() if row["seed_id"] in sample)


def _text(seed: dict[str, Any]) -> str:
    return embedded_text(seed["title"], seed["text"])[:MAX_CHARS]


def _centroids(embeddings: Vectors, labels: Labels) -> Vectors:
    count = int(labels.max(initial=0)) + 1
    return unit(np.stack([embeddings[labels == cluster].sum(axis=0, dtype=np.float64) for cluster in range(count)]))


def _distances(embeddings: Vectors, labels: Labels, centres: Vectors) -> Vectors:
    similar = np.einsum("ij,ij->i", unit(embeddings), centres[labels], dtype=np.float32)
    distances: Vectors = np.maximum(np.float32(0), np.float32(1) - similar)
    return distances


def _scales(spreads: Sequence[float]) -> npt.NDArray[np.float64]:
    """What distances to centroids are measured by: a cluster's mean distance, but for those of one seed or of equal
    ones no less than a quarter of the median of all."""
    return np.maximum(spreads, max(np.median(spreads) / 4, 1e-3))


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + BATCH) for start in range(0, count, BATCH))


def _examples(members: npt.NDArray[np.int64], distances: Vectors, ids: list[str], labelling: Labelling) -> list[int]:
    """Members to show for a cluster: first the most central, then some of the others, drawn by their ids."""
    central = sorted(members.tolist(), key=lambda position: (round(float(distances[position]), 5), ids[position]))
    drawn = sorted(central[labelling.central_extracts :], key=lambda position: uniform("extract", ids[position]))
    return central[: labelling.central_extracts] + drawn[: labelling.random_extracts]


def _extract(seed: dict[str, str | None], chars: int) -> str:
    text = " ".join(f"{seed['title'] or ''} {seed['text']}".split())
    return text if len(text) <= chars else text[:chars].rsplit(" ", 1)[0]


def _shown(labelling: Labelling) -> dict[str, int]:
    return labelling.model_dump(include={"central_extracts", "random_extracts", "extract_chars"})
