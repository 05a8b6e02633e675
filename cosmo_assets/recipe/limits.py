"""Limits: bounds of the data-quality checks.

Belongs here: what a check compares with, and its default. Does not belong here: rules for a single text
(`generation`), or the checks (each stage's `checks`).
"""

from typing import Annotated

from pydantic import Field

from cosmo_assets.recipe.fields import Count, Section, Share


class Limits(Section):
    """Bounds of the data-quality checks; shares where nothing else is said."""

    max_failed: Share = 0.01
    max_truncated: Share = 0.2
    max_empty: Share = 0.01
    max_refusals: Share = 0.02
    max_repetitive: Share = 0.1
    max_low_quality: Share = 0.3
    max_contaminated: Share = 0.05
    min_contaminated: Share | None = None
    """null: any, once there are enough documents for none at all to be suspicious."""
    max_contaminated_seeds: Share = 0.05
    min_contaminated_seeds: Share | None = None
    max_duplicates: Share = 0.05
    max_copies: Count = 64
    """Of one document in the corpus: a few that are seen very often spoil a model (Hernandez et al. 2022)."""
    max_unselected: Share = 0.5
    max_identity_disparity: Annotated[float, Field(ge=1)] = 1.0
    """How many times as often texts about a group of people may be removed, at the lower end of a 95 % interval."""
    max_bad_seed_rows: Share = 0.02
    max_unexpanded: Share = 0.1
    max_near_duplicate_prompts: Share = 0.01
    min_full_topics: Share = 0.5
    min_seeds_used: Share = 0.1
    max_excluded: Share = 0.5
    max_opener_share: Share = 0.1
    min_label_agreement: Share = 0.5
    min_outlined: Share = 0.8
    max_topic_drift: Share = 0.1
    max_truncation_drift: Share = 0.05
    max_opener_drift: Share = 0.05
    max_contamination_drift: Share = 0.01
    max_duplicate_drift: Share = 0.02
