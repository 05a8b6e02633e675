"""Perplexity of a corpus's texts: language models of its own reference text, none of which judges what it has read.

Belongs here: the sample of the reference, the stage, the figures of a text. Does not belong here: estimation
(`kneser_ney`), scores by one model (`language_model`), its file (`arpa`).

A text belongs to one of two halves, by a hash of its words. Each half of the reference makes a model, and a text is
judged by the model of the other half. So its figures are the same whether or not it stands in the reference: what
cross-fitting is (Chernozhukov et al. 2018), with halves that need no list of who was in which.
"""

import heapq
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.ids import uniform
from cosmo_assets.real.texts import DOCUMENTS, has_real
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.signals import LANGUAGE_MODEL
from cosmo_assets.signals.arpa import read_arpa, write_arpa
from cosmo_assets.signals.kneser_ney import train
from cosmo_assets.signals.language_model import LanguageModel, Scores
from cosmo_assets.stage import Workspace
from cosmo_assets.words.hashing import hashed
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

FIT_VERSION = VERSION = "1"
HALVES = (0, 1)
DECIMALS = 4
"""Of every figure, so that it is the same on processors that add up in another order."""


class Drawn(NamedTuple):
    """A text of the sample: its draw, its id, the text and how many words it has."""

    draw: float
    id: str
    text: str
    words: int


def params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe `language_model` depends on."""
    return {**recipe.perplexity.model_dump(), "reference": reference_of(recipe)}


def reference_of(recipe: Recipe) -> str:
    """The asset whose texts are the reference: real text, or the seeds where none is mixed in."""
    return DOCUMENTS if has_real(recipe) else "seed_documents"


def fit(workspace: Workspace, *, refit: bool = False) -> Manifest:
    """Build `language_model`, or keep the one that is there: it is pinned as long as the recipe asks for the same, so
    that new seeds leave every figure as it is. `refit` fits anew.

    Cost: reading the reference; estimation on a sample of it; memory about 250 bytes for each of its words.

    Raises:
        CosmoError: one half of the reference has no words.
    """
    wanted, pinned = params(workspace.recipe), workspace.store.current("language_model")
    same = pinned is not None and pinned.manifest.stage_version == FIT_VERSION and pinned.manifest.params == wanted
    if pinned is not None and same and not refit:
        return pinned.manifest
    reference = workspace.store.open(reference_of(workspace.recipe))
    return workspace.build(
        "language_model",
        lambda writer: _fit(writer, workspace.recipe, reference),
        stage_version=FIT_VERSION,
        inputs=(reference.ref(),),
        params=wanted,
    )


def sample(parts: Iterable[pa.Table], words: int) -> list[Drawn]:
    """The texts with the lowest draws, as many as have at least so many words together, or all: whatever the order of
    the rows. `parts` are tables of an id and a text. Memory: for these texts."""
    kept: list[tuple[float, Drawn]] = []
    total = 0
    for part in parts:
        key, text = part.column_names
        counts = np.diff(hashed(part[text].combine_chunks(), "folded").bounds).tolist()
        for name, content, count in zip(part[key].to_pylist(), part[text].to_pylist(), counts, strict=True):
            draw = uniform("reference", name)
            if total >= words and draw > -kept[0][0]:
                continue
            heapq.heappush(kept, (-draw, Drawn(draw, name, content, count)))
            total += count
            while total - kept[0][1].words >= words:
                total -= heapq.heappop(kept)[1].words
    return sorted(found for _, found in kept)


def halves(texts: pa.Array) -> npt.NDArray[np.int64]:
    """The half, 0 or 1, that each text belongs to, by a hash of its words without case and punctuation. Cost: linear in
    their bytes."""
    words = hashed(texts, "folded")
    return (words.whole(np.arange(len(words))) >> np.uint64(63)).astype(np.int64)


class Judges:
    """The models of both halves."""

    def __init__(self, models: tuple[LanguageModel, LanguageModel]) -> None:
        self.models = models

    @staticmethod
    def load(dataset: Dataset) -> "Judges":
        first, second = (read_arpa(dataset.folder / file_name(half)) for half in HALVES)
        return Judges((first, second))

    def score(self, texts: pa.Array) -> Scores:
        """Scores of texts, each by the model of the half that it does not belong to. Cost: as one model's."""
        side, count = halves(texts), len(texts)
        found = Scores(np.empty(count), np.empty(count, np.int64), np.empty(count, np.int64))
        for half in HALVES:
            chosen = np.flatnonzero(side == half)
            scores = self.models[1 - half].score(texts.take(pa.array(chosen)))
            for name in ("nll", "words", "unknown"):
                getattr(found, name)[chosen] = getattr(scores, name)
        return found

    def figures(self, texts: pa.ChunkedArray) -> pa.Table:
        """The signals of the family `perplexity`: a row for each text, in order."""
        flat = texts.combine_chunks()
        scores = self.score(flat)
        size = np.maximum(pc.binary_length(flat).to_numpy(zero_copy_only=False), 1)
        unknown = np.divide(scores.unknown, np.maximum(scores.words - 1, 1))
        columns = {"perplexity": scores.perplexity, "bits_per_byte": scores.nll / np.log(2) / size}
        columns["unknown_word_share"] = unknown
        return pa.table({name: np.round(values, DECIMALS) for name, values in columns.items()})


def file_name(half: int) -> str:
    """The artifact with the model of a half."""
    return f"half-{half}.arpa"


def _fit(writer: DatasetWriter, recipe: Recipe, reference: Dataset) -> None:
    key = "doc_id" if reference.manifest.asset == DOCUMENTS else "seed_id"
    drawn = sample(reference.tables([key, "text"]), recipe.perplexity.words)
    side = halves(pa.array([text.text for text in drawn], pa.string())).tolist()
    models, rows, read = [], [], []
    for half in HALVES:
        texts = [text for text, of in zip(drawn, side, strict=True) if of == half]
        read.append({"texts": len(texts), "words": sum(text.words for text in texts)})
        if not read[-1]["words"]:
            raise CosmoError(
                f"language_model: of the two halves of {reference.manifest.asset}, one has no words "
                f"({len(drawn)} texts in all)",
                remedy="give the recipe more text to read, or leave `perplexity` out of its signals",
            )
        models.append(train((text.text for text in texts), recipe.perplexity.order))
        rows += [(half, order, count) for order, count in enumerate(models[-1].sizes, 1)]
        model = models[-1]
        writer.artifact(file_name(half), lambda path, model=model: write_arpa(model, path))  # type: ignore[misc]
    columns = (pa.array(column, pa.int64()) for column in zip(*rows, strict=True))
    writer.write(pa.table(list(columns), schema=LANGUAGE_MODEL))
    scores = Judges((models[0], models[1])).score(pa.array([text.text for text in drawn], pa.string()))
    rest = reference.manifest.rows - len(drawn)
    writer.flow("texts", reference.manifest.rows, len(drawn), dropped={"not_drawn": rest} if rest else {})
    writer.summary = {
        "halves": read,
        "words": sum(half["words"] for half in read),
        "perplexity": round(float(np.exp(scores.nll.sum() / scores.words.sum())), DECIMALS),
        "unknown_word_share": round(float(scores.unknown.sum() / max(scores.words.sum() - len(drawn), 1)), DECIMALS),
    }
