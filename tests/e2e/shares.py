"""What a recipe wants of the seeds that there are, counted row by row, against what was drawn."""

from collections import Counter, defaultdict

from cosmo_assets.prompts.draw import draw
from cosmo_assets.prompts.items import open_inputs
from cosmo_assets.prompts.mixes import used_templates
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.seeds.licences import refusal
from cosmo_assets.stage import silent
from cosmo_resources.storage.store import CorpusStore

Shares = dict[tuple[str, str], float]


def wanted_shares(store: CorpusStore, recipe: Recipe) -> Shares:
    """The shares by kind, audience and format, had every seed as many prompts of a template as its `per_seed` says."""
    templates = used_templates(recipe)
    cut = set(store.open("seed_extracts").table(["seed_id"])["seed_id"].to_pylist())
    units = {row["seed_id"]: len(row["units"]) for row in store.open("course_outlines").table().to_pylist()}
    excluded = {row["seed_id"]: row["excluded"] for row in store.open("seed_topics").table().to_pylist()}
    rows = store.open("seed_documents").table(["seed_id", "kind", "licence"]).to_pylist()
    allowed = [row for row in rows if not excluded[row["seed_id"]] and not refusal(row["licence"], recipe.licences)]
    prompts: dict[tuple[str, str], float] = defaultdict(float)
    total = 0.0
    for mix in recipe.prompts.mixes.values():
        for use in mix.templates:
            template, kind = templates[use.template], str(mix.kind)
            suited = [row["seed_id"] for row in allowed if row["kind"] == kind]
            if template.extract_tokens:
                suited = [seed for seed in suited if seed in cut]
            items = sum(units.get(seed) or 1 for seed in suited) if "unit" in template.uses else len(suited)
            count = use.per_seed * items
            total += count
            for key in (("kind", kind), ("audience", template.audience), ("format", template.format)):
                prompts[key] += count
    return {key: count / total for key, count in prompts.items()}


def drawn_shares(store: CorpusStore, recipe: Recipe) -> Shares:
    """The shares of what a recipe draws from the seeds, whatever table is there."""
    plan = draw(open_inputs(store, recipe), recipe, silent)
    prompts: Counter[tuple[str, str]] = Counter()
    cells = [use for use in plan.uses for _ in use.sources]
    for use, count in zip(cells, plan.quotas, strict=True):
        template = use.template
        for key in (("kind", use.view.kind), ("audience", template.audience), ("format", template.format)):
            prompts[key] += count
    total = sum(plan.quotas)
    return {key: count / total for key, count in prompts.items()}


def stored_shares(store: CorpusStore) -> Shares:
    """The shares of the rows of the prompt table."""
    rows = store.open("prompt_table").table(["kind", "audience", "format"]).to_pylist()
    counted = Counter((column, row[column]) for row in rows for column in ("kind", "audience", "format"))
    return {key: count / len(rows) for key, count in counted.items()}


def check_shares(wanted: Shares, found: Shares) -> None:
    """Every one is there, within two points."""
    assert found.keys() == wanted.keys()
    off = {key: round(found[key] - share, 4) for key, share in wanted.items()}
    assert max(map(abs, off.values())) <= 0.02, off


def check_few_near_duplicates(store: CorpusStore) -> None:
    """Less than one prompt in a hundred was one; and what is stored has none by the plainest test there is."""
    table = store.open("prompt_table")
    found = table.manifest.summary["near_duplicates"]
    rendered, dropped = (sum(row[name] for row in found) for name in ("rendered", "near_duplicates"))
    assert dropped < 0.01 * rendered, found
    rows = table.table(["template", "prompt"]).to_pylist()
    bare = [(row["template"], " ".join(row["prompt"].split())) for row in rows]
    assert len(set(bare)) == len(bare)
