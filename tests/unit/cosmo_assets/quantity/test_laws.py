"""Scaling laws against published figures, and the closed form of the optimum against a search."""

from dataclasses import replace
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares, minimize_scalar

from cosmo_assets.quantity.laws import PRESETS, ScalingLaw, kaplan_least_tokens, kaplan_loss

LAWS = st.builds(
    ScalingLaw,
    e=st.floats(0.5, 3),
    a=st.floats(50, 5000),
    b=st.floats(50, 5000),
    alpha=st.floats(0.1, 0.6),
    beta=st.floats(0.1, 0.6),
    origin=st.just("drawn"),
)
COMPUTES = st.floats(15, 27).map(lambda power: 10**power)
GOPHER = 5.76e23
"""The compute of Gopher, for which Hoffmann et al. trained Chinchilla."""


def test_kaplan_is_as_published() -> None:
    assert kaplan_loss(1.5e9, 2.2e10) == pytest.approx(2.3125, abs=1e-3)
    assert kaplan_least_tokens(1e9) == pytest.approx(2.29e10, rel=1e-2)
    assert kaplan_least_tokens(1e9) == pytest.approx(22_854_409_481, rel=1e-9)


@pytest.mark.parametrize(
    ("preset", "parameters", "tokens", "of_parameters"),
    [
        ("hoffmann2022", 32.190e9, 2.982e12, 0.4516),
        ("hoffmann2022-exact", 40.361e9, 2.379e12, 0.4565),
        ("epoch2024", 72.249e9, 1.3287e12, 0.5126),
    ],
)
def test_the_best_model_for_gophers_compute(
    preset: str, parameters: float, tokens: float, of_parameters: float
) -> None:
    law = PRESETS[preset]
    found = law.optimum(GOPHER)
    assert found[0] == pytest.approx(parameters, rel=1e-4)
    assert found[1] == pytest.approx(tokens, rel=3e-4), "given to four digits"
    assert 6 * found[0] * found[1] == pytest.approx(GOPHER, rel=1e-12)
    assert law.growth[0] == pytest.approx(of_parameters, abs=1e-4)
    assert sum(law.growth) == pytest.approx(1)


def test_digits_that_round_to_the_printed_constants_give_the_figure_of_the_unrounded_fit() -> None:
    """Quoted of the default's fit at Gopher's compute: 72.353 billion and 1.327 trillion. All but beta stay as printed:
    of it the paper has four digits."""
    printed = PRESETS["epoch2024"]
    law = replace(printed, beta=0.36584)
    assert round(law.beta, 4) == printed.beta
    quoted = 72.353e9, 1.327e12
    assert law.optimum(GOPHER) == pytest.approx(quoted, rel=1e-4)
    assert law.growth[0] == pytest.approx(0.5126, abs=1e-4)
    assert printed.optimum(GOPHER) != pytest.approx(quoted, rel=1e-3)


def test_rounding_the_constants_alone_moves_the_optimum_by_a_quarter() -> None:
    rounded, exact = (PRESETS[name].optimum(GOPHER)[0] for name in ("hoffmann2022", "hoffmann2022-exact"))
    assert exact / rounded - 1 == pytest.approx(0.254, abs=1e-3)


def test_the_default_wants_about_twenty_tokens_for_a_parameter() -> None:
    parameters, tokens = PRESETS["epoch2024"].optimum(GOPHER)
    assert tokens / parameters == pytest.approx(18.4, abs=0.1)


def test_chinchilla_beats_gopher() -> None:
    law = PRESETS["hoffmann2022"]
    assert law.loss(70e9, 1.4e12) == pytest.approx(1.9366, abs=1e-4)
    assert law.loss(280e9, 300e9) == pytest.approx(1.9933, abs=1e-4)


@given(LAWS, COMPUTES)
def test_the_closed_form_is_the_least_loss_of_a_search(law: ScalingLaw, flops: float) -> None:
    parameters, tokens = law.optimum(flops)

    def at(log_parameters: float) -> float:
        return law.loss(exp(log_parameters), flops / 6 / exp(log_parameters)) - law.e

    middle = log(parameters)
    found = minimize_scalar(at, bounds=(middle - 7, middle + 5), method="bounded", options={"xatol": 1e-9})
    assert exp(found.x) == pytest.approx(parameters, rel=1e-3)
    assert law.loss(parameters, tokens) <= found.fun + law.e + 1e-12


@given(LAWS, COMPUTES)
def test_parameters_and_tokens_lead_to_one_another(law: ScalingLaw, flops: float) -> None:
    parameters, tokens = law.optimum(flops)
    assert law.parameters_for(tokens) == pytest.approx(parameters, rel=1e-9)
    assert law.tokens_for(parameters) == pytest.approx(tokens, rel=1e-9)


@given(LAWS, st.floats(6, 12), st.floats(6, 13), st.floats(1.01, 100))
def test_more_of_either_is_never_worse(law: ScalingLaw, size: float, length: float, times: float) -> None:
    before = law.loss(10**size, 10**length)
    assert law.loss(times * 10**size, 10**length) < before
    assert law.loss(10**size, times * 10**length) < before


def test_the_constants_are_recovered_from_points_of_the_law() -> None:
    law = PRESETS["hoffmann2022-exact"]
    points = [(10**size, 10**length) for size in (7, 8, 9, 10, 11) for length in (8, 9, 10, 11, 12)]

    def off(constants: list[float]) -> list[float]:
        e, a, b, alpha, beta = constants
        tried = ScalingLaw(exp(e), exp(a), exp(b), alpha, beta, "")
        return [log(tried.loss(*point) / law.loss(*point)) for point in points]

    e, a, b, alpha, beta = least_squares(off, [0.3, 5.0, 5.0, 0.5, 0.5], xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    found = (exp(e), exp(a), exp(b), alpha, beta)
    assert found == pytest.approx((law.e, law.a, law.b, law.alpha, law.beta), rel=1e-3)
