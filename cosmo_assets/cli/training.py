"""What a trainer is given: `cosmo nanotron`.

Belongs here: its options, and what it prints. Does not belong here: the answer (`cosmo_assets.tokenization`).
"""

import click

from cosmo_assets.cli.terminal import open_corpus


@click.command()
@click.option("--step-tokens", required=True, type=click.IntRange(min=1), help="Tokens of a training step: "
              "sequence_length x micro_batch_size x batch_accumulation_per_replica x dp.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Of the order of samples.")
def nanotron(step_tokens: int, seed: int) -> None:
    """The corpus as `data_stages` of a nanotron configuration, in YAML.

    A stage for each of the mixture's, in order, with its folder of shards and the step that it begins with.
    """
    from cosmo_assets.tokenization.nanotron import data_stages

    click.echo(data_stages(open_corpus()[2].open("tokenized_shards"), step_tokens, seed), nl=False)
