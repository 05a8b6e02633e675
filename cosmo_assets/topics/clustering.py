"""Clusters of seeds: a model that is fitted once and pinned, and the assignment of every seed to its nearest cluster.

Belongs here: `cluster_model` and `seed_clusters`. Does not belong here: naming the clusters (`labelling`).

Method: spherical k-means (Dhillon and Modha, 2001) through faiss on unit vectors.
"""

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.ids import uniform
from cosmo_assets.recipe import Clustering, Labelling
from cosmo_assets.schemas import CLUSTER_MODEL, EMBEDDING_DIMENSION, SEED_CLUSTERS
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import matrix
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

FIT_VERSION = "2"
ASSIGN_VERSION = "1"
MAP_POINTS = 400

Vectors = npt.NDArray[np.float32]


def fit(workspace: Workspace, *, refit: bool = False) -> Manifest:
    """Build `cluster_model`, or keep the one that is there: it is pinned as long as the recipe asks for the same
    clustering, extracts and embedding model, so that new seeds are assigned to known topics instead of moving every
    topic. `refit` fits anew.

    Cost: seeds x clusters x iterations x restarts.

    Raises:
        CosmoError: there are fewer seeds than clusters.
    """
    recipe = workspace.recipe.topics
    params = {"clustering": recipe.clustering.model_dump(), "labelling": _shown(recipe.labelling)}
    pinned = workspace.store.current("cluster_model")
    embeddings = workspace.store.open("seed_embeddings")
    embedding = embeddings.manifest.params
    params["embedding"] = embedding
    if pinned is not None and not refit and pinned.manifest.params == params:
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
    """Build `seed_clusters`. Cost: seeds x clusters; memory for one part of the embeddings."""
    embeddings = workspace.store.open("seed_embeddings")
    model = workspace.store.open("cluster_model")
    return workspace.build(
        "seed_clusters",
        lambda writer: _assign(writer, workspace, embeddings, model),
        stage_version=ASSIGN_VERSION,
        inputs=(embeddings.ref(), model.ref()),
        params={},
    )


def centroids(model: pa.Table) -> Vectors:
    """The centroids of a cluster model as float32 (clusters, 384)."""
    flat: Vectors = model["centroid"].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return flat.reshape(-1, EMBEDDING_DIMENSION)


def nearest(vectors: Vectors, centres: Vectors) -> tuple[npt.NDArray[np.int64], Vectors]:
    """For each vector the number of its nearest centroid and the cosine distance to it."""
    index = faiss.IndexFlatIP(EMBEDDING_DIMENSION)
    index.add(np.ascontiguousarray(centres))
    similarity, labels = index.search(np.ascontiguousarray(vectors), 1)
    return labels[:, 0], np.maximum(0.0, 1.0 - similarity[:, 0])


def plane(vectors: Vectors, clusters: list[int], ids: list[str]) -> list[list[float]]:
    """At most `MAP_POINTS` seeds on their first two principal components, as [x, y, cluster]; drawn by their ids."""
    drawn = sorted(range(len(ids)), key=lambda position: uniform("map", ids[position]))[:MAP_POINTS]
    centred = vectors - vectors.mean(axis=0)
    _, _, components = np.linalg.svd(centred[sorted(drawn)].astype(np.float64), full_matrices=False)
    axes = components[:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    points = (centred[drawn] @ axes.T).round(3).tolist()
    return [[*point, clusters[position]] for point, position in zip(points, drawn, strict=True)]


def _fit(writer: DatasetWriter, recipe: Clustering, labelling: Labelling, embeddings: Dataset, seeds: Dataset) -> None:
    table = embeddings.table()
    vectors = matrix(table)
    if len(vectors) < recipe.clusters:
        raise CosmoError(
            f"recipe field topics.clustering.clusters is {recipe.clusters}, but there are only {len(vectors)} seeds",
            remedy="lower the number of clusters, or check why so few seeds were kept (seed_documents, its funnel)",
        )
    kmeans = faiss.Kmeans(
        EMBEDDING_DIMENSION,
        recipe.clusters,
        niter=recipe.iterations,
        nredo=recipe.restarts,
        seed=recipe.seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=256,
    )
    kmeans.train(vectors)
    fitted: Vectors = np.asarray(kmeans.centroids, np.float32)
    labels, distances = nearest(vectors, fitted)
    sizes = np.bincount(labels, minlength=recipe.clusters)
    order = [int(cluster) for cluster in np.argsort(-sizes, kind="stable") if sizes[cluster]]
    ids = table["seed_id"].to_pylist()
    texts = {row["seed_id"]: row for row in seeds.table(["seed_id", "title", "text"]).to_pylist()}
    rows = []
    for number, cluster in enumerate(order):
        members = np.flatnonzero(labels == cluster)
        shown = _examples(members, distances, ids, labelling)
        rows.append(
            {
                "cluster_id": number,
                "centroid": fitted[cluster].tolist(),
                "size": len(members),
                "spread": float(np.float32(distances[members].mean().round(5))),
                "example_ids": [ids[position] for position in shown],
                "extracts": [_extract(texts[ids[position]], labelling.extract_chars) for position in shown],
            }
        )
    writer.write(pa.Table.from_pylist(rows, schema=CLUSTER_MODEL))
    writer.flow("seeds", len(vectors), len(vectors))
    number_of = {cluster: number for number, cluster in enumerate(order)}
    numbers = [number_of[int(label)] for label in labels]
    writer.summary = {
        "clusters": len(rows),
        "sizes": [row["size"] for row in rows],
        "map": plane(vectors, numbers, ids),
    }


def _assign(writer: DatasetWriter, workspace: Workspace, embeddings: Dataset, model: Dataset) -> None:
    centres = centroids(model.table(["centroid"]))
    sizes = np.zeros(len(centres), np.int64)
    total, done = embeddings.manifest.rows, 0
    for table in embeddings.tables():
        labels, distances = nearest(matrix(table), centres)
        sizes += np.bincount(labels, minlength=len(centres))
        columns = {"seed_id": table["seed_id"], "cluster_id": labels, "distance": distances.astype(np.float64).round(5)}
        writer.write(pa.table(columns, schema=SEED_CLUSTERS))
        done += table.num_rows
        workspace.progress(done, total, "seeds")
    writer.flow("seeds", total, done)
    writer.summary = {"sizes": sizes.tolist()}


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
