"""Water-filling: every token is shared out, and nobody gets any before those further below."""

from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.quantity.filling import fill

TOPICS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.tuples(st.integers(0, 10**10), st.floats(1e-4, 1)),
    min_size=1,
    max_size=30,
)


def test_those_furthest_below_their_share_come_first() -> None:
    there, shares = {"a": 100, "b": 10, "c": 40}, {"a": 0.5, "b": 0.25, "c": 0.25}
    assert fill(there, shares, 20) == {"b": 20, "c": 0, "a": 0}
    assert fill(there, shares, 50) == {"b": 40, "c": 10, "a": 0}
    assert fill(there, shares, 250) == {"b": 90, "c": 60, "a": 100}
    assert fill(there, shares, 0) == {"b": 0, "c": 0, "a": 0}


@given(TOPICS, st.one_of(st.integers(0, 10**12), st.integers(10**17, 10**18)))
def test_what_is_filled_ends_at_one_level(topics: dict[str, tuple[int, float]], tokens: int) -> None:
    there = {topic: size for topic, (size, _) in topics.items()}
    shares = {topic: share for topic, (_, share) in topics.items()}
    got = fill(there, shares, tokens)
    assert sum(got.values()) == tokens
    assert min(got.values()) >= 0
    filled = [topic for topic in got if got[topic] > 1]
    if filled:
        widest = max(filled, key=lambda topic: shares[topic])
        level = (there[widest] + got[widest]) / shares[widest]
        for topic in topics:
            off = there[topic] + got[topic] - level * shares[topic]
            rounding = 1 + shares[topic] / shares[widest] + 1e-9 * tokens
            assert off >= -rounding, "it is below the others"
            assert got[topic] <= 1 or off <= rounding, "it got more than the others"
