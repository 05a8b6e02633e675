"""The tables of signals, of the models that measure some, and of what is selected by them.

Belongs here: their columns; those of a family come from the catalogue. Does not belong here: the mixture (`corpus`).
"""

from collections.abc import Sequence

import pyarrow as pa

from cosmo_assets.schemas.columns import COUNT, FLAG, REAL, TEXT, column
from cosmo_assets.signals.catalogue import CATALOGUE, OF_GENERATED, Signal

_REFERENCE = "seed_documents.text,real_documents.text"

LANGUAGE_MODEL = pa.schema(
    [
        column("half", COUNT, "The half of the reference that this model has read: it judges texts of the other"),
        column("order", COUNT, "Words of an n-gram"),
        column("ngrams", COUNT, "How many of that order the model has", source=_REFERENCE),
    ]
)

EDUCATIONAL_LABELS = pa.schema(
    [
        column("text_id", TEXT, "A seed or a real document", source="seed_documents.seed_id,real_documents.doc_id"),
        column("source", TEXT, "The asset that has it"),
        column("extract", TEXT, "The beginning of its text, which the model was shown", source=_REFERENCE),
        column("score", COUNT, "What it teaches, 0 to 5; null where no answer could be used", null=True),
        column("reason", TEXT, "Why, in the model's words", null=True),
        column("status", TEXT, "ok, or why there is no score: unreadable, refused, failed"),
        column("answers", pa.list_(TEXT), "The model's raw answers, refused ones included"),
        column("key", TEXT, "Digest of all that the answer depends on: while it is the same, the row is taken over"),
    ]
)

QUALITY_CLASSIFIER = pa.schema(
    [
        column("text_id", TEXT, "A labelled text", source="educational_labels.text_id"),
        column("label", COUNT, "Its label", source="educational_labels.score"),
        column("score", REAL, "Its score by a classifier that has not seen it", source="educational_labels.extract"),
        column(
            "probability",
            REAL,
            "The probability, by this score, that the label is 3 or more",
            source="educational_labels.extract",
        ),
    ]
)

GENERATED = "generations.text"


def _signals(prefix: str, key: str, text: str) -> dict[str, pa.Schema]:
    """The table of each family of signals, by asset; `key` and `text` are the columns that ids and texts come from."""

    def table(family: Sequence[Signal], texts: str) -> pa.Schema:
        figures = (column(name, kind, meaning, source=texts, null=null) for name, kind, meaning, null in family)
        return pa.schema([column(key.split(".")[1], TEXT, "The text", source=key), *figures])

    of_generated = text == GENERATED
    return {
        f"{prefix}_{family}": table(signals, f"{text},prompt_table.prompt" if family in OF_GENERATED else text)
        for family, signals in CATALOGUE.items()
        if of_generated or family not in OF_GENERATED
    }


SEED_SIGNALS = _signals("seed", "seed_documents.seed_id", "seed_documents.text")

TEXT_SIGNALS = _signals("text", "decontaminated.doc_id", GENERATED)

REAL_SIGNALS = _signals("real", "real_eligible.doc_id", "real_documents.text")

SELECTION = pa.schema(
    [
        column("doc_id", TEXT, "The document, of those that deduplication left", source="deduplicated.doc_id"),
        column(
            "keep",
            FLAG,
            "Whether its signals lie within all limits of the selection",
            source="generation_quality.words,text_statistics.words",
        ),
        column("reason", TEXT, "The first limit that it breaks; null where it breaks none", null=True),
    ]
)

FILTERING_COSTS = pa.schema(
    [
        column("signal", TEXT, "The signal, `family.column`", source="generation_quality.words,text_statistics.words"),
        column("prefer", TEXT, "Which of its values are kept: high or low"),
        column("rule", TEXT, "How: ranks, the best; pareto and gumbel, drawn"),
        column("fraction", REAL, "Of the documents that have the signal, how many are kept"),
        column(
            "measure",
            TEXT,
            "documents, tokens, effective, share, divergence, vendi or retention",
            source="generations.completion_tokens,prompt_table.topic,prompt_table.source,generations.text",
        ),
        column("part", TEXT, "Of a share the domain, of a retention the group of people", null=True),
        column("value", REAL, "What it is where so many are kept"),
    ]
)
