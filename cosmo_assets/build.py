"""Assembly: a recipe and resources become Dagster definitions. The one seam that the UI, the CLI and tests share.

Belongs here: the list of assets, their partitions, the external specs, jobs. Does not belong here: any asset, or
choosing resources (`cosmo_resources.deployments`).
"""

import re
from collections.abc import Mapping
from typing import Any

import dagster as dg

from cosmo_assets.decontamination.assets import benchmark_index, contaminated_seeds, decontaminated
from cosmo_assets.deduplication.assets import (
    deduplicated,
    duplicate_clusters,
    text_embeddings,
    text_signatures,
)
from cosmo_assets.diversity.assets import corpus_diversity
from cosmo_assets.generation.assets import generations
from cosmo_assets.lineage.assets import token_lineage
from cosmo_assets.mixture.assets import mixture
from cosmo_assets.operations.automation import following, jobs, schedules
from cosmo_assets.operations.checks import CORPUS_SPEC, standing_checks
from cosmo_assets.operations.sensors import failures
from cosmo_assets.partitions import buckets
from cosmo_assets.pilots.assets import template_pilots
from cosmo_assets.prompts.assets import prompt_table, seed_extracts
from cosmo_assets.proxy.assets import proxy_evaluation, proxy_runs
from cosmo_assets.quality.assets import generation_quality
from cosmo_assets.real.assets import real_documents, real_eligible
from cosmo_assets.real.texts import has_real
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.report.assets import corpus_export, corpus_report, push_to_hub
from cosmo_assets.reporting import BUCKETED, OWNERS, reading
from cosmo_assets.seeds.assets import course_outlines, seed_documents
from cosmo_assets.selection.assets import filtering_costs, selection
from cosmo_assets.sensors import GENERATE, dead_runs, needed_for_seeds, orphans, watch
from cosmo_assets.signals.assets import MODELS, REAL_SIGNALS, SEED_SIGNALS, TEXT_SIGNALS
from cosmo_assets.tokenization.assets import tokenized_shards
from cosmo_assets.topics.assets import (
    cluster_model,
    seed_clusters,
    seed_embeddings,
    seed_topics,
    topic_labels,
    topic_map,
    topic_seeds,
    topic_tree,
)
from cosmo_assets.withdrawal.assets import withdrawals

ASSETS: tuple[dg.AssetsDefinition, ...] = (
    seed_documents,
    seed_embeddings,
    cluster_model,
    seed_clusters,
    topic_labels,
    seed_topics,
    topic_map,
    seed_extracts,
    prompt_table,
    template_pilots,
    generations,
    generation_quality,
    benchmark_index,
    contaminated_seeds,
    decontaminated,
    text_signatures,
    duplicate_clusters,
    deduplicated,
    withdrawals,
    mixture,
    tokenized_shards,
    token_lineage,
    corpus_report,
    corpus_export,
    push_to_hub,
)
"""The pipeline of every corpus, in order."""

TOPIC_FIRST: tuple[dg.AssetsDefinition, ...] = (topic_tree, topic_seeds)
"""The assets that a recipe with topics.tree has as well; `TREE_READER` reads them."""

OUTLINED: tuple[dg.AssetsDefinition, ...] = (course_outlines,)
"""Those that a recipe with prompts.outlines has as well; `OUTLINES_READER` reads them."""

EMBEDDED: tuple[dg.AssetsDefinition, ...] = (text_embeddings,)
"""Those, by bucket, that a recipe which embeds texts has as well, before `EMBEDDINGS_READER`. It reads them where it
compares meanings."""

SELECTED: tuple[dg.AssetsDefinition, ...] = (selection,)
"""Those that a recipe with a selection has as well; `SELECTION_READER` reads them."""

SWEPT: tuple[dg.AssetsDefinition, ...] = (filtering_costs,)
"""Those that a recipe with a sweep has as well; `SWEEP_READER` shows them."""

MEASURED: tuple[dg.AssetsDefinition, ...] = (corpus_diversity,)
"""Those that a recipe with diversity has as well; `DIVERSITY_READER` waits for their checks."""

PROVEN: tuple[dg.AssetsDefinition, ...] = (proxy_runs, proxy_evaluation)
"""Those that a recipe with a proof has as well, behind `PROOF_READS`: on request only; `PROOF_READER` shows them, where
they are built."""

MIXED_IN: tuple[dg.AssetsDefinition, ...] = (real_documents, real_eligible)
"""Those that a recipe with real.sources has as well; `REAL_READERS` read them."""

SIGNALS_OF_SEEDS_BEFORE = "seed_embeddings"
"""The asset that those stand before which a recipe with signals has as well; nothing reads them."""

TREE_READER, OUTLINES_READER, EMBEDDINGS_READER = "seed_topics", "prompt_table", "duplicate_clusters"
SELECTION_READER = "mixture"
DIVERSITY_READER = "tokenized_shards"
EDUCATED = ("quality_classifier", "seed_educational", "text_educational", "real_educational")
"""What reads the embedding model where the recipe's `educational.features` are embeddings."""
PROOF_READS, PROOF_READER = "token_lineage", "corpus_report"
SWEEP_READER = SIGNALS_READER = "corpus_report"
ALSO_READ = {
    OUTLINES_READER: ("template_pilots",),
    SELECTION_READER: ("corpus_report",),
    DIVERSITY_READER: ("corpus_report",),
}
"""What else reads the same."""

REAL_READERS = {
    "real_documents": ("tokenized_shards", "token_lineage", "filtering_costs", "corpus_report", "corpus_export"),
    "real_eligible": ("duplicate_clusters", "mixture", "corpus_report"),
    "duplicate_clusters": ("mixture",),
}
"""What is read where a recipe has real.sources, by which assets."""

UP_TO_PROMPTS = (
    "seed_documents",
    "seed_embeddings",
    "cluster_model",
    "seed_clusters",
    "topic_labels",
    "seed_topics",
    "topic_map",
    "seed_extracts",
    "prompt_table",
    "benchmark_index",
    "contaminated_seeds",
)
PER_BUCKET = ("generations", "generation_quality", "decontaminated", "text_signatures")
TO_THE_END = ("withdrawals", "mixture", "tokenized_shards", "token_lineage", "corpus_report", "corpus_export")

ON_REQUEST = ("template_pilots", "push_to_hub")
"""Assets that are in no step: nobody builds them but by name. A recipe may have more (`on_request_of`)."""

STEPS: tuple[tuple[tuple[str, ...], bool], ...] = (
    (UP_TO_PROMPTS, False),
    (PER_BUCKET, True),
    (("duplicate_clusters",), False),
    (("deduplicated",), True),
    (TO_THE_END, False),
)
"""The pipeline as runs: the assets of each, and whether it is one run per bucket."""


def assets_of(recipe: Recipe) -> tuple[dg.AssetsDefinition, ...]:
    """The assets of a corpus, in order."""
    extras = extras_of(recipe)
    real = (*MIXED_IN, *signals_of(recipe, REAL_SIGNALS)) if has_real(recipe) else ()
    seeds = (*models_of(recipe), *signals_of(recipe, SEED_SIGNALS))
    also = {SIGNALS_OF_SEEDS_BEFORE: seeds, EMBEDDINGS_READER: (*signals_of(recipe), *real)}
    behind = {PROOF_READS: PROVEN} if recipe.proof is not None else {}
    return tuple(
        found
        for asset in ASSETS
        for name in [name_of(asset)]
        for found in (*extras.get(name, ()), *also.get(name, ()), asset, *behind.get(name, ()))
    )


def on_request_of(recipe: Recipe) -> tuple[str, ...]:
    """The assets of a corpus that nobody builds but by name."""
    return (*ON_REQUEST, *(name_of(asset) for asset in PROVEN if recipe.proof is not None))


def signals_of(
    recipe: Recipe, by_family: Mapping[str, dg.AssetsDefinition] = TEXT_SIGNALS
) -> tuple[dg.AssetsDefinition, ...]:
    """The assets of the families of signals that a recipe names, of one kind of texts."""
    return tuple(asset for family, asset in by_family.items() if family in recipe.signals)


def models_of(recipe: Recipe) -> tuple[dg.AssetsDefinition, ...]:
    """The models by which the families that a recipe names measure."""
    by_family = MODELS[has_real(recipe)]
    return tuple(asset for family in by_family if family in recipe.signals for asset in by_family[family])


def extras_of(recipe: Recipe) -> dict[str, tuple[dg.AssetsDefinition, ...]]:
    """The assets that only some recipes have, but for signals and real data, by the one that they stand before and that
    reads all of them (see `readers_of`)."""
    return {
        **({TREE_READER: TOPIC_FIRST} if recipe.topics.tree is not None else {}),
        **({OUTLINES_READER: OUTLINED} if recipe.prompts.outlines is not None else {}),
        **({EMBEDDINGS_READER: EMBEDDED} if recipe.embeds_texts else {}),
        **({SELECTION_READER: SELECTED} if recipe.selection else {}),
        **({DIVERSITY_READER: MEASURED} if recipe.diversity is not None else {}),
        **({SWEEP_READER: SWEPT} if recipe.sweep is not None else {}),
    }


def readers_of(recipe: Recipe, place: str) -> tuple[str, ...]:
    """What reads the assets that `extras_of` has by `place`."""
    if place != EMBEDDINGS_READER:
        return (place, *ALSO_READ.get(place, ()))
    readers = {
        place: recipe.deduplication.compares_meanings,
        "selection": recipe.selection is not None and recipe.selection.reads_embeddings,
        "filtering_costs": recipe.sweep is not None,
        "corpus_diversity": recipe.diversity is not None,
    }
    return tuple(name for name, reads in readers.items() if reads)


def steps_of(recipe: Recipe) -> tuple[tuple[tuple[str, ...], bool], ...]:
    """A corpus as runs, in order (see `STEPS`)."""
    extra = {name_of(asset) for found in extras_of(recipe).values() for asset in found}
    by_bucket = tuple(name_of(asset) for asset in EMBEDDED if name_of(asset) in extra)
    by_bucket += tuple(map(name_of, signals_of(recipe)))
    real = {name_of(asset) for asset in (*MIXED_IN, *signals_of(recipe, REAL_SIGNALS)) if has_real(recipe)}
    at_the_end = to_the_end_of(recipe)
    seeds = map(name_of, (*models_of(recipe), *signals_of(recipe, SEED_SIGNALS)))
    wanted = {*UP_TO_PROMPTS, *seeds, *extra, *real} - {*by_bucket, *at_the_end}
    first = tuple(name for asset in assets_of(recipe) if (name := name_of(asset)) in wanted)
    return ((first, False), ((*PER_BUCKET, *by_bucket), True), *STEPS[2:-1], (at_the_end, False))


def to_the_end_of(recipe: Recipe) -> tuple[str, ...]:
    """The last run: from the mixture on, with what this recipe has as well."""
    extras = extras_of(recipe)
    return tuple(found for name in TO_THE_END for found in (*map(name_of, extras.get(name, ())), name))


def name_of(asset: dg.AssetsDefinition) -> str:
    return asset.key.to_user_string()


def build_defs(recipe: Recipe, resources: Mapping[str, Any]) -> dg.Definitions:
    """The definitions of one corpus."""
    partitions = buckets(recipe)
    external = external_specs(recipe)
    inputs = {key: [spec.key for spec in specs] for key, specs in external.items()}
    for place, found in extras_of(recipe).items():
        for reader in readers_of(recipe, place):
            inputs.setdefault(reader, []).extend(extra.key for extra in found)
    if has_real(recipe):
        for asset in (*MIXED_IN, duplicate_clusters):
            for reader in REAL_READERS[name_of(asset)]:
                inputs.setdefault(reader, []).append(asset.key)
        if recipe.selection is not None and recipe.selection.reads_texts:
            inputs.setdefault(name_of(selection), []).append(real_documents.key)
    read_by = ((selection, recipe.selection), (filtering_costs, recipe.sweep), (proxy_runs, recipe.proof))
    for of_signals, section in read_by:
        if section is None:
            continue
        families = {"quality": generation_quality, **TEXT_SIGNALS}
        read = [families[family] for family in section.families]
        if has_real(recipe):
            read += [REAL_SIGNALS[family] for family in section.families if family in REAL_SIGNALS]
            read += [real_eligible] if of_signals is not proxy_runs else []
        inputs.setdefault(name_of(of_signals), []).extend(asset.key for asset in read)
    inputs.setdefault(SIGNALS_READER, []).extend(asset.key for asset in signals_of(recipe))
    if recipe.age is not None and has_real(recipe):
        inputs[SIGNALS_READER].append(REAL_SIGNALS["age"].key)
    if recipe.proof is not None:
        inputs.setdefault(PROOF_READER, []).append(proxy_evaluation.key)
    if recipe.mixture.factors.quality:
        inputs.setdefault(name_of(mixture), []).append(generation_quality.key)

    def placed(spec: dg.AssetSpec) -> dg.AssetSpec:
        spec = following(spec)
        return spec.replace_attributes(partitions_def=partitions) if BUCKETED in spec.tags else spec

    of_corpus = assets_of(recipe)
    assets = [reading(asset, inputs.get(name_of(asset), ())).map_asset_specs(placed) for asset in of_corpus]
    (up_to_prompts, _), (per_bucket, _), *_ = steps_of(recipe)
    seeding = [asset for asset in assets if name_of(asset) in up_to_prompts]
    new_seeds, new_seed_files = watch(seeding)
    site = resources["site"]
    specs = {spec.key: spec for found in external.values() for spec in found}
    return dg.Definitions(
        assets=[*assets, *specs.values(), CORPUS_SPEC],
        resources={**resources, "recipe": recipe},
        asset_checks=[standing_checks],
        jobs=[
            *jobs(
                [asset for asset in assets if name_of(asset) not in on_request_of(recipe)],
                partitions,
                per_bucket=per_bucket,
                to_the_end=to_the_end_of(recipe),
            ),
            dg.define_asset_job(
                GENERATE,
                selection=dg.AssetSelection.assets("generations"),
                partitions_def=partitions,
                description="Generate one bucket, going on with whatever is there of it, its Slurm jobs included.",
            ),
            new_seeds,
        ],
        schedules=schedules(site.nightly, needed_for_seeds(seeding)),
        sensors=[new_seed_files, dead_runs, failures, orphans(recipe, in_slurm=site.in_slurm)],
        executor=dg.in_process_executor,
    )


def external_specs(recipe: Recipe) -> dict[str, list[dg.AssetSpec]]:
    """What comes from outside, by the asset that reads it: sources, benchmarks, models; with licence and homepage."""
    model = recipe.generation.model
    generator = _external("models", model.name, "The generator", model.licence, model.homepage, revision=model.revision)
    embedder = _external("models", recipe.topics.embedding, "The sentence embedding model", "Apache-2.0", None)
    tokenizer = _external("models", "tokenizer", f"The tokenizer: {recipe.tokenization.tokenizer}", model.licence, None)
    benchmarks = [
        _external(
            "benchmarks",
            found.name,
            "Benchmark",
            found.licence,
            found.homepage,
            path=found.path,
            parts=", ".join(found.parts),
        )
        for found in recipe.decontamination.benchmarks
    ]
    return {
        "seed_documents": [
            _external(
                "sources",
                source.name,
                f"Source of {source.kind} seeds",
                source.licence,
                source.homepage,
                path=source.path,
            )
            for source in recipe.sources
        ],
        "real_documents": [
            _external("sources", source.name, "Source of real text", source.licence, source.homepage, path=source.path)
            for source in recipe.real.sources
        ],
        "real_eligible": [tokenizer] if has_real(recipe) else [],
        "seed_embeddings": [embedder],
        "topic_labels": [generator, embedder],
        "course_outlines": [generator],
        "topic_tree": [generator],
        "educational_labels": [generator],
        **({asset: [embedder] for asset in EDUCATED} if recipe.educational.features == "embeddings" else {}),
        "seed_extracts": [tokenizer],
        "template_pilots": [generator],
        "generations": [generator],
        "benchmark_index": benchmarks,
        "tokenized_shards": [tokenizer],
    }


def _external(
    group: str, name: str, description: str, licence: str, homepage: str | None, **facts: str
) -> dg.AssetSpec:
    metadata: dict[str, Any] = {"licence": licence, **facts}
    if homepage:
        metadata["homepage"] = dg.MetadataValue.url(homepage)
    key = dg.AssetKey([group, re.sub(r"[^A-Za-z0-9_-]", "_", name)])
    return dg.AssetSpec(
        key, description=description, group_name=group, owners=OWNERS, metadata=metadata, kinds={group[:-1]}
    )
