"""What several votes on a cluster mean together: whether they agree, which topic has the majority, which score.

Belongs here: the arithmetic of votes. Does not belong here: asking for them (`labelling`) or their wording
(`questions`).
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cosmo_assets.topics.questions import Vote

Same = Callable[[str, str], bool]
"""Whether two topics mean the same."""


@dataclass(frozen=True)
class Outcome:
    """What the votes say: the topic that most of them name, the median score, the reason of the vote for that topic
    whose score is nearest to it, and how many agree with that vote (same topic, score within the tolerance)."""

    topic: str
    score: float
    reason: str
    agreeing: int
    votes: int

    @property
    def agreement(self) -> float:
        return round(self.agreeing / self.votes, 4)


def outcome(votes: Sequence[Vote], same: Same, tolerance: float) -> Outcome:
    """The outcome of at least one vote. Of topics with equally many votes the one named first wins, so the vote from
    the most central extracts counts most."""
    groups = [[vote for vote in votes if same(vote.topic, named.topic)] for named in votes]
    group = max(groups, key=len)
    named = votes[groups.index(group)]
    score = statistics.median(vote.score for vote in votes)
    nearest = min(group, key=lambda vote: abs(vote.score - score))
    agreeing = sum(abs(vote.score - nearest.score) <= tolerance for vote in group)
    return Outcome(named.topic, float(score), nearest.reason, agreeing, len(votes))


def settled(votes: Sequence[Vote], same: Same, tolerance: float, most: int) -> bool:
    """Whether no further vote is needed: the first two agree, or more than half of the `most` votes that there can be
    do, whatever the rest would say."""
    if len(votes) < 2:
        return False
    found = outcome(votes, same, tolerance)
    return found.agreeing == found.votes == 2 or found.agreeing > most / 2
