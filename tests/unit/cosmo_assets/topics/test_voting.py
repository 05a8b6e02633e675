"""What several votes mean together."""

import pytest

from cosmo_assets.topics.questions import Vote
from cosmo_assets.topics.voting import outcome, settled

TIDES, REEFS = Vote("Tides", 8, "about tides"), Vote("Reefs", 8, "about reefs")


def same(left: str, right: str) -> bool:
    return left == right


def scored(*scores: float) -> list[Vote]:
    return [Vote("Tides", score, f"worth {score:g}") for score in scores]


def test_the_topic_with_most_votes_wins_and_the_score_is_the_median() -> None:
    found = outcome([REEFS, *scored(3, 6)], same, tolerance=3)
    assert (found.topic, found.score, found.reason) == ("Tides", 6, "worth 6")
    assert (found.agreeing, found.votes, found.agreement) == (2, 3, 0.6667)


def test_of_two_topics_with_equally_many_votes_the_first_named_wins() -> None:
    assert outcome([REEFS, TIDES, TIDES, REEFS], same, 2).topic == "Reefs"


def test_a_vote_for_the_topic_with_another_score_does_not_agree() -> None:
    found = outcome(scored(9, 8, 2), same, tolerance=2)
    assert (found.score, found.agreeing) == (8, 2)


def test_topics_that_mean_the_same_are_one_topic() -> None:
    votes = [Vote("Reefs", 7, "a"), Vote("Tides", 7, "b"), Vote("Tide", 7, "c")]
    assert outcome(votes, lambda left, right: left[:4] == right[:4], 2).topic == "Tides"


@pytest.mark.parametrize(
    ("votes", "over"),
    [
        ([], False),
        ([TIDES], False),
        ([TIDES, TIDES], True),
        ([TIDES, REEFS], False),
        (scored(9, 7), True),
        (scored(9, 6), False),
        (scored(9, 1), False),
        ([TIDES, REEFS, TIDES], False),
        ([TIDES, REEFS, TIDES, TIDES], True),
    ],
)
def test_voting_ends_when_the_first_two_agree_or_nothing_could_change_the_majority(
    votes: list[Vote], over: bool
) -> None:
    assert settled(votes, same, tolerance=2, most=5) is over
