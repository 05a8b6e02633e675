"""Checks of the proof.

Belongs here: what tells that the trainings can be compared, and that they said something. Does not belong here:
training or comparing (`stage`).
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_resources.storage.manifest import Manifest

UNDECIDED = "undecided"


def _finished(manifest: Manifest, _: Recipe) -> Verdict:
    summary = manifest.summary
    asked, found = len(summary["arms"]) * summary["seeds"], summary["trainings"]
    learnt = [one for one in found if one["last_loss"] < one["first_loss"]]
    without = sorted({one["arm"] for one in found if one not in learnt})
    return len(learnt) == asked, {"trainings": asked, "finished": len(found), "learnt nothing": ", ".join(without)}


def _decided(manifest: Manifest, _: Recipe) -> Verdict:
    first, found = manifest.summary["measures"][0], manifest.summary["verdicts"]
    by_first = [one for one in found if one["measure"] == first]
    decided = sum(one["arm_is"] != UNDECIDED for one in by_first)
    return decided > 0, {"decided": decided, "pairs": len(by_first), "by": first}


RUNS_CHECKS = (
    Check(
        "finished",
        "Every arm has been trained with every seed, and ends with a smaller loss than it began with.",
        _finished,
        blocking=True,
    ),
)
EVALUATION_CHECKS = (
    Check("decided", "By the first measure, one arm at least is better or worse than another.", _decided),
)
