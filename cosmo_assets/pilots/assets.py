"""The pilot asset.

Belongs here: its definition, its configuration and what it shows. Does not belong here: the work (`pilot`).
"""

from typing import Any

import dagster as dg
from pydantic import Field

from cosmo_assets.pilots import pilot
from cosmo_assets.pilots.checks import CHECKS
from cosmo_assets.prompts.assets import seed_extracts
from cosmo_assets.prompts.mixes import used_templates
from cosmo_assets.prompts.sampling import find_template
from cosmo_assets.recipe.generation import Model
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_assets.seeds.assets import seed_documents
from cosmo_assets.topics.assets import seed_topics
from cosmo_resources.inference.client import CompletionClient
from cosmo_resources.resources import EngineResource, StoreResource
from cosmo_resources.storage.manifest import Manifest

QUOTED = 2
QUOTE_CHARS = 600


class PilotConfig(dg.Config):
    """What to try."""

    templates: list[str] = Field(
        default=[], description="Ids of templates, or paths of .md files; empty tries every template of the recipe"
    )
    count: int = Field(default=3, ge=1, le=10_000, description="Prompts of each template")
    model: str = Field(default="", description="Another model than the recipe's, by the name that its server knows")
    revision: str = Field(default="unknown", description="Its revision")
    endpoint: str = Field(default="", description="Where it is served: a base URL that ends in /v1")


@corpus_asset(
    pilot.ASSET,
    deps=[seed_documents, seed_topics, seed_extracts],
    group="prompts",
    kinds={"llm", "parquet"},
    stage_version=pilot.STAGE_VERSION,
    checks=CHECKS,
    pool="llm",
)
def template_pilots(
    context: dg.AssetExecutionContext,
    config: PilotConfig,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    engine: EngineResource,
) -> Result:
    """Answers to a few prompts of a template, measured: how they begin, how long they are, how varied; beside earlier
    versions of the template and other models. Nobody materializes it but on request, and no corpus depends on it."""
    model = recipe.generation.model
    if config.model:
        model = Model(name=config.model, revision=config.revision, licence="unknown")
    names = config.templates or sorted(used_templates(recipe))
    trials = [pilot.Trial(find_template(recipe, name), model, config.count) for name in names]

    def client() -> CompletionClient:
        return CompletionClient([config.endpoint], model.name) if config.endpoint else engine.client(model.name)

    manifest = pilot.build(workspace(context, store, recipe), trials, client)
    return materialized(manifest, recipe, CHECKS, _show(manifest, str(store.create().open(pilot.ASSET).folder)))


def _show(manifest: Manifest, folder: str) -> Show:
    openers = {
        f"openers_{number}": [(f"{share:.0%} of {variant['label']}", words) for words, share in found[:QUOTED]]
        for number, variant in enumerate(manifest.summary["variants"])
        if (found := next(part for part in variant["statistics"]["openers"] if part["words"] == 5)["most_common"])
    }
    return Show(
        tables={"variants": [row_of(variant) for variant in manifest.summary["variants"]]},
        quotes=openers,
        figures={"page": f"{folder}/{pilot.PAGE}"},
    )


def row_of(variant: dict[str, Any]) -> dict[str, Any]:
    """A variant in one row, for a terminal or a table in the UI."""
    found = variant["statistics"]
    opener = next(part for part in found["openers"] if part["words"] == 5)["most_common"][:1]
    finish = dict(map(tuple, found["finish_reasons"]))
    return {
        "variant": variant["label"],
        "answers": found["answers"],
        "words": round(found["words"]["mean"]) if found["words"] else None,
        "cut off": _share(finish.get("length", 0.0)),
        "first five words": f"{opener[0][0]} ({_share(opener[0][1])})" if opener else "",
        "distinct-2": _rounded(found["distinct"][1]),
        "self-BLEU": _rounded(found["self_bleu"]),
        "compression": _rounded(found["compression"]),
        "copies": _share(found["copied_share"]),
        "refusals": _share(found["refusals"]),
    }


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
