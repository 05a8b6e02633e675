"""The account of the corpus: what each source, topic and template was given, what of it was kept, and what that cost.

Belongs here: following every generated document to where it ends, sharing out device time, and the tables of both. Does
not belong here: what a job cost (`cosmo_assets.generation.accounting`).

Device time is known for each bucket, from the `run` of all its stored versions: those that a later one took rows over
from as well, so that a resumed or repeated build neither hides nor doubles anything. Within a bucket it is shared out
by output tokens, which is what an engine under full load spends it on; what was rejected was paid for by what is kept.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from cosmo_assets.recipe.generation import Budget
from cosmo_assets.report.corpus import Corpus, Section, scan
from cosmo_assets.report.html import Money, Share, Table

DIMENSIONS = ("source", "topic", "template")
KEPT = "keep"
HOUR = 3600.0
MAX_REASONS = 4
LEADING = 20
"""Rows of a table, those with the most tokens; the others are summed up in one more."""
SUMS = ("prompts", "answers", "tokens", "device_seconds", "kept", "kept_tokens")

Rows = Sequence[Mapping[str, Any]]


def accounts(corpus: Corpus) -> dict[str, list[dict[str, Any]]]:
    """Rows for each of `DIMENSIONS`, by falling output tokens: prompts, answers, output tokens and those that were
    rejected for each reason, kept documents and tokens (each document once), device seconds, cost, and cost for each
    million kept tokens (None where none is kept).

    Cost: a few columns of verdicts and prompts. Memory: those of one bucket.
    """
    buckets = list(corpus.datasets["generations"])
    followed = pl.concat([_followed(corpus, bucket) for bucket in buckets])
    budget = corpus.workspace.recipe.budget
    return {name: _rows(followed, name, budget) for name in DIMENSIONS}


def device_seconds(corpus: Corpus, bucket: str) -> float:
    """Device time that the answers of a bucket took, those of earlier versions that are still stored included."""
    versions = corpus.workspace.store.versions("generations", bucket)
    return HOUR * sum(float(version.manifest.run.get("gpu_hours") or 0.0) for version in versions)


def shown(rows: Rows, dimension: str, *, timed: bool = True, priced: bool = True) -> list[dict[str, Any]]:
    """Rows of `accounts` as a table for people: the leading ones, and the rest in one. `timed`: with device time, and
    `priced`: with what it cost."""
    return [
        {
            dimension: row["name"] or f"(no {dimension})",
            "prompts": row["prompts"],
            "tokens": row["tokens"],
            "kept tokens": row["kept_tokens"],
            "kept": Share(row["kept_tokens"] / row["tokens"]) if row["tokens"] else None,
            **({"GPU seconds": round(row["device_seconds"])} if timed else {}),
            **({"cost": Money(round(row["cost"], 2))} if timed and priced else {}),
            **({"per million kept": _money(row["cost_per_million"])} if timed and priced else {}),
            "rejected tokens": _listed(row["rejected"]),
        }
        for row in leading(rows, dimension)
    ]


def section(found: Mapping[str, Rows], *, timed: bool, priced: bool) -> Section:
    """The account as a part of the report (see `shown`); `timed` says whether any device time is known."""
    tables = []
    for dimension, rows in found.items():
        lines = shown(rows, dimension, timed=timed, priced=priced)
        headers = tuple(name if name[:3] == "GPU" else name.capitalize() for name in lines[0]) if lines else ()
        tables.append((f"By {dimension}", Table(headers, [tuple(line.values()) for line in lines])))
    (total,) = leading(found["source"], "source", count=0)
    note = "Tokens are output tokens of the model, each document once; they are rejected for the first reason there is."
    lead = (
        f"{total['prompts']:,} prompts became {total['tokens']:,} tokens in {total['answers']:,} answers; "
        f"{total['kept_tokens']:,} of the tokens are kept."
    )
    if timed:
        note += (
            " Device time is that of all runs of a bucket, shared out by output tokens: what is kept pays for the rest."
        )
        lead += f" The devices were held for {total['device_seconds']:,.0f} seconds"
        if priced and total["kept_tokens"]:
            lead += f", which cost {total['cost']:,.2f}: {total['cost_per_million']:,.2f} for a million kept tokens"
        lead += "."
    counted = {
        f"{dimension}.{row['name']}.{name}": row[name]
        for dimension in ("source", "template")
        for row in found[dimension]
        for name in ("prompts", "tokens", "kept_tokens")
    }
    return Section("accounts", {"accounts_lead": lead, "accounts_note": note, "accounts": tables}, figures=counted)


def leading(rows: Rows, dimension: str, count: int = LEADING) -> list[Mapping[str, Any]]:
    """The first rows of `accounts`, and the others summed up."""
    rest = rows[count:]
    if len(rest) < 2 and count:
        return list(rows)
    rejected: Counter[str] = Counter()
    for row in rest:
        rejected.update(row["rejected"])
    sums = {name: sum(row[name] for row in rest) for name in (*SUMS, "cost")}
    name = f"({len(rest):,} other {dimension}s)"
    return [*rows[:count], {"name": name, **sums, "rejected": rejected, "cost_per_million": _per_million(sums)}]


def _followed(corpus: Corpus, bucket: str) -> pl.DataFrame:
    """Answers, tokens and device time of a bucket by `DIMENSIONS` and by where documents end."""
    read = {asset: scan(corpus.datasets[asset][bucket].paths()) for asset in ("generations", *_VERDICTS)}
    prompts = scan(corpus.one("prompt_table").paths(bucket=bucket)).select("prompt_id", *DIMENSIONS)
    left_out = _left_out(corpus)
    frame = (
        read["generations"].select("doc_id", "prompt_id", "status", "completion_tokens").join(prompts, on="prompt_id")
    )
    for asset, reason in _VERDICTS.items():
        verdict = pl.when(~pl.col("keep")).then(reason).alias(asset)
        frame = frame.join(read[asset].select("doc_id", verdict), on="doc_id", how="left")
    unanswered = pl.when(pl.col("status") != "ok").then(pl.col("status"))
    end = pl.coalesce(unanswered, *_VERDICTS, "left_out", pl.lit(KEPT)).alias("end")
    total = pl.col("completion_tokens").sum()
    share = (pl.col("completion_tokens") / total * device_seconds(corpus, bucket)).fill_nan(0.0)
    found = frame.join(left_out, on="doc_id", how="left").with_columns(end, share.alias("device_seconds"))
    grouped = found.group_by(*DIMENSIONS, "end").agg(
        pl.len().alias("answers"),
        pl.col("completion_tokens").sum().alias("tokens"),
        pl.col("device_seconds").sum(),
    )
    counted = prompts.group_by(*DIMENSIONS).agg(pl.len().alias("prompts"))  # a prompt may end in several ways
    asked = counted.select(*DIMENSIONS, pl.lit(None, pl.String).alias("end"), pl.col("prompts"))
    return pl.concat([grouped, asked], how="diagonal_relaxed").collect()


def _left_out(corpus: Corpus) -> pl.LazyFrame:
    """The documents that the mixture leaves out, and why."""
    paths = corpus.one("mixture").paths(role="rejected")
    found = scan(paths) if paths else pl.LazyFrame(schema={"place": pl.String, "reason": pl.String})
    return found.select(pl.col("place").alias("doc_id"), pl.col("reason").alias("left_out"))


_VERDICTS: dict[str, pl.Expr] = {
    "generation_quality": pl.col("reasons").list.first(),
    "decontaminated": pl.format("contaminated_{}", pl.col("benchmark").fill_null("seed")),
    "deduplicated": pl.format("duplicate_{}", pl.col("method").fill_null("")),
}
"""The assets that drop documents, in order, and the reason that each gives."""


def _rows(followed: pl.DataFrame, dimension: str, budget: Budget) -> list[dict[str, Any]]:
    found: dict[str | None, dict[str, Any]] = {}
    columns = ("prompts", "answers", "tokens", "device_seconds")
    sums = followed.group_by(dimension, "end").agg(pl.col(column).sum() for column in columns)
    for name, end, *values in sums.sort(dimension, "end").iter_rows():
        row = found.setdefault(
            name, {"name": name, **dict.fromkeys(columns, 0), "kept": 0, "kept_tokens": 0, "rejected": {}}
        )
        for column, value in zip(columns, values, strict=True):
            row[column] += value
        answers, tokens = values[1:3]
        if end == KEPT:
            row |= {"kept": answers, "kept_tokens": tokens}
        elif end is not None:
            row["rejected"][end] = tokens
    for row in found.values():
        row["cost"] = row["device_seconds"] / HOUR * budget.gpu_hour_price
        row["cost_per_million"] = _per_million(row)
    return sorted(found.values(), key=lambda row: (-row["tokens"], str(row["name"])))


def _per_million(row: Mapping[str, Any]) -> float | None:
    """The cost of a million kept tokens."""
    return float(row["cost"] / row["kept_tokens"] * 1e6) if row["kept_tokens"] else None


def _money(value: float | None) -> Money | None:
    return None if value is None else Money(round(value, 2))


def _listed(rejected: Mapping[str, int]) -> str:
    falling = sorted(
        ((tokens, reason) for reason, tokens in rejected.items() if tokens), key=lambda entry: (-entry[0], entry[1])
    )
    named = [f"{reason.replace('_', ' ')} {tokens:,}" for tokens, reason in falling[:MAX_REASONS]]
    rest = sum(tokens for tokens, _ in falling[MAX_REASONS:])
    return ", ".join([*named, *([f"other {rest:,}"] if rest else [])])
