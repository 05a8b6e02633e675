"""Where tokens come from, and why versions differ: `cosmo trace`, `tokens`, `lineage` and `diff`.

Belongs here: their options, and what they print. Does not belong here: the answers (`cosmo_assets.lineage`,
`cosmo_assets.comparison`).
"""

import sys
from typing import Any

import click

from cosmo_assets.cli.terminal import console, open_corpus, print_json


@click.command()
@click.option("--shard", "-s", help="Shard: its file name or its number.")
@click.option("--token", "-t", type=int, help="Position of the token in the shard.")
@click.option("--doc", "-d", help="Id of a document, or its first characters.")
@click.option("--text", help="A piece of text, pasted: the documents that hold it. - reads it from the terminal.")
@click.option("--scan", is_flag=True, help="With --text: read all texts, so that short pieces are found as well.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def trace(shard: str | None, token: int | None, doc: str | None, text: str | None, scan: bool, as_json: bool) -> None:
    """Where a token comes from: its document, prompt, template, topic, seed, model, sampling, and the versions.

    Asked by --shard and --token, by --doc, or by --text. A text that stands in one document gives the chain of the
    token at which it begins; of several, their list.
    """
    from cosmo_assets.lineage.show import found_table, found_values, said, trace_table, trace_values
    from cosmo_assets.lineage.trace import Lineage

    given = [shard is not None and token is not None, doc is not None, text is not None]
    if sum(given) != 1 or (shard is None) != (token is None):
        raise click.UsageError("give --shard and --token, or --doc, or --text")
    lineage, answer = Lineage.open(open_corpus()[2]), {}
    if text is not None:
        found = lineage.text(sys.stdin.read() if text == "-" else text, scan=scan)
        inside = [match for match in found.matches if match.spans]
        chain = lineage.match(inside[0]) if len(inside) == 1 else None
        answer = {"found": found_values(found)}
        if not as_json:
            if len(found.matches) > 1:
                console.print(found_table(found))
            console.print(said(found), highlight=False)
    else:
        chain = lineage.document(doc) if doc is not None else lineage.token(shard or "", token or 0)
    if as_json:
        values = {**answer, **(trace_values(chain) if chain else {})}
        print_json(values)
    elif chain:
        console.print(trace_table(chain))


@click.command()
@click.option("--prompt", "prompt_id", help="Id of a prompt, or its first characters.")
@click.option("--seed", "seed_id", help="Id of a seed, or its first characters.")
@click.option("--doc", "doc_id", help="Id of a document, or its first characters.")
@click.option("--source", help="Source of the seeds.")
@click.option("--topic", help="Topic.")
@click.option("--cluster", "cluster_id", help="Cluster of the seeds.")
@click.option("--template", help="Template.")
@click.option("--model", help="Model.")
@click.option("--licence", help="Licence of the seeds.")
@click.option("--start", default=0, show_default=True, help="Spans to leave out.")
@click.option("--limit", default=20, show_default=True, help="Spans to print.")
@click.option("--json", "as_json", is_flag=True, help="Totals and spans, as JSON.")
def tokens(start: int, limit: int, as_json: bool, **keys: str | None) -> None:
    """Which tokens come from something: their spans in the shards, and their total. Several options select what comes
    from all of them."""
    from cosmo_assets.lineage.show import selection_table, selection_values, totals_line
    from cosmo_assets.lineage.trace import tokens as ask

    given: Any = {name: value for name, value in keys.items() if value is not None}
    if not given:
        raise click.UsageError("give one of " + ", ".join(f"--{name.removesuffix('_id')}" for name in keys))
    found = ask(open_corpus()[2], given)
    if as_json:
        print_json(selection_values(given, found, start, limit))
        return
    console.print(selection_table(given, found, start, limit))
    console.print(totals_line(found))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=8018, show_default=True, help="Port to listen at; 0 takes a free one.")
def lineage(host: str, port: int) -> None:
    """Serve the page of the lineage: paste a text or an id, see the whole chain, click through. Ends with Ctrl-C."""
    from cosmo_assets.lineage.server import serve

    _, recipe, store = open_corpus()
    with serve(store, recipe.name, host, port) as server:
        console.print(f"http://{host}:{server.server_port}/", highlight=False)
        server.wait()


@click.command()
@click.option("--from", "before", help="Version of the shards or of their mixture. Default: the latest other one.")
@click.option("--to", "after", help="The same. Default: the current one.")
@click.option("--list", "listed", is_flag=True, help="Print the versions that are there, and end.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def diff(before: str | None, after: str | None, listed: bool, as_json: bool) -> None:
    """What one version of the corpus has and another has not: documents and tokens by reason (a benchmark, a purge,
    duplicates, the mixture, new seeds, ...), by source, topic and format, and what differs upstream."""
    from cosmo_assets.comparison.changes import difference
    from cosmo_assets.comparison.show import difference_tables, versions_table
    from cosmo_assets.comparison.versions import SHARDS, pair, versions

    _, _, store = open_corpus()
    if listed:
        console.print(versions_table(versions(store), store.current_version(SHARDS)))
        return
    was, now = pair(store, before, after)
    found = difference(store, was.manifest, now.manifest)
    if as_json:
        print_json(found.as_json())
        return
    for table in difference_tables(found):
        console.print(table)
