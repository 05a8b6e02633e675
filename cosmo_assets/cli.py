"""The `cosmo` command.

Belongs here: options, printing, exit codes. Does not belong here: anything that a test or the UI would want without a
terminal; each command calls one function that is importable elsewhere.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cosmo_resources.errors import CosmoError

if TYPE_CHECKING:
    from cosmo_assets.recipe import Recipe
    from cosmo_resources.deployments import Settings
    from cosmo_resources.storage.store import CorpusStore

# Dagster, polars and the rest are imported inside the commands: `cosmo --help` answers at once.

console = Console()


class Commands(click.Group):
    """A group whose commands end on a `CosmoError` with its message and exit code 1, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CosmoError as error:
            fail(error)


def fail(error: CosmoError) -> NoReturn:
    stderr = Console(stderr=True, soft_wrap=True)
    stderr.print(f"[bold red]error[/] {_escaped(error.message)}", highlight=False)
    stderr.print(f"[bold]remedy[/] {_escaped(error.remedy)}", highlight=False)
    sys.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--recipe", "-r", help="Recipe: a shipped name or a .yaml file. Default: $COSMO_RECIPE, else demo.")
@click.option("--data", type=click.Path(path_type=Path), help="Data root. Default: $COSMO_DATA, else .cosmo/data.")
def main(recipe: str | None, data: Path | None) -> None:
    """Seed text in, a traceable synthetic pretraining corpus out.

    A corpus is described by a recipe and lies under the data root; `cosmo run` builds it, `cosmo trace` tells where any
    of its tokens comes from.
    """
    if recipe:
        os.environ["COSMO_RECIPE"] = recipe if not recipe.endswith((".yaml", ".yml")) else str(Path(recipe).absolute())
    if data:
        os.environ["COSMO_DATA"] = str(data.absolute())


@main.command()
@click.option("--asset", "-a", "assets", multiple=True, help="Only this asset; may be repeated. Default: all.")
@click.option("--bucket", "-b", "buckets", multiple=True, help="Only this bucket; may be repeated. Default: all.")
@click.option("--refit", is_flag=True, help="Fit the clusters anew; every topic may move, and prompts with them.")
def run(assets: tuple[str, ...], buckets: tuple[str, ...], refit: bool) -> None:
    """Build the corpus: every asset, each bucket; what is built already is not built again."""
    from cosmo_assets.automation import materialize, open_instance, plan_runs
    from cosmo_assets.planning import summary_tables

    chosen, recipe, store = _corpus()
    runs = plan_runs(recipe, assets, buckets)
    with open_instance(chosen) as instance, RunProgress(len(runs)) as bar:
        warnings = materialize(
            recipe,
            chosen,
            instance,
            runs,
            refit=refit,
            started=lambda run: bar.begin(run.assets, run.bucket),
            progress=bar,
        )
    for table in summary_tables(recipe, store):
        console.print(table)
    for warning in warnings:
        console.print(f"[yellow]check warns[/] {_escaped(warning)}", highlight=False)


@main.command()
def plan() -> None:
    """What the prompt table asks for: prompts by source, audience and format, tokens at most, and how many of their
    documents exist. After a change to seeds or templates, build the table first: cosmo run --asset prompt_table."""
    from cosmo_assets.planning import plan_tables

    _, recipe, store = _corpus()
    for table in plan_tables(recipe, store):
        console.print(table)


@main.command()
@click.option("--shard", "-s", required=True, help="Shard: its file name or its number.")
@click.option("--token", "-t", required=True, type=int, help="Position of the token in the shard.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def trace(shard: str, token: int, as_json: bool) -> None:
    """Where a token comes from: its document, prompt, template, topic, seed, model, sampling, and the versions."""
    import json
    from dataclasses import asdict

    from cosmo_assets.lineage.trace import trace as ask

    _, _, store = _corpus()
    found = ask(store, shard, token)
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False, indent=1))
        return
    span = found.span
    rows = {
        "token": f"{found.token} of {found.shard} (id {found.token_id}), document at {span['start']}-{span['end']}",
        "document": span["doc_id"],
        "text": _short(found.token_text),
        "model": f"{span['model']} ({span['model_revision']}), sampling {span['sampling'][:12]}, "
        f"seed {found.document['request_seed']}, finished by {found.document['finish_reason']}",
        "prompt": f"{span['prompt_id']}  {span['template']} v{span['template_version']}, "
        f"{span['format']} for {span['audience']}",
        "prompt text": _short(found.prompt["prompt"]),
        "topic": f"{span['topic']} (cluster {span['cluster_id']})",
        "seed": f"{span['seed_id']}  {span['source']} {found.seed['native_id']}, {span['licence']}",
        "seed text": _short(found.seed["text"]),
        "versions": "\n".join(f"{asset} {version}" for asset, version in found.manifests.items()),
        "Dagster run": found.run_id,
    }
    table = Table(show_header=False, box=None, padding=(0, 1))
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/]", _escaped(value))
    console.print(table)


@main.command()
@click.option("--prompt", help="Id of a prompt, or its first characters.")
@click.option("--seed", help="Id of a seed, or its first characters.")
@click.option("--doc", help="Id of a document, or its first characters.")
@click.option("--source", help="Source of the seeds.")
@click.option("--topic", help="Topic.")
@click.option("--template", help="Template.")
@click.option("--model", help="Model.")
@click.option("--licence", help="Licence of the seeds.")
@click.option("--limit", default=20, show_default=True, help="Spans to print.")
def tokens(limit: int, **keys: str | None) -> None:
    """Which tokens come from something: their spans in the shards, and their total."""
    from cosmo_assets.lineage.trace import tokens as ask

    given = {name: value for name, value in keys.items() if value is not None}
    if len(given) != 1:
        raise click.UsageError("give exactly one of " + ", ".join(f"--{name}" for name in keys))
    ((name, value),) = given.items()
    column: Any = {"prompt": "prompt_id", "seed": "seed_id", "doc": "doc_id"}.get(name, name)
    _, _, store = _corpus()
    spans = ask(store, column, value)
    table = Table("shard", "start", "end", "tokens", "document", "prompt", title=f"{name} {_escaped(value)}")
    for row in spans.head(limit).iter_rows(named=True):
        size = row["end"] - row["start"]
        table.add_row(
            row["shard"], *map(str, (row["start"], row["end"], size)), row["doc_id"][:12], row["prompt_id"][:12]
        )
    console.print(table)
    total = int((spans["end"] - spans["start"]).sum())
    console.print(f"{total} tokens in {spans.height} spans of {spans['doc_id'].n_unique()} documents")


@main.command()
def adopt() -> None:
    """Tell Dagster what lies on disk: rebuilds the record of a new or pruned instance from the manifests."""
    from cosmo_assets.adopt import adopt as adopt_all
    from cosmo_assets.automation import open_instance

    chosen, recipe, store = _corpus()
    with open_instance(chosen) as instance:
        adopted, damaged = adopt_all(recipe, store, instance)
    for manifest in adopted:
        console.print(f"adopted {manifest.asset} {manifest.bucket} {manifest.version}", highlight=False)
    console.print(f"{len(adopted)} adopted, {len(damaged)} damaged")
    if damaged:
        fail(damaged[0])


@main.command()
@click.option("--deep", is_flag=True, help="Also read every file and compare its checksum.")
def doctor(deep: bool) -> None:
    """What is missing or damaged on this machine, and the command that mends it."""
    from cosmo_assets.doctor import examine

    findings = examine(os.environ, deep=deep)
    for finding in findings:
        mark = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "bad": "[red]bad [/]"}[finding.state]
        console.print(
            f"{mark} {_escaped(finding.subject)}: {_escaped(finding.detail)}", highlight=False, soft_wrap=True
        )
        if finding.remedy:
            console.print(f"       remedy: {_escaped(finding.remedy)}", highlight=False, soft_wrap=True)
    sys.exit(1 if any(finding.state == "bad" for finding in findings) else 0)


def _corpus() -> "tuple[Settings, Recipe, CorpusStore]":
    from cosmo_assets.recipe import load_recipe
    from cosmo_resources.deployments import settings
    from cosmo_resources.storage.store import CorpusStore

    chosen = settings(os.environ)
    recipe = load_recipe(chosen.recipe)
    return chosen, recipe, CorpusStore(chosen.data / recipe.name)


class RunProgress:
    """Two bars: runs of the whole, and rows of the asset at work."""

    def __init__(self, runs: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console)
        self._runs = self._progress.add_task("runs", total=runs)
        self._asset = self._progress.add_task("", total=None, visible=False)
        self._begun = 0

    def begin(self, assets: tuple[str, ...], bucket: str | None) -> None:
        what = assets[0] if len(assets) == 1 else f"{assets[0]} … {assets[-1]}"
        self._progress.update(self._runs, completed=self._begun, description=f"{what} {bucket or ''}".strip())
        self._progress.update(self._asset, visible=False)
        self._begun += 1

    def __call__(self, asset: str, done: int, total: int, unit: str) -> None:
        self._progress.update(self._asset, visible=True, completed=done, total=total, description=f"  {asset}, {unit}")

    def __enter__(self) -> "RunProgress":
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._progress.update(self._runs, completed=self._begun, description="done")
        self._progress.update(self._asset, visible=False)
        self._progress.stop()


def _short(text: str, limit: int = 400) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
