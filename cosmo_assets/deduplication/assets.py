"""The deduplication assets: signatures and, where meanings are compared, embeddings per bucket; clusters over all;
verdicts per bucket.

Belongs here: definitions and what they show. Does not belong here: the work (`signatures`, `embeddings`, `clusters`,
`verdicts`).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from cosmo_assets import stage_program
from cosmo_assets.charts.bars import bars
from cosmo_assets.charts.curves import histogram
from cosmo_assets.decontamination.assets import decontaminated
from cosmo_assets.deduplication import clusters, embeddings, signatures, verdicts
from cosmo_assets.deduplication.checks import CLUSTER_CHECKS, EMBEDDING_CHECKS, SIGNATURE_CHECKS, VERDICT_CHECKS
from cosmo_assets.generation.assets import generations
from cosmo_assets.prompts.assets import prompt_table
from cosmo_assets.quality.assets import generation_quality
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, columns, corpus_asset, materialized, workspace
from cosmo_resources.resources import EmbedderResource, ProgramsResource, StoreResource

GROUP = "deduplication"


@corpus_asset(
    "text_signatures",
    deps=[decontaminated, generations, generation_quality],
    group=GROUP,
    kinds={"datatrove"},
    stage_version=signatures.STAGE_VERSION,
    checks=SIGNATURE_CHECKS,
    bucketed=True,
)
def text_signatures(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    programs: ProgramsResource,
) -> Result:
    """What the methods of deduplication compare of the bucket's texts: a hash of the words, MinHash signatures,
    windows of passages."""
    programs.run(context, stage_program.__name__, "text_signatures", context.partition_key)
    manifest = signatures.build(workspace(context, store, recipe), context.partition_key)
    files = sum(entry.bytes for entry in manifest.files if entry.role == "artifact")
    chart = bars("Bytes", [("signatures", files), ("table", manifest.bytes - files)], unit="bytes")
    return materialized(manifest, recipe, SIGNATURE_CHECKS, Show({"size": chart}))


@corpus_asset(
    "text_embeddings",
    deps=[decontaminated, generations],
    group=GROUP,
    kinds={"openvino", "parquet"},
    stage_version=embeddings.STAGE_VERSION,
    checks=EMBEDDING_CHECKS,
    bucketed=True,
)
def text_embeddings(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    embedder: EmbedderResource,
    programs: ProgramsResource,
) -> Result:
    """One unit vector for the beginning of each of the bucket's texts; unchanged documents keep theirs."""
    programs.run(context, stage_program.__name__, "text_embeddings", context.partition_key)
    manifest = embeddings.build(workspace(context, store, recipe), embedder.create(), context.partition_key)
    reused = int(manifest.run.get("reused_rows", 0))
    chart = bars("Embeddings", [("computed", manifest.rows - reused), ("taken over", reused)], unit="documents")
    return materialized(manifest, recipe, EMBEDDING_CHECKS, Show({"embeddings": chart}))


@corpus_asset(
    "duplicate_clusters",
    deps=[text_signatures, prompt_table],
    group=GROUP,
    kinds={"polars", "parquet"},
    stage_version=clusters.STAGE_VERSION,
    checks=CLUSTER_CHECKS,
)
def duplicate_clusters(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    programs: ProgramsResource,
) -> Result:
    """Duplicates over all buckets, method by method, and the one of each cluster that is kept: by quality, then by
    length, then the smallest id, unless the recipe says otherwise."""
    programs.run(context, stage_program.__name__, "duplicate_clusters")
    manifest = clusters.build(workspace(context, store, recipe))
    summary = manifest.summary
    sizes = [(float(size), count) for size, count in summary["sizes"]]
    shares = [(row["template"], row["removed"]) for row in summary["by_template"] if row["removed"]]
    charts = {
        "sizes": histogram("Clusters by size", sizes, unit="documents"),
        "templates": bars("Duplicates by template", shares, unit="documents"),
    }
    tables = {
        "methods": columns(summary["methods"], "method", "clusters", "documents", "removed", "tokens"),
        "by_source": columns(summary["by_source"], "source", "documents", "removed", "share"),
        "by_template": columns(summary["by_template"], "template", "documents", "removed", "share"),
        "by_topic": columns(summary["by_topic"], "topic", "documents", "removed", "share"),
        "template_pairs": columns(summary["pairs"], "template", "of_template", "documents"),
        "largest": [_example(row) for row in summary["examples"]],
    }
    return materialized(manifest, recipe, CLUSTER_CHECKS, Show(charts, tables))


def _example(row: Mapping[str, Any]) -> dict[str, Any]:
    others = ", ".join(name[:12] for name in row["documents"])
    return {"method": row["method"], "size": row["size"], "kept": row["survivor"][:12], "others": others}


@corpus_asset(
    "deduplicated",
    deps=[text_signatures, duplicate_clusters],
    group=GROUP,
    kinds={"parquet"},
    stage_version=verdicts.STAGE_VERSION,
    checks=VERDICT_CHECKS,
    bucketed=True,
)
def deduplicated(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Which documents of the bucket are left without duplicates, and what stands for each dropped one."""
    manifest = verdicts.build(workspace(context, store, recipe), context.partition_key)
    flow = manifest.flow
    dropped = [(reason.replace("_", ": ", 1), count) for reason, count in sorted(flow.dropped.items())]
    chart = bars("Documents", [("kept", flow.rows_out), *dropped])
    return materialized(manifest, recipe, VERDICT_CHECKS, Show({"verdicts": chart}))
