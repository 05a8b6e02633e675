"""The diversity of the corpus: a sample of the documents that the mixture has chosen, measured.

Belongs here: the sample, its vectors, which version is the accepted one. Does not belong here: the measures
(`measures`), intervals and the comparison (`gate`).

A version is accepted where its check holds, or where the recipe names it (`diversity.accepted`). What it measured is
kept in `run` of the version that is built next (as `cosmo_assets.drift` does), so a check says the same whenever it is
computed; a version that is not accepted hands on what it was compared with itself.
"""

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from cosmo_assets.charts.bars import ranges
from cosmo_assets.diversity.gate import Mean, Measured, Tally, Verdict, decide, measured
from cosmo_assets.diversity.probing import MEASURE, Probe
from cosmo_assets.diversity.vectors import embedded, rows_of
from cosmo_assets.drift import KEY
from cosmo_assets.ids import numbers_of, uniforms
from cosmo_assets.real.texts import REAL, mixture_buckets
from cosmo_assets.recipe.diversity import Diversity
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.corpus import CORPUS_DIVERSITY
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import Embedder, matrix
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.storage.writer import DatasetWriter

ASSET = "corpus_diversity"
STAGE_VERSION = "2"


def build(workspace: Workspace, embedder: Embedder, python: str = sys.executable) -> Manifest:
    """Build `corpus_diversity`. Cost: the ids of all documents, sorted; texts of the buckets, read once; of the sample
    embedding (none where `text_embeddings` are there) and measuring. Memory: ids of all documents, texts of the sample
    and of one part file. With `diversity.coefficient` also `Probe.measure`, in the interpreter `python`.

    Raises:
        CosmoError: the sample does not fill two blocks; the interpreter has no torch, or the probe is none.
    """
    store, section = workspace.store, section_of(workspace.recipe)
    mixture, prompts = store.open("mixture"), store.open("prompt_table")
    probe = Probe.of(workspace.recipe, section.coefficient) if section.coefficient else None
    buckets = [bucket for bucket in mixture_buckets(mixture) if bucket != REAL]
    texts = {bucket: store.open("generations", bucket) for bucket in buckets}
    there = workspace.recipe.embeds_texts
    vectors = {bucket: store.open("text_embeddings", bucket) for bucket in buckets if there}

    def produce(writer: DatasetWriter) -> None:
        documents, sample = _sample(writer, mixture, prompts, texts, section.sample)
        _measure(writer, workspace, embedder, probe, python, documents, sample, prompts, texts, vectors)
        if (accepted := last_accepted(store, workspace.recipe)) is not None:
            writer.run[KEY] = accepted

    return workspace.build(
        ASSET,
        produce,
        stage_version=STAGE_VERSION,
        inputs=tuple(dataset.ref() for dataset in (mixture, prompts, *texts.values(), *vectors.values())),
        params={
            "sample": section.sample,
            "block": section.block,
            "model": embedder.name,
            "revision": embedder.revision,
            **({"probe": probe.digest, "tokens": probe.tokens} if probe else {}),
        },
    )


def section_of(recipe: Recipe) -> Diversity:
    """The recipe's section; its defaults for a version that was built before the recipe dropped it."""
    return recipe.diversity or Diversity()


def verdicts(manifest: Manifest, recipe: Recipe) -> list[Verdict]:
    """How a version compares with the accepted one before it; nothing where there is none."""
    before = manifest.run.get(KEY)
    if before is None:
        return []
    return decide(_measured(manifest.summary["measured"]), _measured(before["measured"]), section_of(recipe).rate)


def passes(manifest: Manifest, recipe: Recipe) -> bool:
    """Whether a version is accepted: it is no worse than the one before, or the recipe names it."""
    named = manifest.version in section_of(recipe).accepted
    return named or not any(verdict.worse for verdict in verdicts(manifest, recipe))


def _measured(plain: Any) -> Measured:
    return Measured.of_plain(plain)


def shown(manifest: Manifest, recipe: Recipe, *, compared: bool = True) -> tuple[list[dict[str, Any]], str]:
    """A version as the rows of a table, a measure each, and as a chart relative to the accepted version; or, where it
    is not `compared`, to itself."""
    values, intervals = manifest.summary["measures"], manifest.summary["intervals"]
    found = {verdict.measure: verdict for verdict in (verdicts(manifest, recipe) if compared else ())}
    table, relative = [], []
    for name in (*manifest.summary["measured"]["means"], *manifest.summary["measured"]["tallies"]):
        verdict, (low, high) = found.get(name), intervals[name]
        before = verdict.before if verdict else None
        table.append({
            "measure": name, "value": values[name], "low": low, "high": high, "accepted": before,
            "chance": verdict.chance if verdict else None, "worse": bool(verdict and verdict.worse),
        })  # fmt: skip
        if (unit := before or values[name]) > 0:
            relative.append((name, values[name] / unit, max(low, 0.0) / unit, high / unit, 1.0))
    names = ("this version", "95 % interval", "accepted version")
    return table, ranges("Diversity, relative to the accepted version", relative, names)


def last_accepted(store: CorpusStore, recipe: Recipe) -> Any:
    """What the last accepted version measured, and which it was; None where there is none."""
    earlier = store.current_manifest(ASSET)
    if earlier is None:
        return None
    if passes(earlier, recipe):
        return {"of": f"version {earlier.version}", "measured": earlier.summary["measured"]}
    return earlier.run.get(KEY)


def _sample(
    writer: DatasetWriter, mixture: Dataset, prompts: Dataset, texts: dict[str, Dataset], size: int
) -> tuple[int, pl.DataFrame]:
    """The number of generated documents, and the sample in its random order, by their ids alone: doc_id, cluster_id.
    Of each seed one document, for those of one seed are not independent."""
    found = []
    for bucket, generations in texts.items():
        chosen = _frame(mixture, ["doc_id"], bucket)
        seeds = _frame(prompts, ["prompt_id", "seed_id", "cluster_id"], bucket)
        prompt_of = _frame(generations, ["doc_id", "prompt_id"])
        found.append(chosen.join(prompt_of, on="doc_id", how="left").join(seeds, on="prompt_id", how="left"))
    documents = pl.concat(found)
    draw = pl.Series("draw", uniforms(numbers_of(documents["doc_id"].to_arrow()), "diversity"))
    one_each = documents.with_columns(draw).sort("draw", "doc_id").unique("seed_id", keep="first", maintain_order=True)
    sample = one_each.head(size)
    dropped = {
        "real": mixture.manifest.rows - documents.height,
        "of_the_same_seed": documents.height - one_each.height,
        "not_in_the_sample": one_each.height - sample.height,
    }
    writer.flow(
        "documents", mixture.manifest.rows, sample.height, dropped={name: n for name, n in dropped.items() if n}
    )
    return documents.height, sample.select("doc_id", "cluster_id")


def _measure(
    writer: DatasetWriter,
    workspace: Workspace,
    embedder: Embedder,
    probe: Probe | None,
    python: str,
    documents: int,
    sample: pl.DataFrame,
    prompts: Dataset,
    texts: dict[str, Dataset],
    vectors: dict[str, Dataset],
) -> None:
    order = sample.select("doc_id")
    said = rows_of(texts.values(), "text", order)["text"].to_arrow()
    if vectors:
        unit = matrix(rows_of(vectors.values(), "embedding", order).to_arrow())
    else:
        unit = embedded(workspace, embedder, said.to_pylist())
    clusters = pl.concat([_frame(prompts, ["cluster_id"], bucket) for bucket in texts])["cluster_id"].unique().sort()
    labels = clusters.search_sorted(sample["cluster_id"]).to_numpy().astype(np.int64)
    block = section_of(workspace.recipe).block
    model = f"{embedder.name} {embedder.revision}"
    found = measured(said, unit, labels, clusters=len(clusters), model=model, block=block)
    if probe:
        batches = len(said) // block
        mean = probe.measure(said.to_pylist(), block, python, lambda done: workspace.progress(done, batches, "batches"))
        found = replace(found, means={**found.means, MEASURE: mean})
    everything: dict[str, Mean | Tally] = {**found.means, **found.tallies}
    rows = [
        {
            "measure": name,
            "value": one.value,
            "low": one.interval[0],
            "high": one.interval[1],
            "n": documents,
            "sample": len(said),
        }
        for name, one in everything.items()
    ]
    writer.write(pa.Table.from_pylist(rows, schema=CORPUS_DIVERSITY))
    writer.summary = {
        "measured": found.plain(),
        "measures": {row["measure"]: row["value"] for row in rows},
        "intervals": {row["measure"]: [row["low"], row["high"]] for row in rows},
        "sample": len(said),
    }


def _frame(dataset: Dataset, columns: list[str], bucket: str | None = None) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(dataset.table(columns, bucket=bucket)))
