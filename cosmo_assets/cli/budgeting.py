"""How much is enough: `cosmo budget`.

Belongs here: its options, and what it prints. Does not belong here: the answer (`cosmo_assets.quantity`).
"""

from pathlib import Path

import click

from cosmo_assets.cli.terminal import console, open_corpus, print_json
from cosmo_assets.quantity.laws import DEFAULT, PRESETS
from cosmo_resources.errors import CosmoError


@click.command()
@click.option("--flops", type=float, help="Compute of the training, in floating-point operations: 1e22.")
@click.option("--gpu-hours", type=float, help="The same in device hours; with --gpu-tflops.")
@click.option("--gpu-tflops", type=float, help="Peak of one device, in 10^12 operations a second: 989.")
@click.option("--mfu", type=float, help="Part of the peak that the training reaches.  [default: 0.4]")
@click.option("--parameters", type=float, help="Size of the model; the tokens follow: 1.7e9.")
@click.option("--tokens", type=float, help="Tokens that are trained on; the size of the model follows: 2e10.")
@click.option(
    "--preset", type=click.Choice(list(PRESETS)), default=DEFAULT, show_default=True, help="Constants of the law."
)
@click.option("--tokens-available", type=float, help="Unique tokens there are, instead of those of the corpus: 25e9.")
@click.option(
    "--loss-share",
    type=float,
    default=0.005,
    show_default=True,
    help="The part of the loss that repetition may cost before more is worth generating.",
)
@click.option(
    "--weights",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Best shares of topics or sources, as `cosmo weights --json` says them: what each lacks.",
)
@click.option(
    "--chart",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also draw the loss into this .svg file; with --weights, what each domain has and lacks.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def budget(
    preset: str,
    tokens_available: float | None,
    loss_share: float,
    weights: Path | None,
    chart: Path | None,
    as_json: bool,
    **asked: float | None,
) -> None:
    """What a compute is best spent on: how large a model, on how many tokens, in how many epochs of the unique tokens
    there are; how many more are worth generating, at what cost, and of which topics.

    Asked by one of --flops, --gpu-hours, --parameters and --tokens. The unique tokens are those of the corpus or, as
    long as there is none, those that `cosmo plan --mixture` expects. Figures are extrapolations by published laws.
    """
    from cosmo_assets.cli.plan_tables import expected_supplies
    from cosmo_assets.composition.answer import read_answer
    from cosmo_assets.prompts.forecast import measured, speed
    from cosmo_assets.quantity.budget import budget as answer
    from cosmo_assets.quantity.budget import said, training_of
    from cosmo_assets.quantity.show import budget_chart, budget_tables, budget_values, domains_chart, law_line
    from cosmo_assets.quantity.stock import Stock, stock

    trained = training_of(preset, asked)
    shares = read_answer(weights).weights if weights else None
    if chart is not None and not chart.absolute().parent.is_dir():
        raise CosmoError(f"--chart: there is no folder {chart.parent}", remedy="make it, or name another file")
    _, recipe, store = open_corpus()
    there = stock(store, recipe) if tokens_available is None else said(tokens_available)
    if there is None:
        expected = sum(supply.tokens for supply in expected_supplies(recipe, store).values())
        there = Stock(expected, "expected answers, as `cosmo plan --mixture` counts them, nothing dropped")
    price = recipe.budget.gpu_hour_price
    fast = speed(recipe, measured(recipe, store))
    found = answer(preset, trained, there, share=loss_share, speed=fast, price=price, weights=shares)
    if chart is not None:
        chart.write_text((domains_chart if shares else budget_chart)(found), encoding="utf-8")
    if as_json:
        print_json(budget_values(found))
        return
    console.print(law_line(found), highlight=False)
    for table in budget_tables(found):
        console.print(table)
