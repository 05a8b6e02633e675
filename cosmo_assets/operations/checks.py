"""Standing checks: what an operator wants to know of a corpus as a whole, whatever was materialized last.

Belongs here: looking at the disk and at Dagster's record. Does not belong here: the checks of one dataset (its stage's
`checks`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from cosmo_assets.operations.adopt import differences, failed_attempts
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import OWNERS, markdown_table
from cosmo_resources.resources import StoreResource

CORPUS = dg.AssetKey(["operations", "corpus"])
"""What the standing checks are about: all datasets of the corpus together."""

CORPUS_SPEC = dg.AssetSpec(
    CORPUS,
    description="All datasets of the corpus on disk, and Dagster's record of them: the job `standing_checks` compares.",
    group_name="operations",
    owners=OWNERS,
    kinds={"parquet"},
)
FAILED_BUCKETS = dg.AssetCheckSpec(
    "failed_buckets",
    asset=CORPUS,
    description="No asset and no bucket of one has failed since it was last materialized.",
)
DISK_MATCHES_RECORD = dg.AssetCheckSpec(
    "disk_matches_record",
    asset=CORPUS,
    description="Every dataset on disk is whole, and is the one that Dagster holds as the latest.",
)
STANDING_CHECKS = (FAILED_BUCKETS, DISK_MATCHES_RECORD)


@dg.multi_asset_check(specs=STANDING_CHECKS, name="compare_with_disk")
def standing_checks(
    context: dg.AssetCheckExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]
) -> Iterable[dg.AssetCheckResult]:
    """Look at everything that there is; nothing is read but manifests, and nothing is changed."""
    failed = [asdict(attempt) for attempt in failed_attempts(context.instance)]
    yield _result(FAILED_BUCKETS, failed, "asset")
    yield _result(
        DISK_MATCHES_RECORD,
        [asdict(found) for found in differences(recipe, store.create(), context.instance)],
        "state",
    )


def _result(spec: dg.AssetCheckSpec, rows: Sequence[Mapping[str, Any]], by: str) -> dg.AssetCheckResult:
    """Passed where there is no row; else a table of them, and their number by one of their columns."""
    counts = Counter(row[by] for row in rows)
    metadata: dict[str, Any] = {"found": len(rows), **dict(sorted(counts.items()))}
    if rows:
        metadata["table"] = dg.MetadataValue.md(markdown_table(rows))
    return dg.AssetCheckResult(
        asset_key=CORPUS,
        check_name=spec.name,
        passed=not rows,
        severity=dg.AssetCheckSeverity.ERROR,
        description=", ".join(f"{number} {what}" for what, number in counts.items()) or None,
        metadata=metadata,
    )
