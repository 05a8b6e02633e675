"""The topic policy: which clusters become prompts, and the reason of those that do not."""

from typing import Any

import pytest

from cosmo_assets.recipe import TopicPolicy
from cosmo_assets.topics.policy import decide


def label(topic: str | None = "Celestial mechanics", score: float | None = 7.0, heading: str | None = None) -> Any:
    return {"topic": topic, "score": score, "heading": heading}


def test_without_rules_every_labelled_cluster_is_kept() -> None:
    assert decide(label(score=1.0), TopicPolicy()) is None


@pytest.mark.parametrize(("policy", "reason"), [("drop", "topic_unlabelled"), ("keep", None)])
def test_a_cluster_without_a_label_goes_as_the_policy_says(policy: Any, reason: str | None) -> None:
    assert decide(label(topic=None, score=None), TopicPolicy(unlabelled=policy)) == reason


def test_an_unlabelled_cluster_that_is_kept_meets_no_other_rule() -> None:
    assert decide(label(topic=None, score=1.0), TopicPolicy(unlabelled="keep", min_score=9, deny=(".*",))) is None


@pytest.mark.parametrize("topic", ["Celebrity gossip", "CELEBRITY news", "all about celebrities"])
def test_a_denied_topic_is_found_in_any_case_and_anywhere(topic: str) -> None:
    assert decide(label(topic=topic), TopicPolicy(deny=("obituar", "celebrit"))) == "topic_denied"


def test_a_denied_topic_is_a_regular_expression() -> None:
    policy = TopicPolicy(deny=(r"\bads?\b",))
    assert decide(label(topic="An ad for soap"), policy) == "topic_denied"
    assert decide(label(topic="Adding numbers"), policy) is None


@pytest.mark.parametrize(("score", "reason"), [(2.9, "topic_low_score"), (3.0, None), (3.1, None)])
def test_a_score_below_the_least_excludes(score: float, reason: str | None) -> None:
    assert decide(label(score=score), TopicPolicy(min_score=3)) == reason


def test_a_label_without_a_score_is_not_held_against_the_least() -> None:
    assert decide(label(score=None), TopicPolicy(min_score=9)) is None


def test_a_denied_heading_excludes() -> None:
    assert decide(label(heading="Gossip"), TopicPolicy(deny_headings=("Gossip",))) == "heading_denied"


def test_a_heading_is_denied_by_its_whole_name() -> None:
    assert decide(label(heading="Gossip columns"), TopicPolicy(deny_headings=("Gossip",))) is None


def test_a_denied_topic_comes_before_a_low_score() -> None:
    assert decide(label(score=1), TopicPolicy(min_score=9, deny=("mechanics",))) == "topic_denied"


def test_a_reviewer_who_keeps_goes_before_every_rule() -> None:
    policy = TopicPolicy(
        min_score=9, deny=("mechanics",), deny_headings=("Gossip",), overrides={"Celestial mechanics": "keep"}
    )
    assert decide(label(score=1, heading="Gossip"), policy) is None


def test_a_reviewer_who_drops_goes_before_every_rule() -> None:
    assert decide(label(score=10), TopicPolicy(overrides={"Celestial mechanics": "drop"})) == "topic_overridden"


def test_a_reviewer_decides_on_a_topic_by_its_exact_name() -> None:
    assert decide(label(), TopicPolicy(overrides={"Celestial": "drop"})) is None
