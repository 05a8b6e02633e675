"""Signals by transformers: perplexity, EL2N and memorization of texts, by models that another interpreter runs.

Belongs here: the recipe's models, encoding, starting the program, figures of its scores. Does not belong here: the
program (`transformer`), the arithmetic of one text (`model_scores`).
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.proxy.launch import run_program
from cosmo_assets.proxy.models import ModelFolder
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.signals import Neural
from cosmo_assets.signals.model_scores import CONTINUATION, PREFIX, memorization
from cosmo_resources.errors import CosmoError
from cosmo_resources.tokenizers import NamedTokenizer

VERSION = "1"
DECIMALS = 4
"""Of every figure, so that it is the same in whatever company a text is scored, and on another processor."""
PROGRAM = "cosmo_assets.signals.transformer"
_SECTION = "neural"


def params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe the signals depend on. Cost: reading the models' files.

    Raises:
        CosmoError: as `models_of`.
    """
    section = section_of(recipe)
    return {"models": [model.digest for model in models_of(recipe)], "tokens": section.tokens}


def section_of(recipe: Recipe) -> Neural:
    """The recipe's section.

    Raises:
        CosmoError: it has none.
    """
    if recipe.neural is None:
        raise CosmoError(
            f"recipe {recipe.name}: there is no section {_SECTION}, which says by which models to measure",
            remedy=f"add it: {_SECTION}: {{models: [FOLDER]}}",
        )
    return recipe.neural


def models_of(recipe: Recipe) -> list[ModelFolder]:
    """The models that the recipe names, in order.

    Raises:
        CosmoError: there is no such section, a folder lacks a file, a context is shorter than `neural.tokens`, or the
            tokenizers differ.
    """
    section = section_of(recipe)
    models = [
        ModelFolder.of(recipe, path, section.tokens, section=_SECTION, field=f"models.{number}")
        for number, path in enumerate(section.models)
    ]
    for model in models:
        if model.tokenizer.digest != models[-1].tokenizer.digest:
            raise CosmoError(
                f"{_SECTION}.models: {model.folder} and {models[-1].folder} have different tokenizers",
                remedy="name checkpoints of one training",
            )
    return models


@dataclass(frozen=True)
class Encoded:
    """Texts as their first tokens, one after the other, and where each ends; `sizes` are the bytes of UTF-8 that a
    text's tokens but the first stand for."""

    tokens: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.ends, prepend=0)


def encoded(tokenizer: NamedTokenizer, texts: Sequence[str], most: int) -> Encoded:
    """The first tokens of texts, `most` of each. Cost: the tokens of the whole texts."""
    tokens, lengths, sizes = [], [], []
    found = tokenizer.tokenizer.encode_batch(list(texts), add_special_tokens=False)
    for text, one in zip(texts, found, strict=True):
        ids, ends = one.ids[:most], [end for _, end in one.offsets[:most]]
        tokens += ids
        lengths.append(len(ids))
        sizes.append(len(text[ends[0] : ends[-1]].encode("utf-8", "surrogatepass")) if ids else 0)
    return Encoded(*(np.array(column, np.int64) for column in (tokens, np.cumsum(lengths), sizes)))


@dataclass(frozen=True)
class Judges:
    """Models of one tokenizer, checkpoints of one training, by which texts are measured."""

    models: tuple[ModelFolder, ...]
    tokens: int
    python: str
    """The interpreter that runs them."""

    @classmethod
    def of(cls, recipe: Recipe) -> "Judges":
        """Those of a recipe.

        Raises:
            CosmoError: as `models_of`.
        """
        python = os.environ.get("COSMO_PROXY_PYTHON") or sys.executable
        return cls(tuple(models_of(recipe)), section_of(recipe).tokens, python)

    def figures(self, texts: pa.ChunkedArray) -> pa.Table:
        """The signals of the family `neural`: a row for each text, in order.

        Cost: starting the program and loading each model; each model over the tokens of each text; the last one also
        over 63 tokens of each text that has 64. Memory: in the program one model and the logits of a batch.

        Raises:
            CosmoError: the interpreter lacks torch or transformers, or cannot load a model.
        """
        said = encoded(self.models[-1].tokenizer, texts.to_pylist(), self.tokens)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.savez(folder / "texts.npz", tokens=said.tokens, ends=said.ends)
            run_program(
                PROGRAM,
                [folder, *(model.folder for model in self.models)],
                self.python,
                folder / "program.log",
                lambda line: None,
                f"see that transformers loads {' and '.join(str(model.folder) for model in self.models)}, and that the "
                f"memory suffices; lower {_SECTION}.tokens",
            )
            with np.load(folder / "scores.npz") as scores:
                return figures_of(said, scores["nats"], scores["el2n"], scores["continued"])


def figures_of(
    said: Encoded, nats: npt.NDArray[np.float64], el2n: npt.NDArray[np.float64], continued: npt.NDArray[np.int64]
) -> pa.Table:
    """The signals of texts by what the program found.

    Args:
        said: the texts.
        nats: by text, the sum over its tokens but the first by the last model.
        el2n: models x texts.
        continued: texts x CONTINUATION; what the last model gave after PREFIX tokens, where a text is long enough.
    """
    scored = said.lengths - 1
    none, short = scored < 1, said.lengths < PREFIX + CONTINUATION
    known = np.zeros(len(nats))
    for row in np.flatnonzero(~short):
        start = said.ends[row] - said.lengths[row] + PREFIX
        known[row] = memorization(continued[row], said.tokens[start : start + CONTINUATION])
    columns = {
        "perplexity": (np.exp(nats / np.maximum(scored, 1)), none),
        "bits_per_byte": (nats / np.log(2) / np.maximum(said.sizes, 1), none),
        "el2n": (el2n.mean(axis=0), none),
        "memorization": (known, short),
    }
    return pa.table({
        name: pa.array(np.round(values, DECIMALS), mask=missing) for name, (values, missing) in columns.items()
    })  # fmt: skip
