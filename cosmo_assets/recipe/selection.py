"""Signals and selection: which figures of a text are computed, and which texts may stand in the corpus by them.

Belongs here: families of signals, published sets of bounds, bounds of one's own, rules over all texts. Does not belong
here: how a signal is computed (`cosmo_assets.signals`), or rules that every corpus has (`generation.QualityPolicy`).
"""

from typing import Annotated, ClassVar, Literal, Self

import pydantic
from pydantic import Field

from cosmo_assets.recipe.fields import Count, Section, Share
from cosmo_assets.schemas.columns import numeric_columns
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.signals.catalogue import CATALOGUE, OF_GENERATED

SignalFamily = Literal[
    "statistics", "toxicity", "privacy", "language", "copies", "age", "perplexity", "educational", "neural"
]

SIGNAL_ASSETS: dict[str, str] = {"quality": "generation_quality", **{family: f"text_{family}" for family in CATALOGUE}}
"""The asset of each family of signals. Every corpus has that of `quality`."""

REAL_SIGNALS: dict[str, str] = {family: f"real_{family}" for family in CATALOGUE if family not in OF_GENERATED}
"""The asset of those families that there are of real documents, too."""

RuleSet = Literal["gopher_quality", "gopher_repetition", "c4", "fineweb"]


def _known(signal: str) -> str:
    family, _, column = signal.partition(".")
    if family not in SIGNAL_ASSETS:
        raise ValueError(f"{signal}: no such family of signals; there are {', '.join(SIGNAL_ASSETS)}")
    known = numeric_columns(TABLES[SIGNAL_ASSETS[family]])
    if column not in known:
        raise ValueError(f"{signal}: {family} has no such signal; it has {', '.join(known)}")
    return signal


Signal = Annotated[str, pydantic.AfterValidator(_known)]
"""`family.column`."""


class SignalBound(Section):
    """What a text's signal must lie within to stay, both ends inclusive."""

    signal: Signal
    low: float | None = None
    high: float | None = None

    @pydantic.model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError(f"{self.signal}: name low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"{self.signal}: low {self.low:g} is above high {self.high:g}")
        return self

    @property
    def outside(self) -> str:
        """What the signal of a text is that does not stay, in words."""
        below = [f"below {self.low:g}"] if self.low is not None else []
        above = [f"above {self.high:g}"] if self.high is not None else []
        return f"{self.signal} {' or '.join([*below, *above])}"


class KeepRanks(Section):
    """Texts whose rank by a signal lies between two shares of all: the best tenth from .9 to 1, the middle half from
    .25 to .75."""

    rule: Literal["ranks"]
    signal: Signal
    low: Share = 0.5
    high: Share = 1.0

    @pydantic.model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        return self


class KeepPareto(Section):
    """Texts drawn with the chance (2 - score)^-alpha, GPT-3's rule, by a signal between 0 and 1."""

    rule: Literal["pareto"]
    signal: Signal
    prefer: Literal["high", "low"] = "high"
    alpha: Annotated[float, Field(gt=0)] = 9.0


class KeepGumbel(Section):
    """A fraction of the texts, drawn with chances by exp(standardized signal / temperature), QuRating's rule."""

    rule: Literal["gumbel"]
    signal: Signal
    prefer: Literal["high", "low"] = "high"
    fraction: Annotated[float, Field(gt=0, le=1)]
    temperature: Annotated[float, Field(gt=0)] = 1.0


class KeepD4(Section):
    """Texts that are unlike others, by their embeddings alone, D4's rule: of each cluster the most similar go, then of
    new clusters those nearest to the centroid. The product of both shares stays."""

    rule: Literal["d4"]
    signal: ClassVar[None] = None
    clusters: Count | None = None
    """None: as many as the square root of the number of texts."""
    keep_different: Annotated[float, Field(gt=0, le=1)] = 0.75
    keep_atypical: Annotated[float, Field(gt=0, le=1)]
    seed: int = 1


class KeepD2(Section):
    """A fraction of the texts: difficult ones from everywhere, D2's rule. How difficult one is, is its rank by a
    signal; of its nearest neighbours by their embeddings fewer stay."""

    rule: Literal["d2"]
    signal: Signal
    prefer: Literal["high", "low"] = "high"
    fraction: Annotated[float, Field(gt=0, le=1)]
    neighbours: Count = 5
    gamma: Annotated[float, Field(gt=0)] = 1.0


class DsirTarget(Section):
    """Texts that one wants more of, and how many documents are chosen for their likeness to them. `path` is relative to
    the recipe's file and may be a glob; `${NAME}` is taken from the environment."""

    path: str
    documents: Count | None = None
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of the texts within all bounds."""

    @pydantic.model_validator(mode="after")
    def _has_a_quota(self) -> Self:
        if (self.documents is None) == (self.fraction is None):
            raise ValueError("name documents or fraction, one of them")
        return self


class KeepDsir(Section):
    """Texts that look like targets, DSIR's rule: drawn by importance weights over hashed n-grams, so many for each
    target, in order. Texts of fewer words do not stay."""

    rule: Literal["dsir"]
    signal: ClassVar[None] = None
    targets: Annotated[dict[Annotated[str, Field(pattern=r"^\w[\w.-]*$")], DsirTarget], Field(min_length=1)]
    least_words: Annotated[int, Field(ge=0)] = 100
    smoothing: Annotated[float, Field(ge=0)] = 0.0
    seed: int = 0

    @pydantic.model_validator(mode="after")
    def _is_no_more_than_all(self) -> Self:
        whole = sum(target.fraction or 0 for target in self.targets.values())
        if whole > 1 + 1e-9:
            raise ValueError(f"targets: their fractions sum to {whole:g}, more than all")
        return self


Keep = Annotated[KeepRanks | KeepPareto | KeepGumbel | KeepD4 | KeepD2 | KeepDsir, Field(discriminator="rule")]


class Selection(Section):
    """Which texts may stand in the corpus: those within all bounds, of which the first broken one is the reason that
    counts; and of these, what a rule over all of them keeps."""

    sets: tuple[RuleSet, ...] = ()
    """Published sets of bounds, in order; they need the signals of `statistics`."""
    bounds: tuple[SignalBound, ...] = ()
    keep: Keep | None = None

    @pydantic.model_validator(mode="after")
    def _each_once(self) -> Self:
        if not self.sets and not self.bounds and not self.keep:
            raise ValueError("name sets, bounds or what to keep")
        for field, names in (("sets", self.sets), ("bounds", tuple(bound.signal for bound in self.bounds))):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{field}: {twice[0]} stands there twice")
        return self

    @property
    def families(self) -> tuple[str, ...]:
        """The families of signals that are read, in the order of `SIGNAL_ASSETS`."""
        signals = [bound.signal for bound in self.bounds]
        signals += [self.keep.signal] if self.keep and self.keep.signal else []
        read = {signal.split(".")[0] for signal in signals} | ({"statistics"} if self.sets else set())
        return tuple(family for family in SIGNAL_ASSETS if family in read)

    @property
    def reads_embeddings(self) -> bool:
        """Whether the rule over all texts compares them by their embeddings."""
        return isinstance(self.keep, KeepD4 | KeepD2)

    @property
    def reads_texts(self) -> bool:
        """Whether the rule over all texts reads the texts themselves."""
        return isinstance(self.keep, KeepDsir)
