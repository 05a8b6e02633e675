"""The topic policy: which clusters become prompts, and the reason of those that do not."""

from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.topics import TopicPolicy
from cosmo_assets.topics.policy import decide, idle_patterns, resolved, unused
from cosmo_resources.errors import CosmoError
from tests.unit.cosmo_assets.synthetic import recipe

REVIEWED = """\
# decisions of the March review
- { topic: Celestial Mechanics, decision: keep, by: Ada, why: a textbook subject }
- topic: Garden sheds
  decision: drop
  by: Bert
  why: only offers
"""


def label(topic: str | None = "Celestial mechanics", score: float | None = 7.0, heading: str | None = None) -> Any:
    return {"topic": topic, "score": score, "heading": heading}


def reviewed(folder: Path, text: str = REVIEWED, **policy: Any) -> Recipe:
    """A recipe in `folder` whose topic policy names an overrides file with this text."""
    (folder / "overrides.yaml").write_text(text, encoding="utf-8")
    rules = {"overrides_file": "overrides.yaml", **policy}
    return recipe(topics={"clustering": {"clusters": 1}, "policy": rules}, folder=folder)


def test_without_rules_every_labelled_cluster_is_kept() -> None:
    assert decide(label(score=1.0), TopicPolicy()) is None


@pytest.mark.parametrize(("policy", "reason"), [("drop", "topic_unlabelled"), ("keep", None)])
def test_a_cluster_without_a_label_goes_as_the_policy_says(policy: Any, reason: str | None) -> None:
    assert decide(label(topic=None, score=None), TopicPolicy(unlabelled=policy)) == reason


def test_an_unlabelled_cluster_that_is_kept_is_judged_by_its_heading_alone() -> None:
    policy = TopicPolicy(unlabelled="keep", min_score=9, deny=(".*",), deny_headings=("Gossip",))
    assert decide(label(topic=None, score=1.0), policy) is None
    assert decide(label(topic=None, score=1.0, heading="Gossip"), policy) == "heading_denied"


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


def test_a_reviewer_decides_on_a_topic_by_its_whole_name_in_any_case() -> None:
    assert decide(label(), TopicPolicy(overrides={"Celestial": "drop"})) is None
    assert decide(label(), TopicPolicy(overrides={"celestial  Mechanics": "drop"})) == "topic_overridden"


@pytest.mark.parametrize(("allow", "reason"), [((r"\bmechanic", "law"), None), (("law",), "topic_not_allowed")])
def test_where_some_topics_are_allowed_no_others_are(allow: Any, reason: str | None) -> None:
    assert decide(label(), TopicPolicy(allow=allow)) == reason


def test_a_topic_that_is_allowed_may_still_be_denied_or_score_too_low() -> None:
    assert decide(label(), TopicPolicy(allow=("mech",), deny=("celest",))) == "topic_denied"
    assert decide(label(score=2), TopicPolicy(allow=("mech",), min_score=3)) == "topic_low_score"


def test_a_pattern_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        TopicPolicy(allow=("(",))


def test_decisions_of_a_reviewed_file_go_before_the_rules(tmp_path: Path) -> None:
    policy = resolved(reviewed(tmp_path, min_score=9))
    assert decide(label(score=1), policy) is None
    assert decide(label("Garden  Sheds", score=10), policy) == "topic_overridden"
    assert decide(label("Tides", score=1), policy) == "topic_low_score"


def test_who_decided_and_why_is_no_part_of_what_a_stage_depends_on(tmp_path: Path) -> None:
    before = resolved(reviewed(tmp_path)).model_dump()
    assert resolved(reviewed(tmp_path, REVIEWED.replace("Bert", "Carla"))).model_dump() == before
    assert resolved(reviewed(tmp_path, REVIEWED.replace("decision: drop", "decision: keep"))).model_dump() != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topic: Tides\n", "line 1, not a list"),
        ("- Tides\n", "line 1, not a decision"),
        (REVIEWED + "- { topic: Tides, decision: keep, by: Ada }\n", "line 7, why: missing"),
        (REVIEWED + "- { topic: Tides, decision: maybe, by: Ada, why: so }\n", "line 7, decision: 'maybe'"),
        (REVIEWED + "- topic: Tides\n  verdict: keep\n", "line 8, verdict: no such field"),
        (REVIEWED + "- topic: Tides\n  by:\n", "line 8, by: not a text"),
        (REVIEWED + "- topic: Tides\n  topic: Tides\n", "line 8, topic: it stands there twice"),
        (REVIEWED + "- { topic: garden sheds, decision: keep, by: Ada, why: so }\n", "line 7, .*decided twice"),
        ("- [unclosed\n", "not YAML"),
    ],
)
def test_a_fault_of_the_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CosmoError, match=f"overrides.yaml[,:] ?.*{message}"):
        resolved(reviewed(tmp_path, text))


def test_an_empty_file_decides_nothing(tmp_path: Path) -> None:
    assert resolved(reviewed(tmp_path, "# nothing yet\n")).overrides == {}


def test_a_file_that_is_not_there_is_an_error_that_names_the_field(tmp_path: Path) -> None:
    told = recipe(topics={"clustering": {"clusters": 1}, "policy": {"overrides_file": "none.yaml"}}, folder=tmp_path)
    with pytest.raises(CosmoError, match=r"topics\.policy\.overrides_file: no file matches .*none\.yaml"):
        resolved(told)


def test_file_and_recipe_may_not_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="'Garden sheds' is decided otherwise"):
        resolved(reviewed(tmp_path, overrides={"garden sheds": "keep"}))
    assert resolved(reviewed(tmp_path, overrides={"Garden sheds": "drop"})).overrides["Garden sheds"] == "drop"


def test_overrides_that_decide_nothing_are_named() -> None:
    policy = TopicPolicy(overrides={"celestial mechanics": "keep", "Tides": "drop"})
    assert unused([label(), label(topic=None)], policy) == ["Tides"]


def test_patterns_that_match_no_topic_are_named() -> None:
    policy = TopicPolicy(deny=("mechan", "gossip"), allow=("CELEST", "law", "gossip"))
    assert idle_patterns([label(), label(topic=None)], policy) == ["gossip", "law"]
