"""The assets that leave the house: the report and the exported dataset.

Belongs here: definitions and what they show. Does not belong here: writing them (`report`, `export`).
"""

import dagster as dg
from pydantic import Field

from cosmo_assets.charts.bars import bars
from cosmo_assets.comparison.changes import changes
from cosmo_assets.decontamination.assets import benchmark_index, contaminated_seeds, decontaminated
from cosmo_assets.deduplication.assets import deduplicated, duplicate_clusters, text_signatures
from cosmo_assets.generation.assets import generations
from cosmo_assets.lineage.assets import token_lineage
from cosmo_assets.mixture.assets import mixture
from cosmo_assets.prompts.assets import prompt_table
from cosmo_assets.quality.assets import generation_quality
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.report import export, push, report
from cosmo_assets.report.accounts import shown
from cosmo_assets.report.checks import EXPORT_CHECKS, PUSH_CHECKS, REPORT_CHECKS
from cosmo_assets.report.figures import funnel_chart
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_assets.seeds.assets import seed_documents
from cosmo_assets.tokenization.assets import tokenized_shards
from cosmo_assets.topics.assets import (
    cluster_model,
    seed_clusters,
    seed_embeddings,
    seed_topics,
    topic_labels,
    topic_map,
)
from cosmo_resources.resources import HubResource, StoreResource, TrackerResource
from cosmo_resources.tracking import Work


@corpus_asset(
    "corpus_report",
    deps=[
        seed_documents,
        seed_embeddings,
        cluster_model,
        seed_clusters,
        topic_labels,
        seed_topics,
        topic_map,
        prompt_table,
        generations,
        generation_quality,
        benchmark_index,
        contaminated_seeds,
        decontaminated,
        text_signatures,
        duplicate_clusters,
        deduplicated,
        mixture,
        tokenized_shards,
        token_lineage,
    ],
    group="report",
    kinds={"html"},
    stage_version=report.STAGE_VERSION,
    checks=REPORT_CHECKS,
)
def corpus_report(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    tracker: TrackerResource,
) -> Result:
    """One self-contained page on the whole corpus: figures, funnel, topics, quality, contamination, mixture, samples,
    worked traces."""
    before = store.create().current_manifest("corpus_report")
    manifest = report.build(workspace(context, store, recipe))
    dataset = store.create().open("corpus_report")
    figures = dataset.table().to_pylist()
    tracker.create().log(
        Work(
            "corpus_report",
            manifest.version,
            {"recipe": recipe.name, "recipe_digest": recipe.digest},
            {
                f"{row['section']}/{row['name']}".replace(" ", "_"): row["value"]
                for row in figures
                if row["section"] == "headline"
            },
        )
    )
    headline = [{"figure": row["name"], "value": row["value"]} for row in figures if row["section"] == "headline"]
    funnel = {row["name"]: row["value"] for row in figures if row["section"] == "funnel"}
    page = dg.MetadataValue.path(str(dataset.folder / "report.html"))
    priced = recipe.budget.gpu_hour_price > 0
    account = {
        f"account_by_{name}": shown(rows, name, priced=priced) for name, rows in manifest.run["accounts"].items()
    }
    result = materialized(
        manifest,
        recipe,
        REPORT_CHECKS,
        Show(
            {"funnel": funnel_chart(funnel)},
            {"figures": headline, **account, "since_the_last_version": changes(store.create(), before, manifest)},
        ),
    )
    return result._replace(metadata={**(result.metadata or {}), "page": page})


@corpus_asset(
    "corpus_export",
    deps=[mixture, generations, prompt_table, benchmark_index, decontaminated, seed_documents],
    group="report",
    kinds={"huggingface", "parquet"},
    stage_version=export.STAGE_VERSION,
    checks=EXPORT_CHECKS,
)
def corpus_export(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """The corpus as a dataset folder that `datasets.load_dataset` opens: parquet files and a dataset card."""
    manifest = export.build(workspace(context, store, recipe))
    files = store.create().open("corpus_export").table().to_pylist()
    chart = bars("Documents by file", [(row["file"], row["rows"]) for row in files], unit="documents")
    return materialized(manifest, recipe, EXPORT_CHECKS, Show({"files": chart}, {"files_table": files}))


class PushConfig(dg.Config):
    """Where to send the export to."""

    repository: str = Field(default="", description="owner/name on the hub; empty takes the deployment's (COSMO_HUB)")
    branch: str = Field(default="main", description="Branch of the repository")
    private: bool = Field(default=True, description="Whether a repository that is not there yet becomes a private one")


@corpus_asset(
    push.ASSET,
    deps=[corpus_export],
    group="report",
    kinds={"huggingface"},
    stage_version=push.STAGE_VERSION,
    checks=PUSH_CHECKS,
)
def push_to_hub(
    context: dg.AssetExecutionContext,
    config: PushConfig,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    hub: HubResource,
) -> Result:
    """The exported dataset in a repository of the Hugging Face hub, in one commit. Nobody materializes it but on
    request, and only into a repository that is named."""
    target = push.Target(config.repository or hub.repository, config.branch, config.private)
    manifest = push.build(workspace(context, store, recipe), target)
    figures = {key: manifest.summary[key] for key in ("repository", "branch", "commit")}
    result = materialized(manifest, recipe, PUSH_CHECKS, Show(figures=figures))
    return result._replace(metadata={**(result.metadata or {}), "url": dg.MetadataValue.url(manifest.run["url"])})
