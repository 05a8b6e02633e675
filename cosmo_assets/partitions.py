"""Partitions: the buckets of a recipe as Dagster sees them.

Belongs here: the partitions definition. Does not belong here: which bucket a prompt is in (`ids.bucket_of`).
"""

import dagster as dg

from cosmo_assets.ids import bucket_name
from cosmo_assets.recipe.recipe import Recipe


def buckets(recipe: Recipe) -> dg.StaticPartitionsDefinition:
    """One partition per bucket, `b000` first: an unbiased sample of the corpus, and so its pilot."""
    return dg.StaticPartitionsDefinition([bucket_name(index) for index in range(recipe.buckets)])
