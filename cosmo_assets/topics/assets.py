"""The topic assets: embeddings, the pinned cluster model, the assignment, the labels.

Belongs here: definitions and what they show. Does not belong here: the methods (`embedding`, `clustering`,
`labelling`).
"""

import dagster as dg
from pydantic import Field

from cosmo_assets.charts import bars, histogram, scatter
from cosmo_assets.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_assets.seeds.assets import seed_documents
from cosmo_assets.topics import clustering, embedding, labelling
from cosmo_assets.topics.checks import ASSIGNMENT_CHECKS, EMBEDDING_CHECKS, LABEL_CHECKS, MODEL_CHECKS
from cosmo_assets.topics.policy import decide
from cosmo_resources.resources import EmbedderResource, EngineResource, StoreResource


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
) -> Result:
    """One unit vector per seed (all-MiniLM-L6-v2, 384 dimensions); unchanged seeds keep theirs."""
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
    """Spherical k-means centroids with the extracts that speak for each cluster. Fitted once, then pinned: it changes
    when the recipe's clustering does, or when somebody materializes it with `refit`."""
    manifest = clustering.fit(workspace(context, store, recipe), refit=config.refit)
    points = [(x, y, f"cluster {int(cluster):02d}") for x, y, cluster in manifest.summary["map"]]
    chart = scatter("Seeds on their first two principal components", points)
    return materialized(manifest, recipe, MODEL_CHECKS, Show({"map": chart}))


@corpus_asset(
    "seed_clusters",
    deps=[seed_embeddings, cluster_model],
    group="topics",
    kinds={"faiss", "parquet"},
    stage_version=clustering.ASSIGN_VERSION,
    checks=ASSIGNMENT_CHECKS,
)
def seed_clusters(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """The nearest cluster of every seed, and its distance."""
    manifest = clustering.assign(workspace(context, store, recipe))
    sizes = [(f"cluster {number:02d}", size) for number, size in enumerate(manifest.summary["sizes"])]
    return materialized(
        manifest, recipe, ASSIGNMENT_CHECKS, Show({"sizes": bars("Seeds by cluster", sizes, unit="seeds")})
    )


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
        workspace(context, store, recipe), lambda: engine.client(recipe.generation.model.name), embedder.create
    )
    labels = store.create().open("topic_labels").table().to_pylist()
    table = [
        {
            "cluster": label["cluster_id"],
            "topic": label["topic"],
            "score": label["score"],
            "nearest heading": label["heading"],
            "status": label["status"],
            "excluded by the policy": decide(label, recipe.topics.policy) or "",
        }
        for label in labels
    ]
    scores = [(float(score), manifest.summary["scores"].count(score)) for score in range(1, 11)]
    return materialized(
        manifest,
        recipe,
        LABEL_CHECKS,
        Show({"scores": histogram("Clusters by educational score", scores, unit="score")}, {"topics": table}),
    )
