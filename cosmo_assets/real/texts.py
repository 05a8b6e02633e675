"""Where the texts of a corpus are: generations by bucket, and the real documents.

Belongs here: that mapping, which tokenization, lineage and export share. Does not belong here: reading sources
(`cosmo_assets.seeds`), choosing documents (`eligible`).
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.storage.store import CorpusStore, Dataset

DOCUMENTS, ELIGIBLE = "real_documents", "real_eligible"

REAL = "real"
"""What stands for the bucket of a real document: buckets divide prompts, and it has none."""

TEMPLATE = "(real document)"
"""What stands for its template where duplicates are counted by template."""


def has_real(recipe: Recipe) -> bool:
    """Whether real text is mixed in."""
    return bool(recipe.real.sources)


def mixture_buckets(mixture: Dataset) -> list[str]:
    """The buckets whose documents are in a mixture, `REAL` for the real ones."""
    return [entry.bucket for entry in mixture.manifest.files if entry.role == "rows" and entry.bucket is not None]


def texts_of(store: CorpusStore, mixture: Dataset) -> dict[str, Dataset]:
    """By the buckets of a mixture, the datasets that have the texts of its documents, in the columns `doc_id` and
    `text`.

    Raises:
        CosmoError: one of them is not built.
    """
    return {
        bucket: store.open(DOCUMENTS) if bucket == REAL else store.open("generations", bucket)
        for bucket in mixture_buckets(mixture)
    }
