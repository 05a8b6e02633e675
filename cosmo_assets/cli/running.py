"""Building a corpus, and watching it: `cosmo run`, `cosmo watch`.

Belongs here: their options, and when they print what. Does not belong here: the order of runs
(`cosmo_assets.automation`), or the tables (`run_tables`, `watch_screen`).
"""

import click

from cosmo_assets.cli.terminal import console, open_corpus, warn


@click.command()
@click.option("--asset", "-a", "assets", multiple=True, help="Only this asset; may be repeated. Default: all.")
@click.option("--bucket", "-b", "buckets", multiple=True, help="Only this bucket; may be repeated. Default: all.")
@click.option(
    "--refit",
    is_flag=True,
    help="Fit anew what is pinned: clusters, and with them topics and prompts; models.",
)
@click.option("--retry-refused", is_flag=True, help="Ask again what a server would not take.")
def run(assets: tuple[str, ...], buckets: tuple[str, ...], refit: bool, retry_refused: bool) -> None:
    """Build the corpus: every asset, each bucket; what is built already is not built again."""
    from cosmo_assets.automation import materialize, open_instance, plan_runs
    from cosmo_assets.cli.progress import RunProgress
    from cosmo_assets.cli.run_tables import change_table, summary_tables

    chosen, recipe, store = open_corpus()
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
    warn(warnings)


@click.command()
@click.option("--once", is_flag=True, help="Print it once and end.")
@click.option("--every", default=2.0, show_default=True, help="Seconds between two looks.")
def watch(once: bool, every: float) -> None:
    """Generation under way: buckets, servers, tokens per second, device hours, cost and energy. Reads the disk alone,
    so it may run anywhere that sees the data; ends with Ctrl-C."""
    import time

    from rich.live import Live

    from cosmo_assets.cli.watch_screen import screen
    from cosmo_resources.deployments import POOLS

    chosen, recipe, store = open_corpus()
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
