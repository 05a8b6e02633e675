"""What filtering by each signal of the recipe's sweep would cost: the stage of `filtering_costs`.

Belongs here: the documents with their scores, domains, mentions and vectors; the rows. Does not belong here: keeping
and measuring (`sweep`), or filtering: nothing is left out of anything for what stands here.

A sweep is over the documents that deduplication has left and that have the signal. Others, as real ones and the signals
of generation quality, would stay whatever is kept (`thinning`): they are neither counted nor measured.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cosmo_assets.charts.curves import multiples
from cosmo_assets.diversity.measures import vendi
from cosmo_assets.diversity.vectors import embedded, rows_of
from cosmo_assets.ids import numbers_of, uniforms
from cosmo_assets.real.texts import DOCUMENTS, REAL, has_real
from cosmo_assets.recipe.sweep import Sweep, SweptSignal
from cosmo_assets.schemas.columns import EMBEDDING_DIMENSION
from cosmo_assets.schemas.signals import FILTERING_COSTS
from cosmo_assets.selection.disparity import GROUPS
from cosmo_assets.selection.keeping import Kept
from cosmo_assets.selection.stage import Read
from cosmo_assets.selection.sweep import RULES, Left, mentions_of, sweep
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import Embedder, matrix
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

ASSET = "filtering_costs"
STAGE_VERSION = "1"
DIGITS = 9
"""To which values are rounded: the last digits of eigenvalues and logarithms differ between machines."""

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """A signal, a rule and a fraction: what is left, and the places of the documents whose Vendi score is taken."""

    swept: SweptSignal
    rule: str
    left: Left
    sample: Places


def build(workspace: Workspace, embedder: Embedder) -> Manifest:
    """Build `filtering_costs`. Cost: the texts of all documents, read twice; a few sorts of them for each signal, rule
    and fraction; embedding (none where `text_embeddings` are there) and measuring the samples, together about `sample`
    divided by the smallest fraction for each rule and signal, at most. Memory: ids, scores and domains of all
    documents, texts of the samples and of one part file.

    Raises:
        CosmoError: the recipe has no sweep, or not every bucket got that far yet.
    """
    store, recipe = workspace.store, workspace.recipe
    section = recipe.sweep
    if section is None:
        raise CosmoError(f"recipe {recipe.name}: there is no sweep", remedy="name signals in `sweep`")
    read = Read.open(store, recipe, section.families, embeddings=recipe.embeds_texts)
    prompts = store.open("prompt_table")
    texts = {**read.generations, **({REAL: store.open(DOCUMENTS)} if has_real(recipe) else {})}
    inputs = (prompts.ref(), *read.inputs)
    return workspace.build(
        ASSET,
        lambda writer: _produce(writer, workspace, embedder, section, read, prompts, texts),
        stage_version=STAGE_VERSION,
        inputs=(*inputs, texts[REAL].ref()) if REAL in texts else inputs,
        params={**section.model_dump(), "model": embedder.name, "revision": embedder.revision},
    )


MEASURES = (("tokens", "tokens"), ("divergence", "divergence"), ("vendi", "Vendi score"), ("retention", "retention"))
"""What the chart has, and under which name."""


def chart(trials: Sequence[Mapping[str, Any]]) -> str:
    """A row of small charts for each signal of a manifest's `trials`: its measures by fraction, a line for each rule;
    of the retentions the least."""
    swept = dict.fromkeys((trial["signal"], trial["prefer"]) for trial in trials)
    rows = []
    for signal, prefer in swept:
        own = sorted(
            (trial for trial in trials if (trial["signal"], trial["prefer"]) == (signal, prefer)),
            key=lambda trial: float(trial["fraction"]),
        )
        panels: list[dict[str, list[tuple[float, float]]]] = [
            {
                rule: [
                    (trial["fraction"], trial[name])
                    for trial in own
                    if trial["rule"] == rule and trial[name] is not None
                ]
                for rule in RULES
            }
            for name, _ in MEASURES
        ]
        rows.append((f"{signal}, {prefer} preferred", panels))
    return multiples("What is left, by the fraction that is kept", [name for _, name in MEASURES], rows, unit="%")


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    embedder: Embedder,
    section: Sweep,
    read: Read,
    prompts: Dataset,
    texts: dict[str, Dataset],
) -> None:
    documents = _documents(section, read, prompts, texts)
    trials = list(_trials(section, documents))
    wanted = np.unique(np.concatenate([np.zeros(0, np.int64), *(trial.sample for trial in trials)]))
    unit = _vectors(workspace, embedder, documents[wanted].select("doc_id"), texts, read.embeddings)
    found = []
    for trial in trials:
        own = unit[np.searchsorted(wanted, trial.sample)].reshape(-1, section.block, unit.shape[1])
        score = float(np.mean([vendi(part) for part in own])) if len(own) else None
        found.append((trial, score))
    writer.write(
        pl.DataFrame(
            [row for trial, score in found for row in _rows(trial, score)], schema=FILTERING_COSTS.names, orient="row"
        )
        .to_arrow()
        .cast(FILTERING_COSTS)
    )
    writer.flow("documents", documents.height, documents.height)
    writer.summary = {
        "trials": [_shown(trial, score) for trial, score in found],
        "scored": {one.signal: documents.height - documents[one.signal].null_count() for one in section.signals},
        "documents": documents.height,
    }


def _documents(section: Sweep, read: Read, prompts: Dataset, texts: dict[str, Dataset]) -> pl.DataFrame:
    """All documents that are left: doc_id, tokens, each signal, domain, and of each group whether it is mentioned."""
    found = []
    for bucket in read.buckets:
        rows = read.documents(bucket, [one.signal for one in section.signals])
        rows = rows.with_columns(pl.col(one.signal).cast(pl.Float64).fill_nan(None) for one in section.signals)
        rows = rows.join(_domains(section, read, prompts, bucket), on="doc_id", how="left", maintain_order="left")
        mentioned = [
            pl.DataFrame({"doc_id": part["doc_id"], **mentions_of(part["text"].to_arrow(), GROUPS)})
            for table in texts[bucket].tables(["doc_id", "text"])
            for part in [pl.DataFrame(pl.from_arrow(table)).join(rows, on="doc_id", how="semi")]
        ]
        found.append(rows.join(pl.concat(mentioned), on="doc_id", how="left", maintain_order="left"))
    return pl.concat(found)


def _domains(section: Sweep, read: Read, prompts: Dataset, bucket: str) -> pl.DataFrame:
    """doc_id and domain."""
    if bucket == REAL and read.real is not None:
        return pl.DataFrame(pl.from_arrow(read.real.table(["doc_id", "source"]))).rename({"source": "domain"})
    made_of = pl.DataFrame(pl.from_arrow(read.generations[bucket].table(["doc_id", "prompt_id"])))
    about = pl.DataFrame(pl.from_arrow(prompts.table(["prompt_id", "topic", "source"], bucket=bucket)))
    domain = pl.coalesce("topic", "source") if section.domains == "topic" else pl.col("source")
    return made_of.join(about.select("prompt_id", domain.alias("domain")), on="prompt_id").select("doc_id", "domain")


def _trials(section: Sweep, documents: pl.DataFrame) -> Iterator[Trial]:
    numbers = numbers_of(documents["doc_id"].to_arrow())
    order = np.lexsort((numbers, uniforms(numbers, "sweep")))
    for one in section.signals:
        scored = documents[one.signal].is_not_null()
        rows = documents.filter(scored)
        places = np.flatnonzero(scored.to_numpy())
        if not rows.height:
            continue
        for rule in RULES:
            for left in sweep(
                rows[one.signal].to_numpy() * (1 if one.prefer == "high" else -1),
                rows["doc_id"].to_arrow(),
                rows["tokens"].to_numpy(),
                rows["domain"].to_list(),
                {group: rows[group].to_numpy() for group in GROUPS},
                rule=rule,
                fractions=section.fractions,
            ):
                yield Trial(one, rule, left, _sample(section, order, places[left.kept], documents.height))


def _sample(section: Sweep, order: Places, left: Places, total: int) -> Places:
    """Of what is left the first documents of a random order, as many as fill blocks. The order is the same for all
    trials: what two of them keep in common, they share."""
    kept: Kept = np.zeros(total, np.bool_)
    kept[left] = True
    drawn = order[kept[order]][: section.sample]
    return np.asarray(drawn[: len(drawn) // section.block * section.block])


def _vectors(
    workspace: Workspace,
    embedder: Embedder,
    wanted: pl.DataFrame,
    texts: dict[str, Dataset],
    vectors: Mapping[str, Dataset],
) -> npt.NDArray[np.float32]:
    """Unit vectors of the wanted documents, in their order: those that there are, the others embedded."""
    if not vectors:
        return embedded(workspace, embedder, rows_of(texts.values(), "text", wanted)["text"].to_list())
    found = rows_of(vectors.values(), "embedding", wanted)
    there = found["embedding"].is_not_null()
    new = wanted.filter(~there)
    unit = np.empty((wanted.height, EMBEDDING_DIMENSION), np.float32)
    unit[there.to_numpy()] = matrix(found.filter(there).to_arrow())
    if new.height:
        unit[~there.to_numpy()] = embedded(workspace, embedder, rows_of(texts.values(), "text", new)["text"].to_list())
    return unit


def _rows(trial: Trial, score: float | None) -> Iterator[tuple[Any, ...]]:
    """The rows of a trial; without a score where what is left fills no block."""
    left = trial.left
    plain: dict[str, float | None] = {
        "documents": left.documents,
        "tokens": left.tokens,
        "effective": left.effective,
        "divergence": left.divergence,
        "vendi": score,
    }
    measures: list[tuple[str, str | None, float]] = [
        (name, None, value) for name, value in plain.items() if value is not None
    ]
    measures += [("share", domain, share) for domain, share in left.shares.items()]
    measures += [("retention", group, share) for group, share in left.mentions.items()]
    for measure, part, value in measures:
        yield (
            trial.swept.signal,
            trial.swept.prefer,
            trial.rule,
            float(left.fraction),
            measure,
            part,
            round(float(value), DIGITS),
        )


def _shown(trial: Trial, score: float | None) -> dict[str, Any]:
    """A trial in a line: of the retentions the least."""
    left = trial.left
    least = min(left.mentions.items(), key=lambda item: (item[1], item[0]), default=(None, None))
    return {
        "signal": trial.swept.signal,
        "prefer": trial.swept.prefer,
        "rule": trial.rule,
        "fraction": float(left.fraction),
        "documents": left.documents,
        "tokens": left.tokens,
        "effective": round(left.effective, DIGITS),
        "divergence": round(left.divergence, DIGITS),
        "vendi": None if score is None else round(score, DIGITS),
        "group": least[0],
        "retention": None if least[1] is None else round(least[1], DIGITS),
    }
