"""What `cosmo plan` shows: what would be done, and what the mixture can be, as rich tables.

Belongs here: reading manifests and drawing without building, into tables. Does not belong here: doing any of it, or the
arithmetic of a forecast (`cosmo_assets.prompts.forecast`).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from rich.table import Table

from cosmo_assets.asking import Ahead
from cosmo_assets.education import labels
from cosmo_assets.generation.plan import documents_of
from cosmo_assets.ids import bucket_name
from cosmo_assets.mixture.allocation import Supply, allocate
from cosmo_assets.mixture.stage import supplies
from cosmo_assets.prompts.allocation import Cell
from cosmo_assets.prompts.draw import draw
from cosmo_assets.prompts.forecast import Forecast, expected, forecast, measured
from cosmo_assets.prompts.items import open_inputs
from cosmo_assets.prompts.mixes import used_templates, uses_of
from cosmo_assets.real.texts import ELIGIBLE, has_real
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.seeds import outlines
from cosmo_assets.stage import Workspace, silent
from cosmo_assets.tokenization.tokenizer import recipe_tokenizer
from cosmo_assets.topics import expansion, labelling
from cosmo_resources.storage.store import CorpusStore

INPUTS = ("seed_documents", "seed_topics", "seed_extracts")


def plan_tables(recipe: Recipe, store: CorpusStore) -> list[Table]:
    """Before money is spent: prompts and expected tokens by source, audience and format, device hours and cost, how far
    the sources suffice, what else the model is asked, and documents that exist already.

    The seeds are drawn anew, so that a change to the recipe or a template shows before anything is built; where there
    are no seeds yet, the recipe's `expected_seeds` stand for them.

    Raises:
        CosmoError: the seeds cannot give what the recipe asks for.
    """
    templates = used_templates(recipe)
    uses = uses_of(recipe, templates)
    counted, there = _counted(recipe, store)
    basis = "drawn from the seeds" if there else "from the recipe's expected_seeds, as no seeds were read yet"
    found = forecast(recipe, uses, counted, measured(recipe, store))
    tables = [_prompts(recipe, found, basis), _sources(counted), _totals(found)]
    tables.append(_asking(asked_beside(Workspace(store, recipe)), found))
    return [*tables, _work(recipe, store)] if store.current("prompt_table") is not None else tables


def asked_beside(workspace: Workspace) -> list[Ahead]:
    """What the model would be asked before any prompt, in the order of the stages: all that a corpus of the recipe asks
    but for its texts."""
    recipe = workspace.recipe
    found = [expansion.ahead(workspace)] if recipe.topics.tree is not None else []
    found.append(labelling.ahead(workspace, lambda: recipe_tokenizer(recipe)))
    if recipe.prompts.outlines is not None:
        found.append(outlines.ahead(workspace, recipe.prompts.outlines))
    return [*found, labels.ahead(workspace)] if "educational" in recipe.signals else found


def _counted(recipe: Recipe, store: CorpusStore) -> tuple[list[tuple[Cell, int]], bool]:
    """The prompts by cell, and whether they were drawn from seeds that are there."""
    if any(store.current(asset) is None for asset in INPUTS):
        return expected(recipe, used_templates(recipe)), False
    plan = draw(open_inputs(store, recipe), recipe, silent)
    return list(zip(plan.cells, plan.quotas, strict=True)), True


def mixture_tables(recipe: Recipe, store: CorpusStore) -> list[Table]:
    """What each source can give to the mixture, what it shall give, and which bounds are reached; the size of the
    corpus. Of the documents that are there, once every bucket was deduplicated; until then of the answers that are
    expected, with nothing dropped and factors of topic and quality left out.

    Raises:
        CosmoError: the sources cannot give the mixture that the recipe asks for.
    """
    buckets = [bucket_name(index) for index in range(recipe.buckets)]
    there = all(store.current(asset, bucket) for asset in ("deduplicated", "generations") for bucket in buckets)
    needed = ["prompt_table", "withdrawals", *((ELIGIBLE, "duplicate_clusters") if has_real(recipe) else ())]
    needed += ["selection"] if recipe.selection else []
    there = there and all(store.current(asset) for asset in needed)
    found = supplies(Workspace(store, recipe)) if there else expected_supplies(recipe, store)
    shares = allocate(found, recipe.mixture)
    size = sum(share.target for share in shares.values())
    basis = "of the documents that are there" if there else "of the answers that are expected, nothing dropped"
    headers = ("source", "tokens", "at most", "gives", "share", "epochs", "bound that is reached")
    table = Table(*headers, title=f"{recipe.name}: mixture, {basis}")
    out = "max_epochs" if recipe.mixture.fill else "max_epochs: it sets the size"
    bounds = {"epochs": out, "cap": "max_tokens", None: ""}
    for name in sorted(recipe.mixture.components):
        if (share := shares.get(name)) is None:
            table.add_row(name, f"{found[name].tokens if name in found else 0:,}", "", "0", "", "", "gives nothing")
            continue
        given = (f"{share.target:,}", f"{share.target / size:.2%}", f"{share.epochs:.2f}")
        table.add_row(name, f"{share.supply.tokens:,}", f"{share.most:,}", *given, bounds[share.limits])
    table.add_row(
        "[bold]all[/]", f"{sum(one.tokens for one in found.values()):,}", "", f"[bold]{size:,}[/]", "", "", ""
    )
    unknown = sorted(source.name for source in recipe.real.sources if source.name not in found)
    if unknown and not there:
        table.caption = f"not counted, as they were not read yet and have no expected_tokens: {', '.join(unknown)}"
    if not recipe.mixture.stages:
        return [table]
    stages = Table("stage", *shares, "tokens", title="stages")
    for number, stage in enumerate(recipe.mixture.stages):
        tokens = [share.tokens[number] for share in shares.values()]
        stages.add_row(stage.name, *(f"{count:,}" for count in tokens), f"{sum(tokens):,}")
    return [table, stages]


def expected_supplies(recipe: Recipe, store: CorpusStore) -> dict[str, Supply]:
    """Tokens by source, and by the factor of their template's audience and format, from the forecast of answers; of
    real text those that were read, or its `expected_tokens`."""
    templates, factors = used_templates(recipe), recipe.mixture.factors
    found = forecast(recipe, uses_of(recipe, templates), _counted(recipe, store)[0], measured(recipe, store))
    tokens: dict[str, Counter[float]] = defaultdict(Counter)
    for line in found.lines:
        factor = factors.audience.get(line.cell.audience, 1.0) * factors.format.get(line.cell.format, 1.0)
        tokens[line.cell.source][factor] += round(line.tokens * found.samples)
    generated = {source: Supply(dict(by_factor)) for source, by_factor in tokens.items()}
    eligible = store.current(ELIGIBLE) if has_real(recipe) else None
    if eligible is None:
        real = {source.name: source.expected_tokens for source in recipe.real.sources}
    else:
        real = {row["source"]: row["tokens"] for row in eligible.manifest.summary["sources"]}
    return generated | {source: Supply({1.0: count}) for source, count in real.items() if count}


def _prompts(recipe: Recipe, found: Forecast, basis: str) -> Table:
    table = Table(
        "source", "audience", "format", "prompts", "tokens each", "output tokens", title=f"{recipe.name}: prompts"
    )
    prompts: Counter[tuple[str, str, str]] = Counter()
    tokens: Counter[tuple[str, str, str]] = Counter()
    marks: dict[tuple[str, str, str], set[bool]] = defaultdict(set)
    for line in found.lines:
        key = (line.cell.source, line.cell.audience, line.cell.format)
        prompts[key] += line.prompts
        tokens[key] += round(line.tokens * found.samples)
        marks[key].add(line.measured)
    for key in sorted(key for key in prompts if prompts[key]):
        each = tokens[key] / prompts[key] / found.samples
        table.add_row(
            *key, f"{prompts[key]:,}", f"{each:,.0f}{'' if marks[key] == {True} else '?'}", f"{tokens[key]:,}"
        )
    table.add_row("[bold]all[/]", "", "", f"[bold]{found.prompts:,}[/]", "", f"[bold]{round(found.tokens):,}[/]")
    table.caption = f"{basis}; ? = as long as the template asks for, not measured"
    return table


def _sources(counted: Sequence[tuple[Cell, int]]) -> Table:
    table = Table(
        "mix", "source", "seeds", "prompts", "per seed", "at most", "used", title="how far the sources suffice"
    )
    cells: dict[tuple[str, str], list[tuple[Cell, int]]] = defaultdict(list)
    for cell, count in counted:
        cells[cell.mix, cell.source].append((cell, count))
    for (mix, source), mine in cells.items():
        seeds, most = max(cell.seeds for cell, _ in mine), sum(cell.seeds for cell, _ in mine)
        prompts = sum(count for _, count in mine)
        used = (f"{prompts / seeds:.2f}", f"{most:,}", f"{prompts / most:.0%}") if seeds else ("", "0", "")
        table.add_row(mix, source, f"{seeds:,}", f"{prompts:,}", *used)
    table.caption = "at most: every template of every seed (segment, unit), once"
    return table


def _totals(found: Forecast) -> Table:
    table = Table(show_header=False, box=None)
    table.add_row("prompts", f"{found.prompts:,}")
    table.add_row("output tokens", f"{round(found.tokens):,}")
    if found.speed is None or found.hours is None or found.cost is None:
        table.add_row("device hours", "unknown: set budget.tokens_per_second in the recipe, or generate a bucket")
        return table
    speed = found.speed
    table.add_row("device hours", f"{found.hours:,.1f} at {speed.tokens_per_second:,.0f} tokens/s ({speed.device})")
    table.add_row("cost", f"{found.cost:,.2f} at {found.price:g} an hour")
    table.add_row("speed from", speed.source)
    return table


def _asking(asked: Sequence[Ahead], found: Forecast) -> Table:
    table = Table("", "of", "there already", "to ask about", "requests", "output tokens", title="asked beside")
    for one in asked:
        if one.count is None:
            table.add_row(one.asset, one.what, "", "unknown", "unknown", "unknown")
            continue
        requests = f"{one.least:,}" if one.least == one.most else f"{one.least:,} to {one.most:,}"
        there, new = f"{one.there:,}", f"{one.count - one.there:,}"
        table.add_row(one.asset, one.what, there, new, requests, f"{one.tokens:,}")
    tokens = sum(one.tokens for one in asked)
    table.caption = "at most, where every answer must be asked for again and is as long as it may be"
    if found.speed is not None:
        table.caption += f": {tokens / found.speed.tokens_per_second / 3600:,.1f} device hours"
    return table


def _work(recipe: Recipe, store: CorpusStore) -> Table:
    table = Table("bucket", "documents", "there already", "to generate", title="generation")
    totals: Counter[str] = Counter()
    for name in [bucket_name(index) for index in range(recipe.buckets)]:
        wanted, there = documents_of(recipe, store, name)
        table.add_row(name, str(wanted), str(there), str(wanted - there))
        totals.update(wanted=wanted, there=there)
    to_do = totals["wanted"] - totals["there"]
    table.add_row("[bold]all[/]", str(totals["wanted"]), str(totals["there"]), f"[bold]{to_do}[/]")
    return table
