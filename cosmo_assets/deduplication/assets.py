"""The deduplication assets: signatures per bucket, clusters over all, verdicts per bucket.

Belongs here: definitions and what they show. Does not belong here: the work (`stages`).
"""

import dagster as dg

from cosmo_assets import stage_program
from cosmo_assets.charts import bars, histogram
from cosmo_assets.decontamination.assets import decontaminated
from cosmo_assets.deduplication import stages
from cosmo_assets.deduplication.checks import CLUSTER_CHECKS, SIGNATURE_CHECKS, VERDICT_CHECKS
from cosmo_assets.generation.assets import generations
from cosmo_assets.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_resources.resources import ProgramsResource, StoreResource

GROUP = "deduplication"


@corpus_asset(
    "minhash_signatures",
    deps=[decontaminated, generations],
    group=GROUP,
    kinds={"datatrove"},
    stage_version=stages.SIGNATURE_VERSION,
    checks=SIGNATURE_CHECKS,
    bucketed=True,
)
def minhash_signatures(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    programs: ProgramsResource,
) -> Result:
    """MinHash signatures of the bucket's texts, of those that are left so far."""
    programs.run(context, stage_program.__name__, "minhash_signatures", context.partition_key)
    manifest = stages.build_signatures(workspace(context, store, recipe), context.partition_key)
    signatures = sum(entry.bytes for entry in manifest.files if entry.role == "artifact")
    chart = bars("Bytes", [("signatures", signatures), ("index", manifest.bytes - signatures)], unit="bytes")
    return materialized(manifest, recipe, SIGNATURE_CHECKS, Show({"size": chart}))


@corpus_asset(
    "duplicate_clusters",
    deps=[minhash_signatures],
    group=GROUP,
    kinds={"datatrove", "parquet"},
    stage_version=stages.CLUSTER_VERSION,
    checks=CLUSTER_CHECKS,
)
def duplicate_clusters(
    context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]
) -> Result:
    """Groups of near-duplicates over all buckets, and the one of each that survives: the longest, then the smallest
    id."""
    manifest = stages.build_clusters(workspace(context, store, recipe))
    sizes = [(float(size), count) for size, count in manifest.summary["sizes"]]
    examples = [
        {"size": len(group), "documents": ", ".join(doc[:12] for doc in group)}
        for group in manifest.summary["examples"]
    ]
    return materialized(
        manifest,
        recipe,
        CLUSTER_CHECKS,
        Show(
            {"sizes": histogram("Clusters by size", sizes, unit="documents")},
            {"largest": examples},
            {"clusters": manifest.summary["clusters"]},
        ),
    )


@corpus_asset(
    "deduplicated",
    deps=[minhash_signatures, duplicate_clusters],
    group=GROUP,
    kinds={"parquet"},
    stage_version=stages.VERDICT_VERSION,
    checks=VERDICT_CHECKS,
    bucketed=True,
)
def deduplicated(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Which documents of the bucket are left after near-duplicates, and of what each dropped one is a duplicate."""
    manifest = stages.build_verdicts(workspace(context, store, recipe), context.partition_key)
    flow = manifest.flow
    chart = bars("Documents", [("kept", flow.rows_out), ("near-duplicates", flow.rows_in - flow.rows_out)])
    return materialized(manifest, recipe, VERDICT_CHECKS, Show({"verdicts": chart}))
