"""Checks of the seeds.

Belongs here: what must hold of `seed_documents`. Does not belong here: repairing it (`documents`, `cleaning`).
"""

from collections.abc import Callable

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, share_at_most
from cosmo_assets.seeds.toxicity import disparities_of
from cosmo_resources.storage.manifest import Manifest


def every_source(manifest: Manifest, _: Recipe) -> Verdict:
    empty = [name for name, funnel in manifest.summary["funnel"].items() if not funnel["kept"]]
    return not empty, {"sources without seeds": ", ".join(empty)}


def licensed(manifest: Manifest, _: Recipe) -> Verdict:
    unnamed = manifest.summary["unlicensed"]
    return unnamed == 0, {"seeds without a licence": unnamed}


def identity_disparity(limit: Callable[[Recipe], float | None]) -> Check:
    """A check on a recipe's limit of toxicity, if it has one: harmless texts about a group of people must not be
    removed more often than those about nobody in particular, beyond limit and chance. The lower end of a ratio's 95 %
    interval is what counts: few sentences prove little."""

    def test(_: Manifest, recipe: Recipe) -> Verdict:
        most = limit(recipe)
        if most is None:
            return True, {"limit of toxicity": "none"}
        rows = disparities_of(most)
        worst, bound = max(rows, key=lambda row: (row.low, row.removed)), recipe.limits.max_identity_disparity
        return worst.low <= bound, {
            "group": worst.group,
            "removed": f"{worst.removed} of {worst.texts}",
            "of others": f"{worst.control_removed} of {worst.control_texts}",
            "ratio at least": round(worst.low, 2),
            "limit": bound,
            "recipe field": "limits.max_identity_disparity",
        }

    return Check(
        "identity_disparity",
        "The limit of toxicity removes harmless texts about a group of people no more often than others.",
        test,
        blocking=True,
    )


BAD_ROWS = share_at_most(
    "bad_rows",
    "The share of source rows that could not be read is within the recipe's limit; they are listed as rejected.",
    lambda manifest: sum(manifest.flow.failed.values()),
    lambda manifest: manifest.flow.rows_in,
    "max_bad_seed_rows",
)

CHECKS = (
    Check("every_source", "Every source of the recipe gives at least one seed.", every_source),
    Check("licensed", "Every seed has a licence.", licensed, blocking=True),
    BAD_ROWS,
    identity_disparity(lambda recipe: recipe.seeds.max_toxicity),
)


def _outlined(manifest: Manifest, recipe: Recipe) -> Verdict:
    share = manifest.flow.rows_out / manifest.summary["courses"] if manifest.summary["courses"] else 1.0
    bound = recipe.limits.min_outlined
    figures = {"share of courses with an outline": round(share, 4), "limit": bound}
    return share >= bound, {**figures, "recipe field": "limits.min_outlined"}


OUTLINE_CHECKS = (Check("outlined", "Enough courses have an outline; the others are listed as rejected.", _outlined),)
