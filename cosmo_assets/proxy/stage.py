"""The proof of a corpus: small models trained on it and on arms of it, and whether these differ.

Belongs here: the two stages, `proxy_runs` (trains and scores) and `proxy_evaluation` (compares). Does not belong here:
the arms (`parts`), trainings and measures (`ablation`), the interval of a difference (`bootstrap`).

Trainings stay in the working folder of `proxy_runs`, named by all that they depend on: a build that was killed goes on
with them, and one with more seeds or other arms repeats none.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cosmo_assets.proxy.ablation import Ablation, Measure, Verdict, verdicts
from cosmo_assets.proxy.filters import by_filters
from cosmo_assets.proxy.parts import arms_of, by_facet, write_parts
from cosmo_assets.proxy.rows import read_items
from cosmo_assets.proxy.spec import RESULT
from cosmo_assets.proxy.tokens import shards_of
from cosmo_assets.recipe.proof import Proof
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.corpus import PROXY_EVALUATION, PROXY_RUNS
from cosmo_assets.selection.signals import Signals
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import file_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

RUNS, EVALUATION = "proxy_runs", "proxy_evaluation"
STAGE_VERSION = "1"
ENDS = 20
"""Steps at either end of a training, of whose losses the means are told; of a short one half of them."""


def build_runs(workspace: Workspace, python: str) -> Manifest:
    """Build `proxy_runs` in an interpreter with torch and transformers. A build that was killed goes on.

    Cost: the trainings, (1 + parts) x seeds; the tokens of the corpus, written once. Memory: of the tokens of a shard.

    Raises:
        CosmoError: a file of the section is missing or wrong; the corpus has one part only; a filter drops all of it or
            none; the interpreter lacks torch or transformers; a training failed.
    """
    store, section = workspace.store, section_of(workspace.recipe)
    shards, lineage = store.open("tokenized_shards"), store.open("token_lineage")
    signals = Signals.open(store, workspace.recipe, section.families)
    asked = workspace.recipe.paths(section.items, field="proof.items")
    held_out = {name: _held_out(workspace.recipe, name, path) for name, path in section.held_out.items()}

    def produce(writer: DatasetWriter) -> None:
        folder = store.work(RUNS)
        shutil.rmtree(folder / "parts", ignore_errors=True)  # of a build that was killed
        if section.by == "filters":
            parting = by_filters(lineage, signals, section.filters)
        else:
            parting = by_facet(lineage, section.by, section.largest)
        parts, spans = write_parts(folder / "parts", shards, lineage, parting)
        arms = arms_of(parts, parting.held, section)
        items = [item for path in asked for item in read_items(path)]
        ablation = Ablation.prepare(folder, arms, items, held_out, section.proxy, section.seeds)
        ablation.train(python, lambda done, total: workspace.progress(done, total, "steps"))
        measures = ablation.measures()
        for measure in measures:
            writer.write(_scores(measure))
        writer.flow("spans", lineage.manifest.flow.rows_out, spans)
        writer.summary = {
            "arms": {
                arm: sum(path.stat().st_size for path in of) // _width(shards) for arm, of in ablation.arms.items()
            },
            "seeds": section.seeds,
            "trainings": [{"arm": arm, "seed": seed, **_losses(run)} for (arm, seed), run in ablation.runs.items()],
            "lower_is_better": {measure.name: measure.lower_is_better for measure in measures},
        }
        shutil.rmtree(folder / "parts")

    return workspace.build(
        RUNS,
        produce,
        stage_version=STAGE_VERSION,
        inputs=(shards.ref(), lineage.ref(), *signals.inputs),
        params={
            **section.model_dump(mode="json", exclude={"items", "held_out"}),
            "items": [file_digest(path) for path in asked],
            "held_out": {name: [file_digest(path) for path in of] for name, of in held_out.items()},
        },
    )


def build_evaluation(workspace: Workspace) -> Manifest:
    """Build `proxy_evaluation`. Cost: 4,000 resamples of the items for each pair of arms and measure."""
    runs = workspace.store.open(RUNS)

    def produce(writer: DatasetWriter) -> None:
        measures = measures_of(runs)
        found = verdicts(measures)
        writer.write(pa.Table.from_pylist([_row(one) for one in found], schema=PROXY_EVALUATION))
        writer.flow("scores", runs.manifest.rows, sum(of.size for one in measures for of in one.scores.values()))
        writer.summary = {
            "measures": [one.name for one in measures],
            "scores": {one.name: {arm: one.mean(arm) for arm in one.scores} for one in measures},
            "verdicts": [_row(one) for one in found],
        }

    return workspace.build(EVALUATION, produce, stage_version=STAGE_VERSION, inputs=(runs.ref(),), params={})


def measures_of(runs: Dataset) -> list[Measure]:
    """The measures that `proxy_runs` holds, in their order; the first is the one to decide by."""
    table, summary = runs.table(), runs.manifest.summary
    found = []
    for name in table["measure"].unique().to_pylist():
        rows = table.filter(pa.compute.equal(table["measure"], name))
        shape = (len(summary["arms"]), summary["seeds"], -1)
        scores = rows["score"].to_numpy().reshape(shape)
        sizes = rows["size"].to_numpy().reshape(shape)[0, 0]
        arms = rows["arm"].unique().to_pylist()
        by_arm = {arm: of_arm.T for arm, of_arm in zip(arms, scores, strict=True)}
        found.append(Measure(name, by_arm, summary["lower_is_better"][name], sizes))
    return found


def section_of(recipe: Recipe) -> Proof:
    """The recipe's section.

    Raises:
        CosmoError: it has none.
    """
    if recipe.proof is None:
        raise CosmoError(f"recipe {recipe.name} has no proof", remedy="add the section `proof` (docs/proxy.md)")
    return recipe.proof


def _held_out(recipe: Recipe, name: str, path: str) -> list[Path]:
    _, found = recipe.located(path, field=f"proof.held_out.{name}", folder=True)
    return [shard for each in found for shard in shards_of(each)]


def _scores(measure: Measure) -> pa.Table:
    """A measure as rows, in the order of arms, seeds and places."""
    places, seeds = next(iter(measure.scores.values())).shape
    sizes = np.ones(places) if measure.sizes is None else measure.sizes
    rows = seeds * places
    return pa.table({
        "arm": np.repeat([*measure.scores], rows),
        "seed": np.tile(np.repeat(np.arange(seeds), places), len(measure.scores)),
        "measure": [measure.name] * (rows * len(measure.scores)),
        "place": np.tile(np.arange(1, places + 1), seeds * len(measure.scores)),
        "size": np.tile(sizes.astype(np.float64), seeds * len(measure.scores)),
        "score": np.concatenate([scores.T.ravel() for scores in measure.scores.values()]),
    }).cast(PROXY_RUNS)  # fmt: skip


def _losses(run: Path) -> dict[str, float]:
    with np.load(run / RESULT) as found:
        losses = found["losses"]
    steps = max(min(ENDS, len(losses) // 2), 1)
    return {"first_loss": float(losses[:steps].mean()), "last_loss": float(losses[-steps:].mean())}


def _width(shards: Dataset) -> int:
    """Bytes of a token."""
    metadata: Sequence[Path] = sorted(shards.folder.rglob("*.ds.metadata"))
    return int(metadata[0].read_text(encoding="utf-8").splitlines()[0].split("|")[-1])


def _row(one: Verdict) -> dict[str, Any]:
    of = one.difference
    return {
        "measure": one.measure,
        "arm": one.arm,
        "other": one.other,
        "difference": of.value,
        "low": of.low,
        "high": of.high,
        "arm_is": one.decision,
    }
