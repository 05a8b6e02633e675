"""A budget as tables for a terminal, as plain values, and as a chart.

Belongs here: what of an answer is shown, and how it is named. Does not belong here: options and exit codes
(`cosmo_assets.cli`), the answer (`budget`).
"""

from math import exp, log
from typing import Any

from rich.markup import escape
from rich.table import Table

from cosmo_assets.charts.bars import stacked
from cosmo_assets.charts.curves import curve
from cosmo_assets.charts.drawing import human
from cosmo_assets.quantity.budget import Budget
from cosmo_assets.quantity.laws import KAPLAN_GROWTH, PRESETS, kaplan_least_tokens, kaplan_loss
from cosmo_assets.quantity.multiplicity import Multiplicity
from cosmo_assets.quantity.repetition import FITTED_EPOCHS, FITTED_PARAMETERS, Training, next_worth

LISTED = 25
POINTS = 60


def law_line(found: Budget) -> str:
    """Which law and constants the figures are of, and what they are not."""
    law = f"L(N, D) of Hoffmann et al. 2022 with the preset {found.preset} ({PRESETS[found.preset].origin})"
    repeated = "repeated tokens and excess parameters by Muennighoff et al. 2023"
    if found.preset != "muennighoff2023":
        repeated += ", whose constants were not fitted together with this preset"
    line = f"{law}; {repeated}. All figures are extrapolations of published fits: trust the trend, not the digits."
    if found.now.fitted:
        return line
    low, high = map(human, FITTED_PARAMETERS)
    return f"{line} This training lies outside of what was fitted ({low} to {high} parameters, {FITTED_EPOCHS} epochs)."


def budget_tables(found: Budget) -> list[Table]:
    """The training with the tokens there are and with more, what is worth generating, of which topics, and documents
    that are seen too often."""
    parts = [_trainings(found), _generation(found)]
    if found.weights:
        parts.append(_domains(found))
    elif found.topics:
        parts.append(_topics(found))
    if found.seen:
        parts.append(_seen(found.seen))
    return parts


def budget_values(found: Budget) -> dict[str, Any]:
    """The same as plain values: numbers unrounded, tokens and parameters as they are, loss in nats per token."""
    stock, seen = found.stock, found.seen
    shares = {
        topic: {"share": stock.shares[topic], "unique": stock.by_topic[topic], "generate": tokens}
        for topic, tokens in found.topics.items()
    }
    return {
        "law": law_line(found),
        "preset": found.preset,
        "unique": {"tokens": stock.unique, "basis": stock.basis, "kept": stock.kept},
        "unlimited": _values(found.new, found, unlimited=True),
        "now": _values(found.now, found),
        "doubled": _values(found.doubled, found),
        "enough": _values(found.enough, found),
        "loss_share": found.share,
        "generate": {
            "unique_tokens": found.missing,
            "tokens": found.to_generate,
            "device_hours": found.hours,
            "cost": found.cost,
            "speed": found.speed.source if found.speed else None,
        },
        "topics": shares,
        "domains": {
            name: {
                **lack.weight.model_dump(),
                "unique": lack.there,
                "generate": {"value": lack.tokens, "low": lack.least, "high": lack.most},
            }
            for name, lack in found.lacks.items()
        },
        "seen": {"mean": seen.mean, "most": seen.most, "above": seen.above, "harmful": seen.harmful} if seen else None,
        "kaplan2020": {
            "loss": kaplan_loss(found.now.parameters, found.now.effective),
            "least_tokens": kaplan_least_tokens(found.now.parameters),
            "growth": KAPLAN_GROWTH,
        },
        "growth": PRESETS[found.preset].growth,
    }


def budget_chart(found: Budget) -> str:
    """The predicted loss over the unique tokens there could be, as SVG."""
    now, enough, new = found.now, found.enough, found.new
    marks = [
        (name, at, training.loss)
        for name, at, training in (
            ("there", now.unique, now),
            ("twice as many", 2 * now.unique, found.doubled),
            ("enough", enough.unique, enough),
            ("no repetition", new.tokens, new),
        )
    ]
    low, high = log(min(at for _, at, _ in marks) / 4), log(2 * max(at for _, at, _ in marks))
    places = [exp(low + (high - low) * step / (POINTS - 1)) for step in range(POINTS)]
    points = [(place, found.trained(place).loss) for place in places]
    return curve(f"Predicted loss by unique tokens ({found.preset})", points, marks, unit="unique tokens")


def domains_chart(found: Budget) -> str:
    """What each domain has and lacks, as SVG."""
    rows = [(name, {"there": lack.there, "to generate": lack.tokens}) for name, lack in found.lacks.items()]
    return stacked("Unique tokens by domain", rows, unit="tokens")


def _values(training: Training, found: Budget, *, unlimited: bool = False) -> dict[str, float]:
    values = {
        "flops": training.flops,
        "parameters": training.parameters,
        "tokens": training.tokens,
        "loss": training.loss,
        "repetition_costs": training.loss / found.new.loss - 1,
    }
    if unlimited:
        return values
    of_tokens = {"unique": training.unique, "epochs": training.epochs, "effective_tokens": training.effective}
    return {**values, **of_tokens, "next_token_worth": next_worth(max(training.epochs, 1.0))}


def _trainings(found: Budget) -> Table:
    columns = (
        ("with what is there", found.now),
        ("twice as many", found.doubled),
        ("enough of them", found.enough),
        ("as many as it needs", found.new),
    )
    table = Table("", *(name for name, _ in columns), title=f"training of {found.now.flops:.3g} operations")
    trainings = [training for _, training in columns]
    limited = trainings[:-1]
    rows = {
        "unique tokens": [human(one.unique) for one in limited] + [human(found.new.tokens)],
        "parameters": [human(one.parameters) for one in trainings],
        "tokens trained on": [human(one.tokens) for one in trainings],
        "epochs": [f"{one.epochs:.2f}" for one in limited] + ["1.00"],
        "worth so many new tokens": [human(one.effective) for one in limited] + [human(found.new.tokens)],
        "the next token is worth": [human(next_worth(max(one.epochs, 1.0)), "%") for one in limited] + ["100%"],
        "predicted loss": [f"{one.loss:.4f}" for one in trainings],
        "repetition costs": [human(one.loss / found.new.loss - 1, "%") for one in trainings],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    ours, theirs = ([10**exponent for exponent in growth] for growth in (PRESETS[found.preset].growth, KAPLAN_GROWTH))
    size, least = found.now.parameters, kaplan_least_tokens(found.now.parameters)
    table.caption = (
        f"unique tokens: {found.stock.basis}. With ten times the compute the parameters grow {ours[0]:.1f} times and "
        f"the tokens {ours[1]:.1f} times; by Kaplan et al. 2020, {theirs[0]:.1f} and {theirs[1]:.1f} times, and "
        f"a model of {human(size)} overfits below {human(least)} tokens."
    )
    return table


def _generation(found: Budget) -> Table:
    table = Table(show_header=False, box=None)
    gain = found.now.loss - found.doubled.loss
    table.add_row("twice the unique tokens", f"lower the loss by {gain:.4f} ({human(gain / found.now.loss, '%')})")
    table.add_row("worth generating", f"{found.missing:,} unique tokens")
    table.add_row("", f"then repetition costs {human(found.enough.loss / found.new.loss - 1, '%')} of the loss, where "
                  f"{human(found.share, '%')} is allowed")  # fmt: skip
    kept = found.stock.kept
    why = "as nobody knows how many are kept" if kept is None else f"as {human(kept, '%')} are kept"
    table.add_row("which is", f"{found.to_generate:,.0f} tokens to write, {why}")
    if found.speed is None or found.hours is None or found.cost is None:
        table.add_row("device hours", "unknown: set budget.tokens_per_second in the recipe, or generate a bucket")
        return table
    speed = f"{found.speed.tokens_per_second:,.0f} tokens/s ({found.speed.device})"
    table.add_row("device hours", f"{found.hours:,.1f} at {speed}")
    table.add_row("cost", f"{found.cost:,.2f} at {found.price:g} an hour")
    table.add_row("speed from", escape(found.speed.source))
    return table


def _topics(found: Budget) -> Table:
    stock, table = found.stock, Table("topic", "share", "unique tokens", "has of its share", "to generate")
    generated = sum(stock.by_topic[topic] for topic in stock.shares)
    listed = list(found.topics.items())  # those furthest below their share first
    for topic, tokens in listed[:LISTED]:
        share, there = stock.shares[topic], stock.by_topic[topic]
        has = there / generated / share
        table.add_row(escape(topic), human(share, "%"), f"{there:,}", human(has, "%"), f"{tokens:,}")
    more = f"; {len(listed) - LISTED} topics more" if len(listed) > LISTED else ""
    table.title, table.caption = "of which topics", f"share: of the prompts, times the mixture's factor{more}"
    return table


def _domains(found: Budget) -> Table:
    lacks = found.lacks
    table = Table("domain", "best share", "unique tokens", "to generate", "by the share's interval")
    for name, lack in [*lacks.items()][:LISTED]:
        weight = lack.weight
        share = f"{human(weight.value, '%')} ({human(weight.low, '%')} to {human(weight.high, '%')})"
        table.add_row(escape(name), share, f"{lack.there:,}", f"{lack.tokens:,}", f"{lack.least:,} to {lack.most:,}")
    more = f"; {len(lacks) - LISTED} domains more" if len(lacks) > LISTED else ""
    table.title = "of which domains"
    total = sum(lack.tokens for lack in lacks.values())
    table.caption = (
        f"{total:,} tokens in all, for each domain to have its best share of the unique tokens that are enough; what "
        f"one has beyond that serves no other{more}"
    )
    return table


def _seen(seen: Multiplicity) -> Table:
    table = Table("documents seen", "share of the tokens trained on", title="how often documents would be seen")
    for times, share in seen.above.items():
        table.add_row(f"more than {times} times", human(share, "%"))
    table.caption = f"{seen.mean:.2f} times in the mean, {seen.most:,.2f} times at most"
    if seen.harmful:
        table.caption += (
            ": [red]a few documents are repeated so often that the model suffers[/] (Hernandez et al. 2022)"
        )
    return table
