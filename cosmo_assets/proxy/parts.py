"""The shards of a corpus parted: what the arms of its proof are made of.

Belongs here: parts by source, template or topic, token files, the arms. Does not belong here: parts by signals
(`filters`), the asset (`stage`), training on them (`ablation`).

Each part is one file, so that all arms together take the disk of one corpus: an arm is a list of parts.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.recipe.proof import Proof
from cosmo_assets.tokenization.shards import TOKENIZER_NAME, map_shard
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import link_or_copy
from cosmo_resources.storage.store import Dataset

NONE = "(none)"
"""As the index counts documents without a topic or template."""
REST = "(rest)"
CORPUS = "corpus"


Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Parting:
    """How the spans of a corpus are parted."""

    columns: tuple[str, ...]
    """Of the index, which `numbers` needs."""
    names: Sequence[str]
    numbers: Callable[[pa.Table], Numbers]
    """Of each row of the index, the number of its part; one past the last is `REST`."""
    held: Mapping[str, Collection[str]]
    """What has an arm: by its name, the parts that it is made of."""


def by_facet(lineage: Dataset, facet: str, largest: int) -> Parting:
    """The parting by source, template or topic."""
    names = part_names(lineage.manifest.summary["by"][facet], largest)
    of = {name: number for number, name in enumerate(names)}

    def numbers(spans: pa.Table) -> Numbers:
        values = spans[facet].to_pylist()
        return np.array([of.get(NONE if value is None else value, len(names)) for value in values])

    return Parting((facet,), names, numbers, {name: {name} for name in names})


def part_names(tokens: Mapping[str, int], largest: int) -> list[str]:
    """The parts that have an arm, by their tokens, largest first."""
    return sorted((name for name, count in tokens.items() if count), key=lambda name: (-tokens[name], name))[:largest]


def write_parts(folder: Path, shards: Dataset, lineage: Dataset, parting: Parting) -> tuple[dict[str, Path], int]:
    """The token file of each part, and of all else as `REST` where there is some; and how many spans they hold.

    Cost: the tokens of the corpus, read and written once. Memory: six bytes or less for each token of a shard.
    """
    folder.mkdir(parents=True)
    link_or_copy(shards.folder / TOKENIZER_NAME, folder / TOKENIZER_NAME)
    spans, described = 0, ""
    ends: dict[int, list[npt.NDArray[np.int64]]] = {}
    for table in lineage.tables(["shard", "start", "end", *parting.columns]):
        of_shard = table["shard"].to_numpy(zero_copy_only=False)
        start, end = (table[column].to_numpy() for column in ("start", "end"))
        part = parting.numbers(table)
        cuts = [0, *(np.flatnonzero(of_shard[1:] != of_shard[:-1]) + 1).tolist(), len(of_shard)]
        for first, last in pairwise(cuts):
            path = shards.folder / str(of_shard[first])
            described = described or Path(f"{path}.metadata").read_text(encoding="utf-8").splitlines()[0]
            sizes, here = (end - start)[first:last], part[first:last]
            tokens = np.asarray(map_shard(path)[start[first] : end[last - 1]])
            of_tokens = np.repeat(here.astype(np.int32), sizes)
            for number in np.unique(here).tolist():
                with _file(folder, number).open("ab") as stream:
                    tokens[of_tokens == number].tofile(stream)
                ends.setdefault(number, []).append(sizes[here == number])
            spans += last - first
    for number, found in ends.items():
        stops = np.cumsum(np.concatenate(found))
        stops.astype("<u8").tofile(f"{_file(folder, number)}.index")
        Path(f"{_file(folder, number)}.metadata").write_text(f"{described}\n{stops[-1]}\n{stops[-1]}", encoding="utf-8")
    return {name: _file(folder, number) for number, name in enumerate([*parting.names, REST]) if number in ends}, spans


def arms_of(parts: Mapping[str, Path], held: Mapping[str, Collection[str]], section: Proof) -> dict[str, list[Path]]:
    """The whole corpus, then an arm for each thing that has one: by its name, the parts that it is `held` in.

    Raises:
        CosmoError: there is but one part.
    """
    if len(parts) < 2:
        raise CosmoError(
            f"proof.by: all documents have the same {section.by}, {next(iter(parts), NONE)}",
            remedy="part the corpus by something else: source, template or topic",
        )
    return {CORPUS: [*parts.values()]} | {
        f"{section.arms} {name}": [path for part, path in parts.items() if (part in of) == (section.arms == "only")]
        for name, of in held.items()
    }


def _file(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.ds"
