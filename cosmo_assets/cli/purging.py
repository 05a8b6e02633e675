"""Taking documents out of a corpus: `cosmo purge`.

Belongs here: its options, and what it prints. Does not belong here: what goes with what, or the record
(`cosmo_assets.withdrawal`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cosmo_assets.cli.terminal import console, open_corpus, print_json

if TYPE_CHECKING:
    from cosmo_assets.recipe.recipe import Recipe
    from cosmo_resources.storage.store import CorpusStore


@click.command()
@click.option("--doc", multiple=True, help="Id of a document, or its first characters.")
@click.option("--prompt", multiple=True, help="Id of a prompt, or its first characters.")
@click.option("--seed", multiple=True, help="Id of a seed, or its first characters.")
@click.option("--source", multiple=True, help="Source of the seeds.")
@click.option("--topic", multiple=True, help="Topic.")
@click.option("--template", multiple=True, help="Template.")
@click.option("--model", multiple=True, help="Model.")
@click.option("--licence", multiple=True, help="Licence of the seeds.")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A list: KEY VALUE lines.")
@click.option("--key", help="The lines of the list are values of this key.")
@click.option("--apply", is_flag=True, help="Record it. Without: only show what goes.")
@click.option("--why", default="", help="Why; --apply needs it.")
@click.option("--who", default="", help="Who decides. Default: the user of this machine.")
@click.option("--restore", is_flag=True, help="End these withdrawals instead of making them.")
@click.option("--unseen", is_flag=True, help="Names may be of what is not in the corpus yet.")
@click.option("--list", "listed", is_flag=True, help="Print the record, and end.")
@click.option("--json", "as_json", is_flag=True, help="What goes (or the list) as JSON; the list as --file reads it.")
def purge(
    file: Path | None,
    key: str | None,
    apply: bool,
    why: str,
    who: str,
    restore: bool,
    unseen: bool,
    listed: bool,
    as_json: bool,
    **named: tuple[str, ...],
) -> None:
    """Take documents out of the corpus for good: all that come from a seed, source, topic, ... are left out of the next
    shards and of all later ones, also those that are generated later. Nothing is generated again, no other document
    changes. First shows which tokens go; --apply records it, with who and why, and `cosmo run` then builds the corpus
    without them.
    """
    from cosmo_assets.withdrawal import purge as purging
    from cosmo_assets.withdrawal import record
    from cosmo_assets.withdrawal.keys import Item, read_items
    from cosmo_assets.withdrawal.show import purge_tables

    chosen, recipe, store = open_corpus()
    if listed:
        _print_record(recipe, store, as_json)
        return
    given = [Item(name, value) for name, values in named.items() for value in values]
    given += read_items(file, key) if file else []
    if not given:
        raise click.UsageError("say what: " + ", ".join(f"--{name}" for name in named) + ", or --file")
    items = purging.resolve(store, recipe, given, unseen=unseen or restore)
    found = purging.measure(store, items)
    for table in () if as_json else purge_tables(found):
        console.print(table)
    if as_json:
        print_json(found.as_json())
    elif not apply:
        console.print("nothing was changed: --apply --why REASON records it")
    if apply:
        from cosmo_assets.automation import materialize, open_instance, plan_runs
        from cosmo_assets.stage import Workspace

        note = record.Note(why, who) if who else record.Note(why)
        space = Workspace(store, recipe)
        made = record.restore(space, items, note) if restore else record.withdraw(space, found.sizes, note)
        with open_instance(chosen) as instance:  # so that the graph shows it
            materialize(recipe, chosen, instance, plan_runs(recipe, [record.ASSET]))
        if not as_json:
            console.print(f"{len(made)} entries recorded: `cosmo run` builds the corpus that follows")


def _print_record(recipe: "Recipe", store: "CorpusStore", as_json: bool) -> None:
    """All withdrawals, or for programs those in force, a line for each."""
    import json
    from dataclasses import asdict

    from cosmo_assets.withdrawal import record
    from cosmo_assets.withdrawal.show import record_table

    if as_json:
        for entry in record.entries(store, record.IN_FORCE):
            click.echo(json.dumps(asdict(entry), ensure_ascii=False))
    else:
        console.print(record_table(record.entries(store), f"{recipe.name}: withdrawals"))
