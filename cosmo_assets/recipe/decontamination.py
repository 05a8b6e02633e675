"""Decontamination: the benchmarks to keep out, and the rules by which their items are found.

Belongs here: benchmarks and how their rows are laid out, what is known of them by their names, the rules' parameters.
Does not belong here: how a rule finds an item (`cosmo_assets.decontamination.rules`).
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import yaml
from pydantic import Field

from cosmo_assets.recipe.fields import Count, Section, Share

BENCHMARKS = Path(__file__).parent / "benchmarks.yaml"
"""The registry: what is known of a benchmark by its name."""

Part = Literal[
    "question_answer",
    "question",
    "long_question",
    "answer",
    "context",
    "choices",
    "lettered",
    "marked",
    "q_a",
    "filled",
]


class BenchmarkFields(Section):
    """In which fields of a row things stand; a dotted name reaches inside a field. `id`, `context` and `choices` may be
    missing from rows where they have these names; every other field that is named must be there."""

    id: str | None = "id"
    """null: the row's number is its id."""
    context: str | None = "context"
    question: str | tuple[str, ...] = "question"
    """Of several fields the texts follow each other."""
    choices: str | tuple[str, ...] | None = "choices"
    """A field with all of them, or a field for each."""
    answer: str | None = "answer"
    answer_as: Literal["text", "index", "number", "label"] = "text"
    """text: what it says; of a list the first, and a whole number among choices in words is an index. index: its place
    among the choices from 0. number: from 1. label: the label of the choice, a letter where the row has none."""


class Benchmark(Section):
    """A benchmark to keep out. Of one in the registry (`benchmarks.yaml`) a recipe need not say more than its path."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    path: str
    """A file or a glob (JSON Lines, Parquet), or "hub:owner/name@commit"."""
    licence: str
    homepage: str | None = None
    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = ("question_answer",)
    """The texts of an item that are searched for; an item is found where any of them is."""
    fields: Annotated[tuple[BenchmarkFields, ...], Field(min_length=1)] = (BenchmarkFields(),)
    """Ways in which rows may be laid out; a row is read in the first of which it has all fields."""
    config: str | None = None
    """Configuration and split of a data set of the hub."""
    split: str = "test"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _with_what_is_known(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = known_benchmarks().get(str(given.get("name")), {})
        if not known and "licence" not in given:
            raise ValueError(
                f"{given.get('name')!r} is none of {', '.join(known_benchmarks())}: state the licence of its data"
            )
        fields = given.get("fields")
        return {**known, **given, **({"fields": [fields]} if isinstance(fields, dict) else {})}

    @pydantic.field_validator("parts")
    @classmethod
    def _parts_once(cls, value: tuple[Part, ...]) -> tuple[Part, ...]:
        if twice := [part for part in value if value.count(part) > 1]:
            raise ValueError(f"{twice[0]} stands there twice")
        return value


@cache
def known_benchmarks() -> dict[str, dict[str, Any]]:
    """The registry: fields of `Benchmark` by the benchmark's name."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(BENCHMARKS.read_text(encoding="utf-8"))
    return found


class CosmopediaRule(Section):
    """A shared n-gram makes a candidate; matching blocks of more than `ratio` of the item's characters condemn."""

    rule: Literal["cosmopedia"] = "cosmopedia"
    ngram: Count = 10
    ratio: Share = 0.5


class NgramRule(Section):
    """Any shared n-gram condemns."""

    rule: Literal["ngram"] = "ngram"
    ngram: Count = 13


class LabelRule(Section):
    """Any shared n-gram that reaches into the item's answer condemns."""

    rule: Literal["label"] = "label"
    ngram: Count = 12


class CoverageRule(Section):
    """Shared n-grams that hold at least `share` of the item's words condemn."""

    rule: Literal["coverage"] = "coverage"
    ngram: Count = 8
    share: Share = 0.8


class ShortRule(Section):
    """An item of fewer than `below` words condemns where all of it stands in the text."""

    rule: Literal["short"] = "short"
    below: Count = 10


DecontaminationRule = Annotated[
    CosmopediaRule | NgramRule | LabelRule | CoverageRule | ShortRule, Field(discriminator="rule")
]


class Decontamination(Section):
    """Benchmarks, and the rules by which a text that holds one of their items is found; one rule is enough."""

    benchmarks: tuple[Benchmark, ...]
    rules: Annotated[tuple[DecontaminationRule, ...], Field(min_length=1)] = (
        CosmopediaRule(),
        CoverageRule(),
        ShortRule(),
    )
    seeds: Literal["mark", "drop"] = "mark"
    """What becomes of a document whose seed holds an item that stands neither in its prompt nor in its text."""

    @pydantic.model_validator(mode="after")
    def _each_once(self) -> Self:
        rules: list[str] = [rule.rule for rule in self.rules]
        benchmarks = [benchmark.name for benchmark in self.benchmarks]
        for field, names in (("rules", rules), ("benchmarks", benchmarks)):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{field}: {', '.join(twice)} is there twice; each may be named once")
        return self
