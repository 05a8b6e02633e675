"""The topic policy: which clusters may become prompts, and why not.

Belongs here: the recipe's rules applied to labels. Does not belong here: the labels themselves (`labelling`).
"""

import re
from collections.abc import Mapping
from typing import Any

from cosmo_assets.recipe import TopicPolicy


def decide(label: Mapping[str, Any], policy: TopicPolicy) -> str | None:
    """Why a cluster is excluded, or None where it is kept. Rules in order: no usable label, a reviewer's override,
    a denied heading or topic, a score below the least."""
    topic, score = label["topic"], label["score"]
    if topic is None:
        return None if policy.unlabelled == "keep" else "topic_unlabelled"
    override = policy.overrides.get(topic)
    if override is not None:
        return None if override == "keep" else "topic_overridden"
    if label["heading"] in policy.deny_headings:
        return "heading_denied"
    if any(re.search(pattern, topic, re.IGNORECASE) for pattern in policy.deny):
        return "topic_denied"
    return "topic_low_score" if score is not None and score < policy.min_score else None
