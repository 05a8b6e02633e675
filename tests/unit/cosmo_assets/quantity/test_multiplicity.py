"""A mean hides the documents that are seen too often."""

import pytest

from cosmo_assets.quantity.multiplicity import multiplicity


def test_one_document_a_hundred_times_among_nine_hundred_is_found_though_the_mean_is_low() -> None:
    found = multiplicity([300] * 901, [1] * 900 + [100], 1)
    assert round(found.mean, 2) == 1.11
    assert found.above == {4: 0.1, 16: 0.1, 64: 0.1}
    assert found.most == 100
    assert found.harmful


def test_documents_of_the_same_copies_may_be_given_together() -> None:
    apart = multiplicity([10, 20, 30, 40], [1, 3, 3, 8], 2.5)
    together = multiplicity([10, 50, 40], [1, 3, 8], 2.5)
    assert apart == together
    assert apart.above == {4: (50 * 3 + 40 * 8) / (10 + 50 * 3 + 40 * 8), 16: (40 * 8) / (10 + 50 * 3 + 40 * 8), 64: 0}
    assert not apart.harmful


@pytest.mark.parametrize(("epochs", "harmful"), [(1, False), (4, False), (4.01, True)])
def test_planned_epochs_multiply_copies(epochs: float, harmful: bool) -> None:
    found = multiplicity([990, 1], [1, 16], epochs)
    assert found.harmful is harmful
    assert found.most == 16 * epochs
