"""The machine: `cosmo doctor`, which looks at it, and `cosmo tune`, which makes the most of it.

Belongs here: their options, and what they print. Does not belong here: examinations and the search
(`cosmo_assets.operations.doctor`, `cosmo_assets.operations.tuning`).
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from cosmo_assets.cli.terminal import console, open_corpus
from cosmo_resources.errors import CosmoError

if TYPE_CHECKING:
    from cosmo_assets.operations.tuning import Trial
    from cosmo_resources.examination.findings import Finding


@click.command()
@click.option("--deep", is_flag=True, help="Also read every file and compare its checksum.")
@click.option("--slurm", is_flag=True, help="Also examine the cluster of the deployment file, by two small jobs.")
@click.option("--gpus", is_flag=True, help="With --slurm: the jobs ask for the GPUs of a server, and look at them.")
def doctor(deep: bool, slurm: bool, gpus: bool) -> None:
    """What is missing or damaged on this machine, and the command that mends it. With --slurm, what stands between
    this machine and a cluster that generates."""
    import signal

    from cosmo_assets.operations.doctor import examine, examine_slurm

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
    console.print(f"{mark} {escape(finding.subject)}: {escape(finding.detail)}", highlight=False, soft_wrap=True)
    if finding.remedy:
        console.print(f"       remedy: {escape(finding.remedy)}", highlight=False, soft_wrap=True)
    return finding.state == "bad"


@click.command()
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
    from cosmo_assets.operations.tuning import Bench, in_flight, read_grid, sample_requests
    from cosmo_assets.operations.tuning import tune as search
    from cosmo_resources.deployment_file import read_deployment, write_tuned

    grid = read_grid(tries) if tries else None
    chosen, recipe, store = open_corpus()
    if not chosen.deployment.endswith((".yaml", ".yml")):
        raise CosmoError(
            f"COSMO_DEPLOYMENT is {chosen.deployment!r}, no deployment file",
            remedy="copy one from deploy/slurm, set COSMO_DEPLOYMENT to it, and run this again",
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
    from rich.table import Table

    line = Table.grid(padding=(0, 1))
    for width, justify in ((30, "left"), (9, "right"), (8, "right"), (None, "left")):
        line.add_column(width=width, justify=justify, overflow="fold")  # type: ignore[arg-type]
    line.add_row(*map(escape, cells))
    console.print(line, highlight=False)
