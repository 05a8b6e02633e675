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
    from cosmo_assets.tuning import Trial
    from cosmo_resources.deployments import Settings
    from cosmo_resources.examination.findings import Finding
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
@click.option("--retry-refused", is_flag=True, help="Ask again what a server would not take.")
def run(assets: tuple[str, ...], buckets: tuple[str, ...], refit: bool, retry_refused: bool) -> None:
    """Build the corpus: every asset, each bucket; what is built already is not built again."""
    from cosmo_assets.automation import materialize, open_instance, plan_runs
    from cosmo_assets.planning import change_table, summary_tables

    chosen, recipe, store = _corpus()
    runs = plan_runs(recipe, assets, buckets)
    before = store.current_manifest("corpus_report")
    with open_instance(chosen) as instance, RunProgress(len(runs)) as bar:
        warnings = materialize(
            recipe,
            chosen,
            instance,
            runs,
            refit=refit,
            retry_refused=retry_refused,
            started=lambda run: bar.begin(run.assets, run.bucket),
            progress=bar,
        )
    for table in summary_tables(recipe, store):
        console.print(table)
    if (changed := change_table(store, before)) is not None:
        console.print(changed)
    for warning in warnings:
        console.print(f"[yellow]check warns[/] {_escaped(warning)}", highlight=False)


@main.command()
@click.argument("recipe", required=False)
def plan(recipe: str | None) -> None:
    """What a recipe asks for, before anything is spent: prompts and expected tokens by source, audience and format,
    device hours and cost, how far the sources suffice, and how many documents exist already.

    RECIPE is a shipped name or a .yaml file; without it, the one that is set. The draw is made anew from the seeds that
    are there, so a change of the recipe or of a template shows at once.
    """
    from cosmo_assets.planning import plan_tables

    if recipe:
        os.environ["COSMO_RECIPE"] = recipe if not recipe.endswith((".yaml", ".yml")) else str(Path(recipe).absolute())
    _, found, store = _corpus()
    for table in plan_tables(found, store):
        console.print(table)


@main.command()
@click.option("--template", "-t", "templates", multiple=True, help="This template, or a .md file; may be repeated.")
@click.option("--format", "-f", "form", help="Templates of the recipe with this format.")
@click.option("--audience", "-a", help="Templates of the recipe for this audience.")
@click.option("--n", default=3, show_default=True, help="Prompts of each template.")
def preview(templates: tuple[str, ...], form: str | None, audience: str | None, n: int) -> None:
    """Rendered prompts, from the seeds that are there; asks no model."""
    from rich.panel import Panel

    from cosmo_assets.prompts.mixes import used_templates
    from cosmo_assets.prompts.sampling import find_template, sample_prompts

    _, recipe, store = _corpus()
    chosen = [find_template(recipe, name) for name in templates] or list(used_templates(recipe).values())
    chosen = [one for one in chosen if form in (None, one.format) and audience in (None, one.audience)]
    if not chosen:
        fail(
            CosmoError(
                "no template of the recipe fits", remedy="leave out --format or --audience, or name a --template"
            )
        )
    for template in chosen:
        for sample in sample_prompts(store, recipe, template, n):
            title = f"{template.id} {template.version}: {template.format} for {template.audience}"
            subtitle = f"{sample.source} seed {sample.seed_id[:12]}, topic {sample.topic or 'none'}"
            console.print(Panel(_escaped(sample.prompt), title=title, subtitle=_escaped(subtitle), title_align="left"))


@main.command()
@click.option("--template", "-t", "templates", multiple=True, help="This template, or a .md file; may be repeated.")
@click.option("--n", default=200, show_default=True, help="Prompts of each template.")
@click.option("--model", default="", help="Another model than the recipe's, by the name that its server knows.")
@click.option("--revision", default="unknown", show_default=True, help="Its revision.")
@click.option("--endpoint", default="", help="Where it is served: a base URL that ends in /v1.")
def pilot(templates: tuple[str, ...], n: int, model: str, revision: str, endpoint: str) -> None:
    """Generate answers to a few prompts of a template, and show how varied they are, beside earlier versions of the
    template and other models. Answers are kept: the same again asks nothing."""
    from cosmo_assets.automation import Run, materialize, open_instance
    from cosmo_assets.pilots.assets import row_of
    from cosmo_assets.pilots.pilot import ASSET, PAGE

    chosen, recipe, store = _corpus()
    names = [str(Path(name).absolute()) if name.endswith(".md") else name for name in templates]
    config = {"templates": names, "count": n, "model": model, "revision": revision, "endpoint": endpoint}
    with open_instance(chosen) as instance, RunProgress(1) as bar:
        runs = [Run((ASSET,), None, config)]
        started = lambda run: bar.begin(run.assets, run.bucket)  # noqa: E731
        warnings = materialize(recipe, chosen, instance, runs, started=started, progress=bar)
    dataset = store.open(ASSET)
    rows = [row_of(variant) for variant in dataset.manifest.summary["variants"]]
    table = Table("", *(_escaped(row.pop("variant")) for row in rows), title=f"{recipe.name}: pilot")
    for figure in rows[0]:
        table.add_row(figure, *("" if row[figure] is None else _escaped(str(row[figure])) for row in rows))
    console.print(table)
    for warning in warnings:
        console.print(f"[yellow]check warns[/] {_escaped(warning)}", highlight=False)
    console.print(f"page {dataset.folder / PAGE}", highlight=False, soft_wrap=True)


@main.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False))
def lint(files: tuple[str, ...]) -> None:
    """Read templates as an editor would: spelling, quotes, what they ask for. FILES are .md files; without any, the
    shipped templates and those of the recipe's folders."""
    from cosmo_assets.prompts.lint import lint as read
    from cosmo_assets.prompts.templates import load_templates, read_template
    from cosmo_assets.recipe import load_recipe
    from cosmo_resources.deployments import settings

    if files:
        found = [read_template(Path(name)) for name in files]
    else:
        recipe = load_recipe(settings(os.environ).recipe)
        found = list(load_templates([recipe.folder / folder for folder in recipe.prompts.template_folders]).values())
    findings = [(template.id, finding) for template in found for finding in read(template)]
    for name, finding in findings:
        line = f", line {finding.line}" if finding.line else ""
        console.print(f"[yellow]{finding.rule}[/] {name}{line}: {_escaped(finding.problem)}", highlight=False)
    console.print(f"{len(found)} templates, {len(findings)} findings")
    sys.exit(1 if findings else 0)


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
@click.option("--once", is_flag=True, help="Print it once and end.")
@click.option("--every", default=2.0, show_default=True, help="Seconds between two looks.")
def watch(once: bool, every: float) -> None:
    """Generation under way: buckets, servers, tokens per second, device hours, cost and energy. Reads the disk alone,
    so it may run anywhere that sees the data; ends with Ctrl-C."""
    import time

    from rich.live import Live

    from cosmo_assets.watching import screen
    from cosmo_resources.deployments import POOLS

    chosen, recipe, store = _corpus()
    if once:
        console.print(screen(recipe, store, chosen.data / POOLS))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(screen(recipe, store, chosen.data / POOLS), refresh=True)
            try:
                time.sleep(every)
            except KeyboardInterrupt:
                return


@main.command()
@click.option("--model", help="Another model than the file's: a path, or a name that the engine knows.")
@click.option("--n", default=200, show_default=True, help="Prompts of the corpus to measure with.")
@click.option(
    "--try",
    "tries",
    multiple=True,
    metavar="OPTION=VALUE,...",
    help="Try these values of this option, and nothing else; null leaves it out. May be repeated.",
)
def tune(model: str | None, n: int, tries: tuple[str, ...]) -> None:
    """Find the server options that give the most tokens per second on this machine, and write them into the deployment
    file (COSMO_DEPLOYMENT): with the requests in flight that they take, and with --model the model. Starts the server
    once for every value that is tried, and again for each that looks faster; on a cluster, run it on a node of the kind
    that shall serve."""
    from cosmo_assets.tuning import Bench, in_flight, read_grid, sample_requests
    from cosmo_assets.tuning import tune as search
    from cosmo_resources.deployment_file import read_deployment, write_tuned

    grid = read_grid(tries) if tries else None
    chosen, recipe, store = _corpus()
    if not chosen.deployment.endswith((".yaml", ".yml")):
        fail(
            CosmoError(
                f"COSMO_DEPLOYMENT is {chosen.deployment!r}, no deployment file",
                remedy="copy one from deploy/slurm, set COSMO_DEPLOYMENT to it, and run this again",
            )
        )
    file = Path(chosen.deployment)
    site = read_deployment(file)
    other = model if model and model != site.server.model else ""
    spec = site.server.model_copy(update={"model": other, "served_name": "", "revision": ""} if other else {})
    requests = sample_requests(store, recipe, n)
    bench = Bench(spec, requests, chosen.state / "tuning" / spec.name, site.concurrency, site.timeout_seconds)
    _trial_line("tried", "tokens/s", "seconds", "")
    found = search(bench, grid, _told)
    needed = max(in_flight(found.arguments) or 0, site.concurrency)
    if found.arguments == spec.arguments and needed == site.concurrency and not other:
        console.print(f"{file} stays as it is: nothing is faster beyond noise", highlight=False, soft_wrap=True)
        return
    remark = (
        f"{found.rate:,.0f} tokens/s, {found.rate_before:,.0f} before, {spec.name}, "
        f"{len(bench.requests)} prompts of {recipe.name}"
    )
    write_tuned(file, found.arguments, remark, concurrency=needed, model=other or None)
    console.print(f"written to {file}: {remark}", highlight=False, soft_wrap=True)


def _told(trial: "Trial", verdict: str) -> None:
    measured = trial.seconds and trial.error is None
    figures = (f"{trial.tokens_per_second:,.0f}", f"{trial.seconds:.1f}") if measured else ("", "")
    _trial_line(trial.tried, *figures, verdict)


def _trial_line(*cells: str) -> None:
    """A line of a table whose lines come minutes apart."""
    line = Table.grid(padding=(0, 1))
    for width, justify in ((30, "left"), (9, "right"), (8, "right"), (None, "left")):
        line.add_column(width=width, justify=justify, overflow="fold")  # type: ignore[arg-type]
    line.add_row(*map(_escaped, cells))
    console.print(line, highlight=False)


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
@click.option("--slurm", is_flag=True, help="Also examine the cluster of the deployment file, by two small jobs.")
@click.option("--gpus", is_flag=True, help="With --slurm: the jobs ask for the GPUs of a server, and look at them.")
def doctor(deep: bool, slurm: bool, gpus: bool) -> None:
    """What is missing or damaged on this machine, and the command that mends it. With --slurm, what stands between
    this machine and a cluster that generates."""
    import signal

    from cosmo_assets.doctor import examine, examine_slurm

    if gpus and not slurm:
        raise click.UsageError("--gpus needs --slurm")
    if slurm:  # so that its jobs are cancelled, however it is ended
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    bad = False
    with console.status("looking") as status:
        for finding in examine(os.environ, deep=deep):
            bad |= _show(finding)
        for finding in examine_slurm(os.environ, gpus=gpus, told=status.update) if slurm else ():
            bad |= _show(finding)
    sys.exit(1 if bad else 0)


def _show(finding: "Finding") -> bool:
    """Print a finding; whether it is bad."""
    mark = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "bad": "[red]bad [/]"}[finding.state]
    console.print(f"{mark} {_escaped(finding.subject)}: {_escaped(finding.detail)}", highlight=False, soft_wrap=True)
    if finding.remedy:
        console.print(f"       remedy: {_escaped(finding.remedy)}", highlight=False, soft_wrap=True)
    return finding.state == "bad"


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
