"""Copies of documents: their source gives the tokens that it shall, and a small change changes few of them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.mixture.drawing import FEW, Reals, Wholes, copies, cuts, draws
from cosmo_resources.storage.digest import digest

COUNT = 3 * FEW
IDS = [digest(str(number)) for number in range(COUNT)]
DRAWS = draws(pa.array(IDS))
TOKENS: Wholes = np.array([int(key[:4], 16) % 900 + 30 for key in IDS], dtype=np.int64)
ONES = np.ones(COUNT)
MIXED: Reals = np.choose([int(key[-1], 16) % 4 for key in IDS], [1.0, 0.3, 2.5, 0.0])


def drawn(target: int, tokens: Wholes, draw: Reals, factor: Reals) -> Wholes:
    (epochs,) = cuts(tokens, draw, factor, [target])
    return copies(epochs, draw, factor)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, COUNT), st.integers(1, 6 * 10**6), st.booleans(), st.randoms(use_true_random=False))
def test_a_source_misses_its_target_by_at_most_half_a_document(
    count: int, target: int, mixed: bool, random: np.random.Generator
) -> None:
    start = random.randint(0, COUNT - count)  # type: ignore[attr-defined]
    part = slice(start, start + count)
    factor = MIXED[part] if mixed else ONES[part]
    if not factor.any():
        return
    found = drawn(target, TOKENS[part], DRAWS[part], factor)
    assert 2 * abs(int(TOKENS[part] @ found) - target) <= int(TOKENS[part].max())


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_whole_epochs_are_exact(epochs: int) -> None:
    found = drawn(epochs * int(TOKENS.sum()), TOKENS, DRAWS, ONES)
    assert (found == epochs).all()


@pytest.mark.parametrize("target", [1000, 10**6, 7 * 10**6, 2 * 10**7], ids=str)
def test_copies_are_the_epochs_times_the_factor_rounded_down_or_up(target: int) -> None:
    (epochs,) = cuts(TOKENS, DRAWS, MIXED, [target])
    found = copies(epochs, DRAWS, MIXED)
    assert ((found >= np.floor(epochs * MIXED)) & (found <= np.ceil(epochs * MIXED))).all()
    assert not found[MIXED == 0].any()


def test_documents_of_a_higher_factor_are_repeated_in_its_proportion() -> None:
    found = drawn(3 * 10**6, TOKENS, DRAWS, MIXED)
    means = {factor: found[factor == MIXED].mean() for factor in (0.3, 1.0, 2.5)}
    assert means[2.5] / means[1.0] == pytest.approx(2.5, rel=0.1)
    assert means[0.3] / means[1.0] == pytest.approx(0.3, rel=0.1)


def test_more_tokens_never_mean_fewer_copies_of_a_document() -> None:
    before = np.zeros(COUNT, np.int64)
    for target in range(10**5, 10**7, 10**6):
        after = drawn(target, TOKENS, DRAWS, MIXED)
        assert (after >= before).all()
        before = after


def test_the_order_of_the_documents_does_not_matter() -> None:
    order = np.random.default_rng(1).permutation(COUNT)
    found = drawn(2 * 10**6, TOKENS, DRAWS, MIXED)
    assert (drawn(2 * 10**6, TOKENS[order], DRAWS[order], MIXED[order]) == found[order]).all()


@pytest.mark.parametrize("factor", [ONES, MIXED], ids=["factor 1", "mixed factors"])
@pytest.mark.parametrize("target", [4 * 10**5, 3 * 10**6, 11 * 10**6], ids=str)
def test_a_document_more_or_less_changes_few_others(target: int, factor: Reals) -> None:
    """The tokens that it takes or leaves are those of a document or two: about as many change."""
    found = drawn(target, TOKENS, DRAWS, factor)
    most = int(TOKENS.max() // TOKENS.min())
    for gone in range(0, COUNT, COUNT // 20):
        rest = np.arange(COUNT) != gone
        after = drawn(target, TOKENS[rest], DRAWS[rest], factor[rest])
        moved = TOKENS[rest][after != found[rest]]
        assert moved.sum() <= TOKENS[gone] * max(1, found[gone]) + 2 * TOKENS.max()
        assert len(moved) <= 2 * most


def test_stages_share_the_documents_before_any_comes_again() -> None:
    total = int(TOKENS.sum())
    parts = [total // 4, total // 2, total - total // 4 - total // 2, total // 3]
    ends = cuts(TOKENS, DRAWS, ONES, parts)
    until = np.stack([copies(end, DRAWS, ONES) for end in ends])
    by_stage = np.diff(until, axis=0, prepend=0)
    assert (until[2] == 1).all()
    assert by_stage.min() == 0
    for stage, part in enumerate(parts):
        assert abs(int(TOKENS @ by_stage[stage]) - part) <= TOKENS.max()


def test_a_draw_depends_on_the_document_alone() -> None:
    assert (draws(pa.array(IDS[5:9])) == DRAWS[5:9]).all()
    assert len(set(DRAWS.tolist())) == COUNT
    assert abs(DRAWS.mean() - 0.5) < 0.02


def test_what_no_document_can_give_is_an_error() -> None:
    with pytest.raises(ValueError, match="no document can give"):
        cuts(TOKENS[:3], DRAWS[:3], np.zeros(3), [10])
    assert cuts(TOKENS[:3], DRAWS[:3], np.zeros(3), [0]) == [0.0]
