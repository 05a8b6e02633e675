"""Sharing new tokens over topics so that none is repeated more than it must.

Belongs here: the arithmetic. Does not belong here: which topics there are and what share each should have (`stock`).
"""

from collections.abc import Mapping


def fill(there: Mapping[str, int], shares: Mapping[str, float], tokens: int) -> dict[str, int]:
    """What each topic gets of `tokens` by water-filling: those furthest below their share first, all to one level.

    In a training that gives each topic its share, a topic is repeated in proportion to its share by its unique tokens;
    this makes the most repeated topic as little repeated as these tokens allow.

    Args:
        there: unique tokens by topic.
        shares: what each of these topics should have, above 0, relative to the others.
        tokens: to be shared out. The result sums to them.
    """
    order = sorted(shares, key=lambda topic: (there[topic] / shares[topic], topic))
    level, has, weight = 0.0, 0, 0.0
    for topic in order:
        if weight and there[topic] / shares[topic] >= level:
            break
        has, weight = has + there[topic], weight + shares[topic]
        level = (tokens + has) / weight
    got, done, real = dict.fromkeys(order, 0), 0, 0.0
    for topic in order:
        real += max(0.0, level * shares[topic] - there[topic])
        got[topic] = min(round(real), tokens) - done
        done += got[topic]
    got[order[0]] += tokens - done  # what rounding has left
    return got
