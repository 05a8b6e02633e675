"""The topic assets: embeddings, the pinned cluster model, the assignment, the labels, the map; topic-first mode's tree
and its seeds; the decision on every seed.

Belongs here: definitions and what they show. Does not belong here: the methods (`embedding`, `clustering`,
`labelling`, `mapping`, `expansion`, `search`, `decisions`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from cosmo_assets import stage_program
from cosmo_assets.charts.bars import bars, stacked
from cosmo_assets.charts.curves import histogram
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import MAX_TABLE_ROWS, Result, Show, columns, corpus_asset, materialized, workspace
from cosmo_assets.seeds.assets import seed_documents
from cosmo_assets.tokenization.tokenizer import recipe_tokenizer
from cosmo_assets.topics import clustering, decisions, embedding, expansion, labelling, mapping, search
from cosmo_assets.topics.checks import (
    ASSIGNMENT_CHECKS,
    DECISION_CHECKS,
    EMBEDDING_CHECKS,
    LABEL_CHECKS,
    MAP_CHECKS,
    MODEL_CHECKS,
    TOPIC_SEED_CHECKS,
    TREE_CHECKS,
)
from cosmo_resources.resources import EmbedderResource, EngineResource, ProgramsResource, StoreResource
from cosmo_resources.storage.manifest import Manifest


class ClusterModelConfig(dg.Config):
    """What can be asked of one materialization of the cluster model."""

    refit: bool = Field(
        default=False, description="Fit anew on the current seeds; every topic may move, and prompts with them"
    )


@corpus_asset(
    "seed_embeddings",
    deps=[seed_documents],
    group="topics",
    kinds={"openvino", "parquet"},
    stage_version=embedding.STAGE_VERSION,
    checks=EMBEDDING_CHECKS,
)
def seed_embeddings(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    embedder: EmbedderResource,
    programs: ProgramsResource,
) -> Result:
    """One unit vector per seed (all-MiniLM-L6-v2, 384 dimensions); unchanged seeds keep theirs."""
    programs.run(context, stage_program.__name__, "seed_embeddings")
    manifest = embedding.build(workspace(context, store, recipe), embedder.create())
    reused = int(manifest.run.get("reused_rows", 0))
    chart = bars("Embeddings", [("computed", manifest.rows - reused), ("taken over", reused)], unit="seeds")
    return materialized(manifest, recipe, EMBEDDING_CHECKS, Show({"work": chart}))


@corpus_asset(
    "cluster_model",
    deps=[seed_documents, seed_embeddings],
    group="topics",
    kinds={"faiss", "parquet"},
    stage_version=clustering.FIT_VERSION,
    checks=MODEL_CHECKS,
)
def cluster_model(
    context: dg.AssetExecutionContext,
    config: ClusterModelConfig,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
) -> Result:
    """The clusters of a sample of the seeds, with the extracts that speak for each. Fitted once, then pinned: it
    changes when the recipe's clustering does, or when somebody materializes it with `refit`."""
    manifest = clustering.fit(workspace(context, store, recipe), refit=config.refit)
    return materialized(manifest, recipe, MODEL_CHECKS, Show({"sizes": _sizes(manifest)}))


@corpus_asset(
    "seed_clusters",
    deps=[seed_documents, seed_embeddings, cluster_model],
    group="topics",
    kinds={"faiss", "parquet"},
    stage_version=clustering.ASSIGN_VERSION,
    checks=ASSIGNMENT_CHECKS,
)
def seed_clusters(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """The cluster of every seed, its distance, and whether it is an outlier; unchanged seeds keep theirs."""
    manifest = clustering.assign(workspace(context, store, recipe))
    return materialized(manifest, recipe, ASSIGNMENT_CHECKS, Show({"sizes": _sizes(manifest)}))


def _sizes(manifest: Manifest) -> str:
    sizes = [(f"cluster {number:02d}", size) for number, size in enumerate(manifest.summary["sizes"])]
    return bars("Seeds by cluster", sizes, unit="seeds")


@corpus_asset(
    "topic_labels",
    deps=[cluster_model],
    group="topics",
    kinds={"llm", "parquet"},
    stage_version=labelling.STAGE_VERSION,
    checks=LABEL_CHECKS,
    pool="llm",
)
def topic_labels(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    engine: EngineResource,
    embedder: EmbedderResource,
) -> Result:
    """Topic and educational value of every cluster, as the model answers from its extracts."""
    manifest = labelling.build(
        workspace(context, store, recipe),
        lambda: engine.client(recipe.generation.model.name),
        embedder.create,
        recipe_tokenizer(recipe),
    )
    labels = store.create().open("topic_labels").table().to_pylist()
    shown = ("cluster_id", "topic", "score", "reason", "votes", "agreement", "heading", "status")
    scores = [
        (float(score), sum(round(found) == score for found in manifest.summary["scores"])) for score in range(1, 11)
    ]
    tables = {"topics": columns(labels, *shown)}
    figures = {name: int(manifest.run.get(name, 0)) for name in ("reused_rows", "requests")}
    chart = histogram("Clusters by educational score", scores, unit="score")
    return materialized(manifest, recipe, LABEL_CHECKS, Show({"scores": chart}, tables, figures))


@corpus_asset(
    "topic_map",
    deps=[seed_documents, seed_embeddings, seed_clusters, topic_labels],
    group="topics",
    kinds={"html", "parquet"},
    stage_version=mapping.STAGE_VERSION,
    checks=MAP_CHECKS,
)
def topic_map(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """A map of the seeds: near on it is near in meaning. `page` is the map to walk through: zoom, search, a document
    under every point. The layout is pinned as long as the cluster model is; new seeds are placed among the others."""
    manifest = mapping.build(workspace(context, store, recipe))
    folder = store.create().open("topic_map").folder
    chart = (folder / mapping.CHART).read_text(encoding="utf-8")
    result = materialized(manifest, recipe, MAP_CHECKS, Show({"map": chart}))
    page = dg.MetadataValue.path(str(folder / mapping.PAGE))
    return result._replace(metadata={**(result.metadata or {}), "page": page})


@corpus_asset(
    "topic_tree",
    group="topics",
    kinds={"llm", "parquet"},
    stage_version=expansion.STAGE_VERSION,
    checks=TREE_CHECKS,
    pool="llm",
)
def topic_tree(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    engine: EngineResource,
) -> Result:
    """Topic-first mode: the tree of categories and subcategories, with the subtopics that the model names. Only
    subcategories that are new or changed are asked about."""
    manifest = expansion.build(workspace(context, store, recipe), lambda: engine.client(recipe.generation.model.name))
    summary = manifest.summary
    chart = bars(
        "Topics by category", [(row["category"], row["topics"]) for row in summary["categories"]], unit="topics"
    )
    tables = {
        "categories": columns(summary["categories"], "category", "subcategories", "topics", "named"),
        "names_not_taken": [{"reason": reason, "names": count} for reason, count in summary["dropped"].items()],
    }
    figures = {name: int(manifest.run.get(name, 0)) for name in ("requests", "reused_rows")}
    return materialized(manifest, recipe, TREE_CHECKS, Show({"categories": chart}, tables, figures))


@corpus_asset(
    "topic_seeds",
    deps=[seed_documents, topic_tree],
    group="topics",
    kinds={"tantivy", "parquet"},
    stage_version=search.STAGE_VERSION,
    checks=TOPIC_SEED_CHECKS,
)
def topic_seeds(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Topic-first mode: the best seeds of every topic by full-text search, the subtopic's words weighing more. A seed
    that several topics want belongs to the one that ranks it best."""
    manifest = search.build(workspace(context, store, recipe))
    summary = manifest.summary
    chart = bars("Seeds by category", [(row["category"], row["seeds"]) for row in summary["categories"]], unit="seeds")
    tables = {
        "categories": columns(summary["categories"], "category", "topics", "hits", "seeds"),
        "topics_with_the_fewest_seeds": columns(summary["fewest"], "topic", "hits", "seeds"),
    }
    figures = {"newly_indexed_seeds": int(manifest.run.get("indexed_seeds", 0))}
    return materialized(manifest, recipe, TOPIC_SEED_CHECKS, Show({"categories": chart}, tables, figures))


@corpus_asset(
    "seed_topics",
    deps=[seed_documents, seed_clusters, topic_labels],
    group="topics",
    kinds={"parquet"},
    stage_version=decisions.STAGE_VERSION,
    checks=DECISION_CHECKS,
)
def seed_topics(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """The topic of every seed, and whether the topic policy lets it become prompts. Changing the policy runs this and
    what depends on it; no model is asked."""
    manifest = decisions.build(workspace(context, store, recipe))
    summary = manifest.summary
    clusters = sorted(summary["clusters"], key=lambda row: (-row["seeds"], row["cluster"]))
    charts = {"seeds_by_cluster": _decided("Seeds by topic of their cluster", clusters)}
    tables = dict(excluded_clusters(clusters))
    if recipe.topics.tree is not None:
        charts["seeds_by_topic"] = _decided("Seeds by topic of the tree", summary["topics"])
        gone = [row for row in summary["topics"] if row["excluded"]]
        tables["excluded_topics"] = columns(gone, "topic", "subcategory", "category", "excluded", "seeds")
        tables["topics_with_the_most_seeds"] = columns(
            summary["topics"], "topic", "subcategory", "category", "seeds", "kept"
        )
    figures = {name: ", ".join(summary[name]) for name in ("overrides_without_a_topic", "patterns_without_a_topic")}
    return materialized(manifest, recipe, DECISION_CHECKS, Show(charts, tables, figures))


def _decided(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        (
            row["topic"] or f"no label (cluster {row['cluster']})",
            {"kept": row["kept"], "excluded": row["seeds"] - row["kept"]},
        )
        for row in rows
        if row["seeds"]
    ]
    return stacked(title, parts, unit="seeds")


def excluded_clusters(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Every excluded cluster, in as many tables as it takes to show all of them."""
    listed = [
        {
            "cluster": row["cluster"],
            "topic": row["topic"],
            "score": row["score"],
            "nearest heading": row["heading"],
            "reason": row["excluded"],
            "seeds": row["seeds"],
            "excluded": row["seeds"] - row["kept"],
            "samples": " · ".join(row["samples"]),
        }
        for row in rows
        if row["excluded"]
    ]
    for start in range(0, len(listed), MAX_TABLE_ROWS):
        yield f"excluded_clusters{f'_{start + 1}' if start else ''}", listed[start : start + MAX_TABLE_ROWS]
