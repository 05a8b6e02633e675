"""The assets of educational value: labels by the model, and the classifier that learns them.

Belongs here: their definitions and what they show. Does not belong here: asking (`labels`), fitting (`classifier`), or
the scores of all texts (`cosmo_assets.signals`).
"""

import dagster as dg
from pydantic import Field

from cosmo_assets.charts.bars import stacked
from cosmo_assets.charts.curves import histogram
from cosmo_assets.education import classifier, labels
from cosmo_assets.education.checks import CLASSIFIER_CHECKS, LABEL_CHECKS
from cosmo_assets.education.questions import BEST
from cosmo_assets.real.assets import real_documents
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_assets.seeds.assets import seed_documents
from cosmo_resources.resources import EmbedderResource, EngineResource, StoreResource

SHOWN = 2
"""Texts of each label in the metadata."""
SHOWN_CHARS = 300


class LabelsConfig(dg.Config):
    """What can be asked of one materialization of the labels."""

    refit: bool = Field(default=False, description="Draw anew among the current texts; every score changes")


def educational_labels(real: bool) -> dg.AssetsDefinition:
    """The asset of that name, of a corpus with real text or without."""

    @corpus_asset(
        "educational_labels",
        deps=[seed_documents, real_documents] if real else [seed_documents],
        group="signals",
        kinds={"llm", "parquet"},
        stage_version=labels.STAGE_VERSION,
        checks=LABEL_CHECKS,
        pool="llm",
    )
    def asset(
        context: dg.AssetExecutionContext,
        config: LabelsConfig,
        store: StoreResource,
        recipe: dg.ResourceParam[Recipe],
        engine: EngineResource,
    ) -> Result:
        """What the model says that a sample of the seeds and real texts teaches, from 0 to 5. Asked once, then pinned:
        another sample is drawn when the recipe's `educational` changes, or when somebody materializes it with
        `refit`."""
        manifest = labels.build(
            workspace(context, store, recipe),
            lambda: engine.client(recipe.generation.model.name),
            refit=config.refit,
        )
        rows = store.create().open("educational_labels").table(["score", "reason", "extract"]).to_pylist()
        examples = [
            (f"{score}: {row['reason']}", row["extract"][:SHOWN_CHARS])
            for score in range(BEST + 1)
            for row in [row for row in rows if row["score"] == score][:SHOWN]
        ]
        chart = histogram("Texts by label", [(float(s), n) for s, n in enumerate(manifest.summary["scores"])])
        figures = {name: int(manifest.run.get(name, 0)) for name in ("reused_rows", "requests")}
        show = Show({"labels": chart}, figures=figures, quotes={"examples": examples})
        return materialized(manifest, recipe, LABEL_CHECKS, show)

    return asset


@corpus_asset(
    "quality_classifier",
    deps=["educational_labels"],
    group="signals",
    kinds={"scikitlearn", "parquet"},
    stage_version=classifier.FIT_VERSION,
    checks=CLASSIFIER_CHECKS,
)
def quality_classifier(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    recipe: dg.ResourceParam[Recipe],
    embedder: EmbedderResource,
) -> Result:
    """What the labels say, learned from words: the weights, a card, and the score of each labelled text by a model that
    has not seen it."""
    manifest = classifier.build(workspace(context, store, recipe), embedder.create)
    summary = manifest.summary
    rows = [
        (f"label {label}", {f"score {score}": count for score, count in enumerate(counts)})
        for label, counts in enumerate(summary["confusion"])
    ]
    chart = stacked("Labels, and the held-out scores of their texts", rows, unit="texts")
    result = materialized(manifest, recipe, CLASSIFIER_CHECKS, Show({"confusion": chart}))
    page = (store.create().open("quality_classifier").folder / classifier.CARD).read_text(encoding="utf-8")
    return result._replace(metadata={**(result.metadata or {}), "card": dg.MetadataValue.md(page)})
