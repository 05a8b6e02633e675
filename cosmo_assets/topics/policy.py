"""The topic policy: which clusters may become prompts, and why not.

Belongs here: the recipe's rules and the reviewed decisions, applied to labels. Does not belong here: the labels
themselves (`labelling`).
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.topics import TopicPolicy
from cosmo_resources.errors import CosmoError

Verdict = Literal["keep", "drop"]

REVIEW_FIELDS = ("topic", "decision", "by", "why")


def resolved(recipe: Recipe) -> TopicPolicy:
    """The recipe's policy with the decisions of its overrides file among its own: what `decide` takes, and what a stage
    depends on. Who decided and why stays in the file, so a better reason makes nothing run again.

    Raises:
        CosmoError: the file is missing or no list of decisions, or it and the recipe say different things of a topic.
    """
    policy = recipe.topics.policy
    if policy.overrides_file is None:
        return policy
    (path, *more) = recipe.paths(policy.overrides_file, field="topics.policy.overrides_file")
    if more:
        raise CosmoError(
            f"recipe {recipe.name}, topics.policy.overrides_file: {policy.overrides_file!r} names more than one file",
            remedy="name one",
        )
    reviewed: dict[str, Verdict] = {row["topic"]: row["decision"] for row in reviews(path)}
    own = {_folded(topic): verdict for topic, verdict in policy.overrides.items()}
    for topic, verdict in reviewed.items():
        if own.get(_folded(topic), verdict) != verdict:
            raise CosmoError(
                f"{path}: {topic!r} is decided otherwise in the recipe's topics.policy.overrides",
                remedy="keep one of the two decisions",
            )
    merged = {**reviewed, **policy.overrides}
    return policy.model_copy(update={"overrides": dict(sorted(merged.items())), "overrides_file": None})


def reviews(path: Path) -> list[dict[str, Any]]:
    """The decisions of an overrides file: a YAML list of `{topic, decision: keep or drop, by, why}`.

    Raises:
        CosmoError: it is not such a list; the message names file, line and field.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CosmoError(f"{path}: not YAML: {error}", remedy="mend the file (UTF-8, YAML)") from error
    if root is None:
        return []
    if not isinstance(root, yaml.SequenceNode):
        raise _fault(path, root, "not a list", "begin each decision with a dash: - topic: ...")
    found: dict[str, dict[str, Any]] = {}
    for node in root.value:
        row = _review(path, node)
        if (key := _folded(row["topic"])) in found:
            raise _fault(path, node, f"topic: {row['topic']!r} is decided twice", "keep one of the two decisions")
        found[key] = row
    return list(found.values())


def decide(label: Mapping[str, Any], policy: TopicPolicy) -> str | None:
    """Why a cluster is excluded, or None where it is kept. Rules in order: no usable label, a reviewer's override,
    a denied heading or topic, a topic that is none of those allowed, a score below the least.

    `policy` is that of `resolved`; overrides are found whatever their case and spaces.
    """
    topic, score = label["topic"], label["score"]
    if topic is None:
        denied = "heading_denied" if label["heading"] in policy.deny_headings else None
        return denied if policy.unlabelled == "keep" else "topic_unlabelled"
    overrides = {_folded(name): verdict for name, verdict in policy.overrides.items()}
    override = overrides.get(_folded(topic))
    if override is not None:
        return None if override == "keep" else "topic_overridden"
    if label["heading"] in policy.deny_headings:
        return "heading_denied"
    if _matches(topic, policy.deny):
        return "topic_denied"
    if policy.allow and not _matches(topic, policy.allow):
        return "topic_not_allowed"
    return "topic_low_score" if score is not None and score < policy.min_score else None


def unused(labels: Iterable[Mapping[str, Any]], policy: TopicPolicy) -> list[str]:
    """Topics that an override names and no label has: decisions that decide nothing any more, as after a refit."""
    topics = {_folded(label["topic"]) for label in labels if label["topic"] is not None}
    return sorted(topic for topic in policy.overrides if _folded(topic) not in topics)


def idle_patterns(labels: Iterable[Mapping[str, Any]], policy: TopicPolicy) -> list[str]:
    """Patterns of `deny` and `allow` that match no label's topic, in the recipe's order."""
    topics = {label["topic"] for label in labels if label["topic"] is not None}
    patterns = dict.fromkeys((*policy.deny, *policy.allow))
    return [pattern for pattern in patterns if not any(_matches(topic, (pattern,)) for topic in topics)]


def _review(path: Path, node: yaml.Node) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _fault(path, node, "not a decision", "write the fields topic, decision, by and why")
    row: dict[str, Any] = {}
    for key, value in node.value:
        if key.value not in REVIEW_FIELDS:
            raise _fault(path, key, f"{key.value}: no such field", f"use only {', '.join(REVIEW_FIELDS)}")
        if key.value in row:
            raise _fault(path, key, f"{key.value}: it stands there twice", "keep one of the two")
        if not isinstance(value, yaml.ScalarNode) or not value.value.strip():
            raise _fault(path, value, f"{key.value}: not a text", "write a few words")
        row[key.value] = " ".join(value.value.split())
    if missing := [name for name in REVIEW_FIELDS if name not in row]:
        raise _fault(path, node, f"{', '.join(missing)}: missing", "every decision says who made it and why")
    if row["decision"] not in get_args(Verdict):
        raise _fault(path, node, f"decision: {row['decision']!r}", "write keep or drop")
    return row


def _fault(path: Path, node: yaml.Node, what: str, remedy: str) -> CosmoError:
    return CosmoError(f"{path}, line {node.start_mark.line + 1}, {what}", remedy=remedy)


def _matches(topic: str, patterns: Iterable[str]) -> bool:
    return any(re.search(pattern, topic, re.IGNORECASE) for pattern in patterns)


def _folded(topic: str) -> str:
    return " ".join(topic.split()).casefold()
