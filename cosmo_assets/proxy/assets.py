"""The assets of the proof, which only recipes with a section `proof` have.

Belongs here: their definitions and what they show. Does not belong here: training and comparing (`stage`).
"""

import os
import sys

import dagster as dg

from cosmo_assets.lineage.assets import token_lineage
from cosmo_assets.proxy import stage
from cosmo_assets.proxy.checks import EVALUATION_CHECKS, RUNS_CHECKS
from cosmo_assets.proxy.show import differences_chart
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, columns, corpus_asset, materialized, workspace
from cosmo_assets.tokenization.assets import tokenized_shards
from cosmo_resources.resources import StoreResource

VERDICT = ("measure", "arm", "other", "difference", "low", "high", "arm_is")


@corpus_asset(
    stage.RUNS,
    deps=[tokenized_shards, token_lineage],
    group="proof",
    kinds={"torch", "parquet"},
    stage_version=stage.STAGE_VERSION,
    checks=RUNS_CHECKS,
)
def proxy_runs(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Small models trained on the corpus and on arms of it, with several seeds, and how they score questions and
    held-out text. Nobody materializes it but on request: it takes a processor for hours. Needs an interpreter with
    torch, named by COSMO_PROXY_PYTHON."""
    python = os.environ.get("COSMO_PROXY_PYTHON") or sys.executable
    manifest = stage.build_runs(workspace(context, store, recipe), python)
    trained = columns(manifest.summary["trainings"], "arm", "seed", "first_loss", "last_loss")
    arms = [{"arm": arm, "tokens": tokens} for arm, tokens in manifest.summary["arms"].items()]
    return materialized(manifest, recipe, RUNS_CHECKS, Show(tables={"arms": arms, "trainings": trained}))


@corpus_asset(
    stage.EVALUATION,
    deps=[proxy_runs],
    group="proof",
    kinds={"parquet"},
    stage_version=stage.STAGE_VERSION,
    checks=EVALUATION_CHECKS,
)
def proxy_evaluation(
    context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]
) -> Result:
    """Which arm is better than another, worse, or undecided: bits per byte of the right answers and of held-out text,
    accuracy; paired bootstrap over items and seeds."""
    manifest = stage.build_evaluation(workspace(context, store, recipe))
    summary = manifest.summary
    scores = [{"measure": name, **summary["scores"][name]} for name in summary["measures"]]
    tables = {"scores": scores, "decisions": columns(summary["verdicts"], *VERDICT)}
    first, lower = summary["measures"][0], store.create().open(stage.RUNS).manifest.summary["lower_is_better"]
    chart = differences_chart(summary, first, lower_is_better=lower[first])
    return materialized(manifest, recipe, EVALUATION_CHECKS, Show({"arms": chart}, tables))
