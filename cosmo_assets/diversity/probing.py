"""The diversity coefficient of texts, by a probe that another interpreter runs.

Belongs here: the probe's files, encoding, starting the program. Does not belong here: the program (`fisher`), the
arithmetic (`coefficient`).
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosmo_assets.diversity.coefficient import expected_distance
from cosmo_assets.diversity.gate import Mean
from cosmo_assets.proxy.launch import run_program
from cosmo_assets.proxy.models import ModelFolder
from cosmo_assets.recipe.diversity import Coefficient
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.errors import CosmoError
from cosmo_resources.tokenizers import load_tokenizer

MEASURE = "diversity_coefficient"
LEAST = 3
"""Batches: of two there is one distance, and no error."""
_FIELD = "diversity.coefficient"


@dataclass(frozen=True)
class Probe:
    """A language model in a folder, as transformers saves it; `digest` is that of its files."""

    folder: Path
    digest: str
    tokens: int

    @classmethod
    def of(cls, recipe: Recipe, section: Coefficient) -> "Probe":
        """The probe that a recipe names.

        Raises:
            CosmoError: its folder lacks a file, or its context is shorter than the documents' beginnings.
        """
        found = ModelFolder.of(recipe, section.model, section.tokens, section=_FIELD, field="model")
        return cls(found.folder, found.digest, section.tokens)

    def measure(self, texts: Sequence[str], block: int, python: str, progress: Callable[[int], None]) -> Mean:
        """The diversity coefficient of texts in a random order, in batches of `block`; what fills none is left out.

        Cost: of each batch's tokens, twice through the model, once back through its last block, and twice forward and
        back through its head. Memory: of each batch eight bytes for each parameter of the last block.

        Raises:
            CosmoError: fewer than three batches; the interpreter lacks torch or transformers, or cannot load the probe.
        """
        if len(texts) < LEAST * block:
            raise CosmoError(
                f"{_FIELD}: {len(texts)} documents of different seeds do not fill {LEAST} blocks of {block}",
                remedy="lower diversity.block in the recipe, or leave diversity.coefficient out",
            )
        tokenizer = load_tokenizer(str(self.folder / "tokenizer.json")).tokenizer
        encoded = [one.ids[: self.tokens] for one in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            documents = {"tokens": np.concatenate(encoded), "ends": np.cumsum([len(ids) for ids in encoded])}
            np.savez(folder / "documents.npz", **documents)  # type: ignore[arg-type]
            run_program(
                "cosmo_assets.diversity.fisher",
                [self.folder, folder, block],
                python,
                folder / "fisher.log",
                lambda line: progress(int(line)) if line.strip().isdecimal() else None,
                f"see that transformers loads {self.folder}, and that the memory suffices; lower diversity.block",
            )
            table = np.load(folder / "distances.npy")
        value, error = expected_distance(table)
        basis = f"{block} documents, {self.tokens} tokens, probe {self.digest}"
        return Mean(round(value, 9), round(error, 9), len(table), basis)
