"""The mixture: which surviving documents stand in the corpus, and how often. No text is copied.

Belongs here: the stage. Does not belong here: the tokens of a source (`allocation`), the copies of a document
(`drawing`), which documents there are (`documents`).

Withdrawn documents are left out last: tokens are allocated and copies drawn as if they were there, so that nothing else
changes, unless the recipe says `reallocate_withdrawn`.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from cosmo_assets.mixture.allocation import Share, Supply, allocate
from cosmo_assets.mixture.documents import Eligible
from cosmo_assets.mixture.drawing import Reals, Wholes, copies, cuts, draws
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.corpus import MIXTURE
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.writer import REJECTED, DatasetWriter

STAGE_VERSION = "2"
WITHDRAWN, NOT_DRAWN, NOT_MIXED = "withdrawn", "not_drawn", "source_not_in_mixture"


def build(workspace: Workspace) -> Manifest:
    """Build `mixture`, stored by bucket. Cost: the short columns of all documents, read twice; memory for one bucket of
    them, three numbers of each document, and the ids of those that are left out: some 90 bytes a document.

    Raises:
        CosmoError: the recipe asks for more tokens than the sources have, or no document is left.
    """
    eligible = Eligible.open(workspace.store, workspace.recipe)
    return workspace.build(
        "mixture",
        lambda writer: _produce(writer, workspace, eligible),
        stage_version=STAGE_VERSION,
        inputs=eligible.inputs,
        params=params(workspace.recipe),
    )


def params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe `mixture` depends on: not on the weights that it is shown beside."""
    return recipe.mixture.model_dump(mode="json", exclude={"optimum"})


def supplies(workspace: Workspace) -> dict[str, Supply]:
    """What each source has at present, for those who plan.

    Raises:
        CosmoError: not every bucket got that far yet.
    """
    eligible = Eligible.open(workspace.store, workspace.recipe)
    return _survey(eligible, count_withdrawn=not workspace.recipe.mixture.reallocate_withdrawn).supplies()


@dataclass
class Survey:
    """What copies are drawn from: for each source and bucket an array of tokens, draws, factors."""

    tokens: dict[str, list[Wholes]] = field(default_factory=lambda: defaultdict(list))
    draws: dict[str, list[Reals]] = field(default_factory=lambda: defaultdict(list))
    factors: dict[str, list[Reals]] = field(default_factory=lambda: defaultdict(list))

    def add(self, documents: pl.DataFrame) -> None:
        for (source,), rows in documents.group_by("source", maintain_order=True):
            self.tokens[str(source)].append(rows["tokens"].to_numpy())
            self.draws[str(source)].append(draws(rows["doc_id"].to_arrow()))
            self.factors[str(source)].append(rows["factor"].to_numpy())

    def supplies(self) -> dict[str, Supply]:
        found = {}
        for source, parts in self.tokens.items():
            by_factor: Counter[float] = Counter()
            for tokens, factors in zip(parts, self.factors[source], strict=True):
                values, places = np.unique(factors, return_inverse=True)
                sums = np.zeros(len(values), np.int64)
                np.add.at(sums, places, tokens)
                by_factor.update(dict(zip(values.tolist(), sums.tolist(), strict=True)))
            found[source] = Supply(dict(by_factor))
        return found

    def cuts(self, shares: Mapping[str, Share]) -> dict[str, list[float]]:
        """Where the stages of each source end, in epochs (see `drawing`). Forgets what it was asked about."""
        return {
            source: cuts(
                np.concatenate(self.tokens.pop(source)),
                np.concatenate(self.draws.pop(source)),
                np.concatenate(self.factors.pop(source)),
                share.tokens,
            )
            for source, share in shares.items()
        }


def _survey(eligible: Eligible, *, count_withdrawn: bool) -> Survey:
    survey = Survey()
    for _, documents in eligible.buckets():
        found = documents.filter(pl.col("barred").is_null())
        survey.add(found if count_withdrawn else found.filter(pl.col("withdrawn").is_null()))
    return survey


def _produce(writer: DatasetWriter, workspace: Workspace, eligible: Eligible) -> None:
    mixture = workspace.recipe.mixture
    survey = _survey(eligible, count_withdrawn=not mixture.reallocate_withdrawn)
    shares = allocate(survey.supplies(), mixture)
    ends = survey.cuts(shares)
    del survey
    tally = Tally(len(mixture.stages) or 1)
    for name, documents in eligible.buckets():
        drawn = _drawn(documents, ends, tally.stages)
        tally.add(drawn)
        chosen = drawn.filter(pl.col("reason").is_null())
        columns = chosen.with_columns(pl.lit(name).alias("bucket")).select(MIXTURE.names)
        writer.write(columns.to_arrow().cast(MIXTURE), bucket=name)
        writer.reject_rows(_rejected(drawn.filter(pl.col("reason").is_not_null())))
        workspace.progress(tally.documents, eligible.flow.rows_out, "documents")
    if not tally.kept:
        raise CosmoError(
            "no document is left for the mixture",
            remedy="look at the dropped rows of generation_quality, decontaminated, deduplicated and mixture",
        )
    flow = eligible.flow
    writer.flow("documents", flow.rows_out, tally.kept, dropped=tally.dropped, tokens=flow.tokens_through(tally.left))
    writer.summary = tally.summary(shares, [stage.name for stage in mixture.stages])


def _drawn(documents: pl.DataFrame, ends: Mapping[str, list[float]], stages: int) -> pl.DataFrame:
    """Documents with their copies by stage, those that are left out with the reason for it; of the withdrawn ones the
    copies are those that they would have, of barred ones none."""
    alone = pl.when(pl.col("barred").is_null()).then("factor").otherwise(0.0)
    draw, factor = draws(documents["doc_id"].to_arrow()), documents.select(alone.alias("factor"))["factor"].to_numpy()
    until = np.zeros((documents.height, stages), np.int64)
    sources = documents["source"].to_numpy()
    for source in documents["source"].unique():
        if source in ends:
            mine = sources == source
            for stage, epochs in enumerate(ends[source]):
                until[mine, stage] = copies(epochs, draw[mine], factor[mine])
    by_stage = np.diff(until, axis=1, prepend=0)
    reason = (
        pl.when(pl.col("barred").is_not_null())
        .then("barred")
        .when(pl.col("withdrawn").is_not_null())
        .then(pl.lit(WITHDRAWN))
        .when(~pl.col("source").is_in(sorted(ends)))
        .then(pl.lit(NOT_MIXED))
        .when(pl.col("copies") == 0)
        .then(pl.lit(NOT_DRAWN))
    )
    offsets = np.arange(documents.height + 1, dtype=np.int64) * stages
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(by_stage.ravel()))
    return documents.with_columns(
        pl.Series("copies", until[:, -1]), pl.Series("stage_copies", pl.from_arrow(lists))
    ).with_columns(reason.alias("reason"))


def _rejected(left_out: pl.DataFrame) -> pa.Table:
    return (
        left_out.select(
            pl.col("doc_id").alias("place"),
            pl.lit(None, pl.String).alias("field"),
            "reason",
            pl.coalesce("withdrawn", "source").alias("detail"),
        )
        .to_arrow()
        .cast(REJECTED)
    )


@dataclass
class Tally:
    """What is counted while documents are chosen; tokens of `drawn` and `taken` are of all copies."""

    stages: int
    documents: int = 0
    kept: int = 0
    copies: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    by_source: Counter[str] = field(default_factory=Counter)
    drawn: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    by_stage: Counter[int] = field(default_factory=Counter)
    by_copies: Counter[int] = field(default_factory=Counter)
    """Tokens of one copy of each document, by how many it has."""

    def add(self, drawn: pl.DataFrame) -> None:
        size = pl.col("tokens") * pl.col("copies")
        self.documents += drawn.height
        for source, tokens in drawn.group_by("source").agg(size.sum()).iter_rows():
            self.drawn[source] += tokens
        for reason, count, tokens in drawn.group_by("reason").agg(pl.len(), pl.col("tokens").sum()).iter_rows():
            self.left[reason or "keep"] += tokens
            if reason is None:
                self.kept += count
            else:
                self.dropped[reason] += count
        chosen = drawn.filter(pl.col("reason").is_null())
        self.copies += int(chosen["copies"].sum())
        for source, count, tokens in chosen.group_by("source").agg(pl.len(), size.alias("size").sum()).iter_rows():
            self.by_source[source] += count
            self.taken[source] += tokens
        for often, tokens in chosen.group_by("copies").agg(pl.col("tokens").sum()).iter_rows():
            self.by_copies[often] += tokens
        for stage in range(self.stages):
            self.by_stage[stage] += int(
                chosen.select((pl.col("tokens") * pl.col("stage_copies").list.get(stage)).sum()).item()
            )

    def summary(self, shares: Mapping[str, Share], stages: list[str]) -> dict[str, Any]:
        total, wanted = sum(self.taken.values()), sum(share.target for share in shares.values())
        return {
            "tokens": total,
            "copies": self.copies,
            "by_copies": [[copies, tokens] for copies, tokens in sorted(self.by_copies.items())],
            "withdrawn": {"documents": self.dropped[WITHDRAWN], "tokens": sum(self.drawn.values()) - total},
            "components": [
                {
                    "source": name,
                    "documents": self.by_source[name],
                    "available": share.supply.tokens,
                    "tokens": self.taken[name],
                    "drawn": self.drawn[name],
                    "wanted": share.target,
                    "share": round(self.taken[name] / total, 4) if total else 0.0,
                    "target": round(share.target / wanted, 4) if wanted else 0.0,
                    "epochs": round(share.epochs, 4),
                    "most_epochs": round(share.epochs * share.supply.most_factor, 4),
                    "limits": share.limits,
                }
                for name, share in sorted(shares.items())
            ],
            "stages": [
                {
                    "stage": stage,
                    "tokens": self.by_stage[number],
                    "wanted": sum(share.tokens[number] for share in shares.values()),
                }
                for number, stage in enumerate(stages)
            ],
        }
