"""The thirteen benchmarks of the shared sample data, as a recipe names them: by their names in the registry."""

from pathlib import Path
from typing import Any

from cosmo_assets.decontamination.benchmarks import Item, Source, read_items, sources
from cosmo_assets.recipe.decontamination import Benchmark, Decontamination, known_benchmarks
from cosmo_assets.recipe.recipe import Recipe


def sample_sources(samples: Path, **fields: Any) -> list[Source]:
    """All of them, with `fields` in place of what the registry says.

    Raises:
        ValueError: a benchmark's file is not there, or there are two.
    """
    benchmarks = []
    for name in known_benchmarks():
        (path,) = (samples / "benchmarks").glob(f"{name}_*.jsonl")
        benchmarks.append(Benchmark(**{"name": name, "path": str(path), **fields}))
    section = Decontamination(benchmarks=tuple(benchmarks))
    return sources(Recipe.model_construct(name="samples", folder=samples, decontamination=section))


def sample_items(samples: Path, **fields: Any) -> list[Item]:
    return [item for source in sample_sources(samples, **fields) for item in read_items(source)]


def plain_items(samples: Path) -> list[Item]:
    """One text of each item: its question and answer."""
    return sample_items(samples, parts=["question_answer"])
