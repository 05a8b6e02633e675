"""Checks of diversity.

Belongs here: the gate as a check. Does not belong here: the comparison (`gate`), or which version was accepted
(`stage`).
"""

from cosmo_assets.diversity import stage
from cosmo_assets.drift import KEY
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_resources.storage.manifest import Manifest


def _diversity(manifest: Manifest, recipe: Recipe) -> Verdict:
    before, found = manifest.run.get(KEY), stage.verdicts(manifest, recipe)
    worse = [
        f"{verdict.measure} {verdict.before:.4g} -> {verdict.now:.4g}"
        + (f" ({verdict.phrase!r})" if verdict.phrase else "")
        for verdict in found
        if verdict.worse
    ]
    passed = stage.passes(manifest, recipe)
    return passed, {
        "worse": "; ".join(worse),
        "chance": min((verdict.chance for verdict in found), default=1.0),
        "rate": stage.section_of(recipe).rate,
        "not compared": ", ".join(verdict.measure for verdict in found if verdict.before is None),
        "compared with": before["of"] if before else "nothing: no accepted version",
        "to accept it": "" if passed else f"diversity.accepted: [{manifest.version}] in the recipe",
    }


CHECKS = (
    Check(
        "diversity",
        "By no measure the corpus is less diverse than the last accepted version, by more than chance.",
        _diversity,
        blocking=True,
    ),
)
