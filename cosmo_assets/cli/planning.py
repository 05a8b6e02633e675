"""Before a corpus is built: `cosmo plan`, `preview`, `pilot` and `lint`.

Belongs here: their options, and what they print. Does not belong here: the tables of a plan (`plan_tables`), rendering
prompts (`cosmo_assets.prompts`), or asking a model (`cosmo_assets.pilots`).
"""

import os
import sys
from pathlib import Path

import click
from rich.markup import escape

from cosmo_assets.cli.terminal import choose_recipe, console, open_corpus, warn
from cosmo_resources.errors import CosmoError


@click.command()
@click.argument("recipe", required=False)
@click.option("--mixture", is_flag=True, help="Only the mixture: what each source can give, and how large it can be.")
def plan(recipe: str | None, mixture: bool) -> None:
    """What a recipe asks for, before anything is spent: prompts and expected tokens by source, audience and format,
    device hours and cost, how far the sources suffice, what the model is asked beside, and how many documents exist
    already.

    RECIPE is a shipped name or a .yaml file; without it, the one that is set. The draw is made anew from the seeds that
    are there, so a change of the recipe or of a template shows at once.
    """
    from cosmo_assets.cli.plan_tables import mixture_tables, plan_tables

    if recipe:
        choose_recipe(recipe)
    _, found, store = open_corpus()
    for table in mixture_tables(found, store) if mixture else plan_tables(found, store):
        console.print(table)


@click.command()
@click.option("--template", "-t", "templates", multiple=True, help="This template, or a .md file; may be repeated.")
@click.option("--format", "-f", "form", help="Templates of the recipe with this format.")
@click.option("--audience", "-a", help="Templates of the recipe for this audience.")
@click.option("--n", default=3, show_default=True, help="Prompts of each template.")
def preview(templates: tuple[str, ...], form: str | None, audience: str | None, n: int) -> None:
    """Rendered prompts, from the seeds that are there; asks no model."""
    from rich.panel import Panel

    from cosmo_assets.prompts.mixes import used_templates
    from cosmo_assets.prompts.sampling import find_template, sample_prompts

    _, recipe, store = open_corpus()
    chosen = [find_template(recipe, name) for name in templates] or list(used_templates(recipe).values())
    chosen = [one for one in chosen if form in (None, one.format) and audience in (None, one.audience)]
    if not chosen:
        raise CosmoError(
            "no template of the recipe fits", remedy="leave out --format or --audience, or name a --template"
        )
    for template in chosen:
        for sample in sample_prompts(store, recipe, template, n):
            title = f"{template.id} {template.version}: {template.format} for {template.audience}"
            subtitle = f"{sample.source} seed {sample.seed_id[:12]}, topic {sample.topic or 'none'}"
            console.print(Panel(escape(sample.prompt), title=title, subtitle=escape(subtitle), title_align="left"))


@click.command()
@click.option("--template", "-t", "templates", multiple=True, help="This template, or a .md file; may be repeated.")
@click.option("--n", default=200, show_default=True, help="Prompts of each template.")
@click.option("--model", default="", help="Another model than the recipe's, by the name that its server knows.")
@click.option("--revision", default="unknown", show_default=True, help="Its revision.")
@click.option("--endpoint", default="", help="Where it is served: a base URL that ends in /v1.")
def pilot(templates: tuple[str, ...], n: int, model: str, revision: str, endpoint: str) -> None:
    """Generate answers to a few prompts of a template, and show how varied they are, beside earlier versions of the
    template and other models. Answers are kept: the same again asks nothing."""
    from rich.table import Table

    from cosmo_assets.automation import Run, materialize, open_instance
    from cosmo_assets.cli.progress import RunProgress
    from cosmo_assets.pilots.assets import row_of
    from cosmo_assets.pilots.pilot import ASSET, PAGE

    chosen, recipe, store = open_corpus()
    names = [str(Path(name).absolute()) if name.endswith(".md") else name for name in templates]
    config = {"templates": names, "count": n, "model": model, "revision": revision, "endpoint": endpoint}
    with open_instance(chosen) as instance, RunProgress(1) as bar:
        runs = [Run((ASSET,), None, config)]
        started = lambda run: bar.begin(run.assets, run.bucket)  # noqa: E731
        warnings = materialize(recipe, chosen, instance, runs, started=started, progress=bar)
    dataset = store.open(ASSET)
    rows = [row_of(variant) for variant in dataset.manifest.summary["variants"]]
    table = Table("", *(escape(row.pop("variant")) for row in rows), title=f"{recipe.name}: pilot")
    for figure in rows[0]:
        table.add_row(figure, *("" if row[figure] is None else escape(str(row[figure])) for row in rows))
    console.print(table)
    warn(warnings)
    console.print(f"page {dataset.folder / PAGE}", highlight=False, soft_wrap=True)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False))
def lint(files: tuple[str, ...]) -> None:
    """Read templates as an editor would: spelling, quotes, what they ask for. FILES are .md files; without any, the
    shipped templates and those of the recipe's folders."""
    from cosmo_assets.prompts.lint import lint as read
    from cosmo_assets.prompts.templates import load_templates, read_template
    from cosmo_assets.recipe.recipe import load_recipe
    from cosmo_resources.deployments import settings

    if files:
        found = [read_template(Path(name)) for name in files]
    else:
        recipe = load_recipe(settings(os.environ).recipe)
        found = list(load_templates([recipe.folder / folder for folder in recipe.prompts.template_folders]).values())
    findings = [(template.id, finding) for template in found for finding in read(template)]
    for name, finding in findings:
        line = f", line {finding.line}" if finding.line else ""
        console.print(f"[yellow]{finding.rule}[/] {name}{line}: {escape(finding.problem)}", highlight=False)
    console.print(f"{len(found)} templates, {len(findings)} findings")
    sys.exit(1 if findings else 0)
