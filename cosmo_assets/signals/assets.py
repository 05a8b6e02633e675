"""The assets of signals: annotations of every text, which remove none, and the language model that some depend on.

Belongs here: their definitions and what they show. Does not belong here: what measures (`families`).
"""

import dagster as dg
from pydantic import Field

from cosmo_assets.charts.bars import bars
from cosmo_assets.decontamination.assets import decontaminated
from cosmo_assets.education.assets import educational_labels, quality_classifier
from cosmo_assets.generation.assets import generations
from cosmo_assets.prompts.assets import prompt_table
from cosmo_assets.real.assets import real_documents, real_eligible
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_assets.seeds.assets import seed_documents
from cosmo_assets.signals import perplexity, stage
from cosmo_assets.signals.catalogue import OF_GENERATED
from cosmo_assets.signals.checks import CHECKS, MODEL_CHECKS
from cosmo_assets.signals.families import FAMILIES, Family
from cosmo_assets.signals.spread import chart_of, rows_of
from cosmo_resources.resources import EmbedderResource, StoreResource
from cosmo_resources.storage.manifest import Manifest


class LanguageModelConfig(dg.Config):
    """What can be asked of one materialization of the language model."""

    refit: bool = Field(default=False, description="Fit anew on the current reference; every perplexity changes")


def _language_model(reference: dg.AssetsDefinition) -> dg.AssetsDefinition:
    @corpus_asset(
        "language_model",
        deps=[reference],
        group="signals",
        kinds={"arpa", "parquet"},
        stage_version=perplexity.FIT_VERSION,
        checks=MODEL_CHECKS,
    )
    def language_model(
        context: dg.AssetExecutionContext,
        config: LanguageModelConfig,
        store: StoreResource,
        recipe: dg.ResourceParam[Recipe],
    ) -> Result:
        """Two n-gram models of the reference text, each of one half of it, for texts of the other half. Fitted once,
        then pinned: they change when the recipe's `perplexity` does, or when somebody materializes them with
        `refit`."""
        manifest = perplexity.fit(workspace(context, store, recipe), refit=config.refit)
        rows = store.create().open("language_model").table().to_pylist()
        sizes = [(f"half {row['half']}, {row['order']} words", row["ngrams"]) for row in rows]
        chart = bars("N-grams of the models", sizes, unit="n-grams")
        halves = [{"half": number, **half} for number, half in enumerate(manifest.summary["halves"])]
        return materialized(manifest, recipe, MODEL_CHECKS, Show({"sizes": chart}, {"halves": halves}))

    return language_model


def _of_texts(name: str, family: Family) -> dg.AssetsDefinition:
    @corpus_asset(
        f"text_{name}",
        about=f"{family.what} Of every text that decontamination kept. Annotations: what is kept for them, the "
        "recipe's selection says.",
        deps=[decontaminated, generations, *([prompt_table] if name in OF_GENERATED else []), *family.models],
        group="signals",
        kinds={"parquet"},
        stage_version=family.version,
        checks=CHECKS,
        bucketed=True,
    )
    def signals(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        recipe: dg.ResourceParam[Recipe],
        embedder: EmbedderResource,
    ) -> Result:
        found = stage.build_texts(workspace(context, store, recipe), name, context.partition_key, embedder.create)
        return _shown(found, recipe)

    return signals


def _of_real(name: str, family: Family) -> dg.AssetsDefinition:
    @corpus_asset(
        f"real_{name}",
        about=f"{family.what} Of the real texts that may stand in the corpus.",
        deps=[real_documents, real_eligible, *family.models],
        group="signals",
        kinds={"parquet"},
        stage_version=family.version,
        checks=CHECKS,
    )
    def signals(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        recipe: dg.ResourceParam[Recipe],
        embedder: EmbedderResource,
    ) -> Result:
        found = stage.build_real(workspace(context, store, recipe), name, embedder.create)
        return _shown(found, recipe)

    return signals


def _of_seeds(name: str, family: Family) -> dg.AssetsDefinition:
    @corpus_asset(
        f"seed_{name}",
        about=f"{family.what} Of every seed, beside which those of the generated texts can be read.",
        deps=[seed_documents, *family.models],
        group="signals",
        kinds={"parquet"},
        stage_version=family.version,
        checks=CHECKS,
    )
    def signals(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        recipe: dg.ResourceParam[Recipe],
        embedder: EmbedderResource,
    ) -> Result:
        found = stage.build_seeds(workspace(context, store, recipe), name, embedder.create)
        return _shown(found, recipe)

    return signals


def _shown(manifest: Manifest, recipe: Recipe) -> Result:
    """Quantiles and a small histogram of every signal."""
    spread = manifest.summary["spread"]
    return materialized(manifest, recipe, CHECKS, Show({"histograms": chart_of(spread)}, {"signals": rows_of(spread)}))


TEXT_SIGNALS = {name: _of_texts(name, family) for name, family in FAMILIES.items()}
"""By family, of generated texts, by bucket."""
REAL_SIGNALS = {name: _of_real(name, family) for name, family in FAMILIES.items() if name not in OF_GENERATED}
"""By family, of real texts."""
SEED_SIGNALS = {name: _of_seeds(name, family) for name, family in FAMILIES.items() if name not in OF_GENERATED}
"""By family, of seeds."""
MODELS = {
    real: {
        "perplexity": (_language_model(real_documents if real else seed_documents),),
        "educational": (educational_labels(real), quality_classifier),
    }
    for real in (False, True)
}
"""By whether real text is mixed in, and by family: the assets that its figures are by, which a recipe with it has as
well. What they read is named where they are defined, for in one run that alone makes them wait for it."""
