"""What small models say of data: `cosmo ablation`, `cosmo mixtures`, `cosmo doremi`, `cosmo doge`.

Belongs here: its options, and what it prints. Does not belong here: trainings and comparison (`cosmo_assets.proxy`).
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cosmo_assets.cli.terminal import console, print_json
from cosmo_resources.errors import CosmoError

if TYPE_CHECKING:
    from cosmo_assets.proxy.spec import Proxy


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--arm", "arms", multiple=True, required=True, metavar="NAME=PATH", help="A corpus (its folder under the "
              "data root), a folder of shards or a .ds file; a name given again adds to it.")  # fmt: skip
@click.option("--items", required=True, type=click.Path(path_type=Path), help="Questions: a .jsonl file with "
              "question, choices and answer (the right choice, from 0).")  # fmt: skip
@click.option("--held-out", multiple=True, metavar="NAME=PATH", help="Shards of a domain that no arm has.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Trainings of each arm.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Of the proxy: d_model, layers, heads, "
              "sequence, batch, steps, rate, warm_up, weight_decay, clip.")  # fmt: skip
@click.option("--python", envvar="COSMO_PROXY_PYTHON", help="An interpreter with torch and transformers. Default: "
              "$COSMO_PROXY_PYTHON, else this one.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def ablation(
    folder: Path,
    arms: tuple[str, ...],
    items: Path,
    held_out: tuple[str, ...],
    seeds: int,
    settings: tuple[str, ...],
    python: str | None,
    as_json: bool,
) -> None:
    """Which of several arms of data trains better small models, beyond chance.

    Trains a proxy for each arm and seed, scores questions and held-out text, and writes report.md, report.json and
    tables of losses and scores into FOLDER. What is trained already is not trained again.
    """
    import json
    import sys

    from rich.progress import Progress

    from cosmo_assets.proxy.ablation import Ablation, verdicts
    from cosmo_assets.proxy.rows import read_items
    from cosmo_assets.proxy.show import report, scores_table, values, verdicts_table
    from cosmo_resources.storage.files import write_text

    proxy = _proxy(settings)
    prepared = Ablation.prepare(
        folder, _shards("--arm", arms), read_items(items), _shards("--held-out", held_out), proxy, seeds
    )
    with Progress(console=console, disable=as_json) as bar:
        task = bar.add_task(f"{len(prepared.pending)} of {len(prepared.runs)} trainings", total=None)
        prepared.train(python or sys.executable, lambda done, total: bar.update(task, completed=done, total=total))
    measures = prepared.measures()
    found = verdicts(measures)
    everything = values(prepared, measures, found)
    write_text(folder / "report.md", report(prepared, measures, found))
    write_text(folder / "report.json", json.dumps(everything, ensure_ascii=False, indent=1) + "\n")
    if as_json:
        print_json(everything)
        return
    console.print(scores_table(measures))
    console.print(verdicts_table(found))


def _weighs(command: Callable[..., None]) -> Callable[..., None]:
    """The options that all commands have that weigh domains."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="The weights, as JSON."),
        click.option("--python", envvar="COSMO_PROXY_PYTHON", help="An interpreter with torch and transformers. "
                     "Default: $COSMO_PROXY_PYTHON, else this one."),
        click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Of the proxy: see "
                     "`cosmo ablation`."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is drawn."),
        click.option("--domain", "domains", multiple=True, required=True, metavar="NAME=PATH", help="A corpus, a "
                     "folder of shards or a .ds file; a name given again adds to it."),
        click.argument("folder", type=click.Path(file_okay=False, path_type=Path)),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@_weighs
def doremi(**options: Any) -> None:
    """The weights of domains by DoReMi: more of what a small model still learns.

    Trains a reference model and a proxy, and writes tables of weights, of every step and of losses into FOLDER. The
    answer is the components of a recipe's mixture. What is trained already is not trained again.
    """
    from cosmo_assets.proxy.domains import doremi as method

    _answer(method, **options)


@click.command()
@_weighs
@click.option("--mu", type=click.FloatRange(min=0, min_open=True), default=0.01, show_default=True, help="The larger, "
              "the nearer to equal weights.")  # fmt: skip
@click.option("--target", multiple=True, metavar="PATH", help="Shards that no domain has: more of what helps with "
              "these. May be repeated.")  # fmt: skip
def doge(target: tuple[str, ...], **options: Any) -> None:
    """The weights of domains by DoGE: more of what helps a small model with the other domains, or with a target.

    Trains a proxy, and writes tables of weights, of every step and of losses into FOLDER. The answer is the components
    of a recipe's mixture. What is trained already is not trained again.
    """
    from cosmo_assets.proxy.domains import doge as method
    from cosmo_assets.proxy.tokens import shards_of

    _answer(method, target=[shard for path in target for shard in shards_of(Path(path))], **options)


def _answer(
    method: Callable[..., dict[str, float]],
    folder: Path,
    domains: tuple[str, ...],
    settings: tuple[str, ...],
    python: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Weigh the domains, and print the components of a mixture."""
    import sys

    import yaml
    from rich.progress import Progress

    with Progress(console=console, disable=as_json) as bar:
        task = bar.add_task("trainings", total=None)
        weights = method(
            folder,
            _shards("--domain", domains),
            _proxy(settings),
            python or sys.executable,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            **options,
        )
    if as_json:
        print_json(weights)
        return
    components = {name: {"weight": round(weight, 6)} for name, weight in weights.items()}
    click.echo(yaml.safe_dump({"mixture": {"components": components}}, sort_keys=False, allow_unicode=True), nl=False)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--domain", "domains", multiple=True, required=True, metavar="NAME=PATH", help="A corpus, a folder of "
              "shards or a .ds file; a name given again adds to it.")  # fmt: skip
@click.option("--held-out", multiple=True, required=True, metavar="NAME=PATH", help="Shards that no domain has: what "
              "is to be learnt.")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), default=32, show_default=True, help="Mixtures; four for each "
              "domain or more.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is drawn.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Of the proxy: see `cosmo ablation`.")
@click.option("--python", envvar="COSMO_PROXY_PYTHON", help="An interpreter with torch and transformers. Default: "
              "$COSMO_PROXY_PYTHON, else this one.")  # fmt: skip
def mixtures(
    folder: Path,
    domains: tuple[str, ...],
    held_out: tuple[str, ...],
    count: int,
    seed: int,
    settings: tuple[str, ...],
    python: str | None,
) -> None:
    """Train small models on drawn mixtures of domains, for `cosmo weights`.

    Writes FOLDER/runs.parquet: the shares of the domains and the loss on each held-out domain, a row for each
    training. `cosmo weights FOLDER/runs.parquet` says which weights follow. What is trained already is not trained
    again, and more mixtures go on from fewer.
    """
    import sys

    from rich.progress import Progress

    from cosmo_assets.proxy.mixtures import train_mixtures

    with Progress(console=console) as bar:
        task = bar.add_task("trainings", total=None)
        table = train_mixtures(
            folder,
            _shards("--domain", domains),
            _shards("--held-out", held_out),
            _proxy(settings),
            python or sys.executable,
            count=count,
            seed=seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    click.echo(f"{table}: `cosmo weights {table}` answers from it")


def _shards(option: str, said: Sequence[str]) -> dict[str, list[Path]]:
    from cosmo_assets.proxy.tokens import shards_of

    found: dict[str, list[Path]] = {}
    for one in said:
        name, equals, path = one.partition("=")
        if not equals or not re.fullmatch(r"\w[\w.-]*", name):
            raise CosmoError(
                f"{option} {one}: not NAME=PATH", remedy="names have letters, digits, _, . and -: clean=data/clean"
            )
        found.setdefault(name, []).extend(shards_of(Path(path)))
    return found


def _proxy(said: Sequence[str]) -> "Proxy":
    import pydantic

    from cosmo_assets.proxy.spec import Proxy

    fields = dict(one.partition("=")[::2] for one in said)
    try:
        return Proxy.model_validate(fields)
    except pydantic.ValidationError as error:
        wrong = error.errors()[0]
        raise CosmoError(
            f"--set {'.'.join(map(str, wrong['loc'])) or 'proxy'}: {wrong['msg']}",
            remedy=f"fields and what they are: {Proxy().model_dump()}",
        ) from error
