"""From manifests to what Dagster shows: definitions' metadata, materializations, checks, observations.

Belongs here: everything that every stage's thin `assets.py` shares. Does not belong here: what a stage computes, which
checks it has (its `checks.py`), or how a chart is drawn (`charts`).
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from cosmo_assets import drift
from cosmo_assets.agreement import ASKED
from cosmo_assets.charts.metadata import markdown
from cosmo_assets.figures import figures_of
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.columns import description, origins
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.stage import Figures, Workspace
from cosmo_resources.resources import StoreResource
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import ALL

OWNERS = ["team:corpus"]
BUCKETED = "cosmo/bucketed"
"""Tag of the assets that have one partition per bucket; `build_defs` gives them the recipe's buckets."""

FIRST_SECONDS = 5.0
OBSERVE_SECONDS = 30.0
MAX_TABLE_ROWS = 60
"""Rows of a table that a materialization shows."""

Listener = Callable[[str, int, int, str], None]
"""Called with (asset, done, total, unit)."""

LISTENER: ContextVar[Listener | None] = ContextVar("LISTENER", default=None)
"""Who else hears of progress in this process, unthrottled: the terminal."""

if TYPE_CHECKING:
    Result = dg.MaterializeResult[Any]
else:  # Dagster reads the annotation of an asset, and knows the plain class only
    Result = dg.MaterializeResult
Verdict = tuple[bool, Mapping[str, Any]]
Sides = tuple[str, Sequence[Sequence[Any]], Sequence[Sequence[Any]]]
"""Caption, item, text: the latter two cut into pieces, each with whether it is set off."""


@dataclass(frozen=True)
class Check:
    """A data-quality check, computed from the manifest while the asset is materialized. Blocking only where downstream
    tokens would be wrong; a check that does not block warns."""

    name: str
    description: str
    test: Callable[[Manifest, Recipe], Verdict]
    blocking: bool = False


@dataclass(frozen=True)
class Show:
    """What an asset shows beside its figures: charts (SVG by name) and tables (rows of equal keys by name)."""

    charts: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    quotes: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    """Texts to be read, by name: (caption, text)."""
    sides: Mapping[str, Sequence[Sides]] = field(default_factory=dict)
    """Benchmark items beside texts that hold them, by name."""


def _conserved(manifest: Manifest, _: Recipe) -> Verdict:
    flow = manifest.flow
    figures: dict[str, Any] = {
        "unit": flow.unit,
        "in": flow.rows_in,
        "out": flow.rows_out,
        "dropped": sum(flow.dropped.values()),
        "failed": sum(flow.failed.values()),
    }
    if flow.tokens is not None:
        figures["tokens in"] = flow.tokens.tokens_in
        figures["tokens out"] = flow.tokens.tokens_out
        figures["tokens dropped"] = sum(flow.tokens.dropped.values())
    return flow.balanced, figures


CONSERVATION = Check(
    "conservation",
    "What came in is what went out, plus what was dropped for a reason, plus what failed; in rows and in tokens.",
    _conserved,
    blocking=True,
)


_MADE: dict[dg.AssetsDefinition, Callable[[Sequence[dg.AssetKey]], dg.AssetsDefinition]] = {}
"""How every definition is made, given what it reads beside what it always reads."""

CHECKS_OF: dict[str, tuple[Check, ...]] = {}
"""The checks of every asset by its name, as `corpus_asset` defined it."""


def corpus_asset(
    name: str,
    *,
    group: str,
    kinds: set[str],
    stage_version: str,
    checks: Sequence[Check],
    deps: Sequence[dg.AssetsDefinition | str] = (),
    about: str | None = None,
    bucketed: bool = False,
    pool: str | None = None,
) -> Callable[[Callable[..., Result]], dg.AssetsDefinition]:
    """`dg.asset` with what all assets share: owners, table and column lineage from the schema, the conservation check,
    the tag of bucketed assets. `about` stands for the function's docstring, where one function makes several assets."""
    schema = TABLES[name]
    CHECKS_OF[name] = (CONSERVATION, *checks)
    columns = [dg.TableColumn(column.name, str(column.type), description(column)) for column in schema]
    lineage = {
        column.name: [dg.TableColumnDep(dg.AssetKey(origin), from_column) for origin, from_column in origins(column)]
        for column in schema
    }
    known = {dg.AssetDep.from_coercible(dep).asset_key for dep in deps}

    def made(function: Callable[..., Result], also: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
        decorator: Any = dg.asset(
            name=name,
            description=about,
            deps=[*deps, *(dep for dep in dict.fromkeys(also) if dep not in known)],
            group_name=group,
            kinds=kinds,
            owners=OWNERS,
            code_version=stage_version,
            pool=pool,
            tags={BUCKETED: "true"} if bucketed else {},
            metadata={
                "dagster/column_schema": dg.TableSchema(columns),
                "dagster/column_lineage": dg.TableColumnLineage(
                    {key: found for key, found in lineage.items() if found}
                ),
            },
            check_specs=[
                dg.AssetCheckSpec(check.name, asset=name, description=check.description, blocking=check.blocking)
                for check in CHECKS_OF[name]
            ],
        )
        return cast("dg.AssetsDefinition", decorator(function))

    def decorated(function: Callable[..., Result]) -> dg.AssetsDefinition:
        asset = made(function, ())
        _MADE[asset] = partial(made, function)
        return asset

    return decorated


def reading(asset: dg.AssetsDefinition, also: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    """An asset that `corpus_asset` made, as one that reads others as well. It waits for them in a run, and for their
    blocking checks: dependencies that are only added to the spec of an asset do neither."""
    return _MADE[asset](also)


def workspace(context: dg.AssetExecutionContext, store: StoreResource, recipe: Recipe) -> Workspace:
    """The workspace of the asset that is being materialized; its progress becomes throttled observations."""
    return Workspace(store.create(), recipe, context.run_id, Observer(context), ASKED)


class Observer:
    """Turns progress into observations of the asset: after `FIRST_SECONDS`, after twice as long, and so on, in the end
    one every `OBSERVE_SECONDS` (each costs an event)."""

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self._context = context
        self._started = time.monotonic()
        self._due = FIRST_SECONDS

    def __call__(self, done: int, total: int, unit: str, figures: Figures = dict) -> None:
        listener = LISTENER.get()
        if listener is not None:
            listener(self._context.asset_key.to_user_string(), done, total, unit)
        passed = time.monotonic() - self._started
        if passed < self._due:
            return
        self._due = passed + min(passed, OBSERVE_SECONDS)
        rate = done / passed
        metadata: dict[str, Any] = {f"{unit}_done": done, f"{unit}_total": total, f"{unit}_per_second": round(rate, 2)}
        if rate:
            metadata["eta_seconds"] = round((total - done) / rate)
        metadata.update(figures())
        partition = self._context.partition_key if self._context.has_partition_key else None
        self._context.log_event(dg.AssetObservation(self._context.asset_key, partition=partition, metadata=metadata))
        self._context.log.info(f"{done} of {total} {unit}")


def materialized(manifest: Manifest, recipe: Recipe, checks: Sequence[Check], show: Show | None = None) -> Result:
    """What a stage's manifest means to Dagster: its version, figures, charts, tables and check results."""
    return dg.MaterializeResult(
        asset_key=manifest.asset,
        data_version=dg.DataVersion(manifest.version),
        metadata=metadata_of(manifest, show or Show()),
        check_results=[check_result(check, manifest, recipe) for check in (CONSERVATION, *checks)],
    )


def metadata_of(manifest: Manifest, show: Show) -> dict[str, Any]:
    """A materialization's metadata: counts, flow, the asset's most telling numbers, how many rows were computed and how
    many taken over from an earlier version when this one was built, then charts and tables."""
    rows_key = "dagster/row_count" if manifest.bucket == ALL else "dagster/partition_row_count"
    flow = manifest.flow
    metadata: dict[str, Any] = {
        rows_key: manifest.rows,
        f"{flow.unit}_in": flow.rows_in,
        f"{flow.unit}_out": flow.rows_out,
        **figures_of(manifest),
        **show.figures,
        "bytes": manifest.bytes,
        **{key: int(manifest.run[key]) for key in ("computed_rows", "reused_rows") if key in manifest.run},
        "wall_seconds": float(manifest.run.get("wall_seconds", 0.0)),
        "version": manifest.version,
    }
    for name, svg in show.charts.items():
        metadata[name] = dg.MetadataValue.md(markdown(svg))
    for name, rows in show.tables.items():
        if rows:
            metadata[name] = dg.MetadataValue.md(markdown_table(rows))
    for name, quotes in show.quotes.items():
        if quotes:
            metadata[name] = dg.MetadataValue.md("\n\n".join(_quote(caption, text) for caption, text in quotes))
    for name, pairs in show.sides.items():
        if pairs:
            lines = ["| case | item | text |", "| --- | --- | --- |"]
            lines += [f"| {_cell(caption)} | {_set_off(item)} | {_set_off(text)} |" for caption, item, text in pairs]
            metadata[name] = dg.MetadataValue.md("\n".join(lines))
    lost = {**flow.dropped, **flow.failed}
    if lost:
        metadata["lost"] = dg.MetadataValue.md(markdown_table([{"reason": key, "rows": lost[key]} for key in lost]))
    return metadata


def markdown_table(rows: Sequence[Mapping[str, Any]], limit: int = MAX_TABLE_ROWS) -> str:
    """Rows of equal keys as a GitHub-flavoured table; cells are escaped, and rows beyond `limit` are counted."""
    keys = list(rows[0])
    lines = ["| " + " | ".join(keys) + " |", "| " + " | ".join("---" for _ in keys) + " |"]
    lines += ["| " + " | ".join(_cell(row[key]) for key in keys) + " |" for row in rows[:limit]]
    if len(rows) > limit:
        lines.append(f"\n{len(rows) - limit} more rows")
    return "\n".join(lines)


def columns(rows: Sequence[Mapping[str, Any]], *names: str) -> list[dict[str, Any]]:
    """Rows with these columns, in this order: manifests keep their keys sorted."""
    return [{name: row[name] for name in names} for row in rows]


def _quote(caption: str, text: str) -> str:
    lines = text.replace("<", "&lt;").splitlines() or [""]
    return f"**{caption}**\n\n" + "\n".join(f"> {line}" for line in lines)


def _set_off(pieces: Sequence[Sequence[Any]]) -> str:
    """A text as a cell, with pieces of it in bold; nothing else in it is Markdown or HTML."""
    shown = []
    for text, bold in pieces:
        plain = re.sub(r"([\\`*_\[\]|~!#$&<])", r"\\\1", " ".join(text.split("\n")))
        shown.append(f"**{plain}**" if bold else plain)
    return "".join(shown)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
    return text if len(text) <= 160 else text[:159] + "…"


def check_result(check: Check, manifest: Manifest, recipe: Recipe) -> dg.AssetCheckResult:
    passed, metadata = check.test(manifest, recipe)
    severity = dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN
    shown = dict(metadata)
    if manifest.bucket != ALL:
        shown["bucket"] = manifest.bucket
    return dg.AssetCheckResult(
        check_name=check.name,
        asset_key=manifest.asset,
        passed=bool(passed),
        severity=severity,
        description=None if passed else _complaint(check, metadata),
        metadata=shown,
    )


def _complaint(check: Check, metadata: Mapping[str, Any]) -> str:
    """What a failed check says: the rule that does not hold, and the figures that show it."""
    figures = ", ".join(f"{name} {value}" for name, value in metadata.items() if value != "")
    return f"Does not hold: {check.description} ({figures})"


def share_at_most(
    name: str, description: str, part: Callable[[Manifest], int], whole: Callable[[Manifest], int], limit: str
) -> Check:
    """A check that a share of rows stays below a limit of the recipe."""

    def test(manifest: Manifest, recipe: Recipe) -> Verdict:
        share = part(manifest) / max(whole(manifest), 1)
        bound = getattr(recipe.limits, limit)
        return share <= bound, {"share": round(share, 4), "limit": bound, "recipe field": f"limits.{limit}"}

    return Check(name, description, test)


def drift_check(name: str, description: str, rule: drift.Rule, limit: str) -> Check:
    """A check that an asset's figure has not changed by more than a limit of the recipe and more than chance does (see
    `cosmo_assets.drift`). What is compared with nothing passes."""

    def test(manifest: Manifest, recipe: Recipe) -> Verdict:
        found, bound = drift.compare(manifest, rule), getattr(recipe.limits, limit)
        if found is None:
            return True, {"compared with": "nothing: this version is empty"}
        return not found.exceeds(bound), {**change(found), "limit": bound, "recipe field": f"limits.{limit}"}

    return Check(name, description, test)


def change(found: drift.Change) -> dict[str, Any]:
    """A change as the metadata of a check: numbers that Dagster plots, and with what they were compared."""
    shown: dict[str, Any] = {"now": round(found.now, 6)}
    if found.part:
        shown["of"] = found.part
    if found.before is not None:
        shown |= {"before": round(found.before, 6), "change": round(found.change, 6), "chance": found.chance}
    return {**shown, **found.figures, "compared with": found.compared_with}
