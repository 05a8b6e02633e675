"""How large a model, how many tokens, how many epochs, and how much more is worth generating: the answer.

Belongs here: putting laws, stock and prices together. Does not belong here: the laws (`laws`, `repetition`), reading a
corpus (`stock`), tables and charts (`show`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import ceil, inf, isfinite

from cosmo_assets.composition.answer import Weight
from cosmo_assets.prompts.forecast import Speed
from cosmo_assets.quantity.domains import Lack, lacks, tokens_of
from cosmo_assets.quantity.filling import fill
from cosmo_assets.quantity.laws import PRESETS
from cosmo_assets.quantity.multiplicity import Multiplicity, multiplicity
from cosmo_assets.quantity.repetition import Training, best, enough_unique, held
from cosmo_assets.quantity.stock import Stock
from cosmo_resources.errors import CosmoError

MFU = 0.4
"""The part of a device's peak that a training reaches where nobody says: a usual value, not a measured one."""

ASK = "give one of --flops, --gpu-hours (with --gpu-tflops), --parameters and --tokens"


@dataclass(frozen=True)
class Budget:
    """What a training can be with the tokens that there are, and what more of them would change."""

    preset: str
    share: float
    """The part of the loss that repetition may cost."""
    stock: Stock
    trained: Callable[[float], Training]
    """The training with so many unique tokens."""
    speed: Speed | None
    price: float
    weights: Mapping[str, Weight] = field(default_factory=dict)
    """The best share of each domain; without any, `topics` says of what something is lacking."""

    @cached_property
    def new(self) -> Training:
        """With as many unique tokens as it needs."""
        return self.trained(inf)

    @cached_property
    def now(self) -> Training:
        return self.trained(self.stock.unique)

    @cached_property
    def doubled(self) -> Training:
        return self.trained(2 * self.stock.unique)

    @cached_property
    def enough(self) -> Training:
        """With so many unique tokens that repetition costs `share` of the loss, or with those there are."""
        return self.trained(max(self.stock.unique, enough_unique(self.trained, self.share)))

    @property
    def missing(self) -> int:
        """Unique tokens that are worth generating."""
        return ceil(self.enough.unique) - self.stock.unique

    @property
    def to_generate(self) -> float:
        """Tokens that a model has to write for them, as many of which are kept as were so far; all, if unknown."""
        return self.missing / (self.stock.kept or 1.0)

    @property
    def hours(self) -> float | None:
        """Device hours of generation; None where nobody knows how fast it is."""
        return self.to_generate / self.speed.tokens_per_second / 3600 if self.speed else None

    @property
    def cost(self) -> float | None:
        return None if self.hours is None else self.hours * self.price

    @property
    def topics(self) -> dict[str, int]:
        """The missing tokens by topic; empty where no topics are known."""
        return fill(self.stock.by_topic, self.stock.shares, self.missing) if self.stock.shares else {}

    @cached_property
    def lacks(self) -> dict[str, Lack]:
        """What each domain lacks of its best share of enough unique tokens.

        Raises:
            CosmoError: they are neither all topics of the corpus nor all its sources.
        """
        if not self.weights:
            return {}
        there = tokens_of(self.weights, self.stock.by_topic, self.stock.by_source)
        return lacks(self.weights, there, enough_unique(self.trained, self.share))

    @property
    def seen(self) -> Multiplicity | None:
        """How often documents would be seen; None where nobody has chosen copies."""
        copies = self.stock.by_copies
        return multiplicity([*copies.values()], [*copies], self.now.tokens / self.stock.corpus) if copies else None


def training_of(preset: str, asked: Mapping[str, float | None]) -> Callable[[float], Training]:
    """The training that is asked for, by the unique tokens there are.

    Of a compute, the best model and length with these tokens. Of parameters or of tokens, the other one is what is best
    with new tokens only, and both are held.

    Args:
        preset: a key of `PRESETS`.
        asked: `flops`, `gpu_hours`, `gpu_tflops` (peak, of one device), `mfu`, `parameters`, `tokens`; None, if not
            said.

    Raises:
        CosmoError: not exactly one question, a part of one missing or left over, or a number that is not above 0.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    for name, value in given.items():
        _above_zero(name, value)
    if given.get("mfu", 0) > 1:
        raise CosmoError(f"--mfu is {given['mfu']:g}, above 1", remedy="give the part of the peak that is reached: 0.4")
    questions = [name for name in ("flops", "gpu_hours", "parameters", "tokens") if name in given]
    if len(questions) != 1:
        given_ones = f"{' and '.join(map(_option, questions))} are" if questions else "none is"
        raise CosmoError(f"a budget answers one question, and {given_ones} given", remedy=ASK)
    (question,) = questions
    device = [name for name in ("gpu_tflops", "mfu") if name in given]
    if question != "gpu_hours" and device:
        raise CosmoError(
            f"{_option(device[0])} belongs to --gpu-hours, and {_option(question)} is given",
            remedy="leave it out, or ask with --gpu-hours",
        )
    law, amount = PRESETS[preset], given[question]
    if question == "parameters":
        return partial(held, law, amount, law.tokens_for(amount))
    if question == "tokens":
        return partial(held, law, law.parameters_for(amount), amount)
    if question == "gpu_hours":
        if "gpu_tflops" not in given:
            raise CosmoError("--gpu-hours does not say how fast a device is", remedy="add --gpu-tflops, its peak: 989")
        amount *= 3600 * given["gpu_tflops"] * 1e12 * given.get("mfu", MFU)
    return partial(best, law, amount)


def said(tokens: float) -> Stock:
    """So many unique tokens, as somebody says.

    Raises:
        CosmoError: it is not a number above 0.
    """
    _above_zero("tokens_available", tokens)
    return Stock(ceil(tokens), "as --tokens-available says")


def budget(
    preset: str,
    trained: Callable[[float], Training],
    stock: Stock,
    *,
    share: float,
    speed: Speed | None,
    price: float,
    weights: Mapping[str, Weight] | None = None,
) -> Budget:
    """The answer for a training (`training_of`) with these tokens.

    Raises:
        CosmoError: there are no tokens, or the share is not above 0.
    """
    _above_zero("loss_share", share)
    if not stock.unique:
        raise CosmoError(
            "there is no corpus, and its recipe does not say what to expect of its sources",
            remedy="say with --tokens-available how many unique tokens there are, give the sources of the recipe "
            "expected_seeds, or run `cosmo run`",
        )
    return Budget(preset, share, stock, trained, speed, price, weights or {})


def _above_zero(name: str, value: float) -> None:
    if not (isfinite(value) and value > 0):
        raise CosmoError(f"{_option(name)} is {value:g}, not a number above 0", remedy="give a number above 0: 1e22")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
