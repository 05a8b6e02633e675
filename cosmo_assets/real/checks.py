"""Checks of real data.

Belongs here: what must hold of `real_documents` and `real_eligible`. Does not belong here: repairing it.
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_assets.seeds.checks import BAD_ROWS, every_source, identity_disparity, licensed
from cosmo_resources.storage.manifest import Manifest

READ_CHECKS = (
    Check("every_source", "Every source of real data gives at least one document.", every_source),
    Check("licensed", "Every real document has a licence.", licensed, blocking=True),
    BAD_ROWS,
    identity_disparity(lambda recipe: recipe.real.filters.max_toxicity),
)


def _every_source_left(manifest: Manifest, _: Recipe) -> Verdict:
    empty = [row["source"] for row in manifest.summary["sources"] if not row["kept"]]
    return not empty, {"sources of which nothing is left": ", ".join(empty)}


CHECKS = (
    Check(
        "every_source_left",
        "Of every source of real data something is left after licences and benchmarks.",
        _every_source_left,
    ),
)
