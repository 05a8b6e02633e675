"""Advice on weights: the method that is the truth is preferred, noise says nothing, and order does not matter."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from lxml import etree

from cosmo_assets.cli.main import main
from cosmo_assets.composition import validation
from cosmo_assets.composition.advice import REFITS, Advice, _best, advise, bounds_of, numbers_said, shares_of
from cosmo_assets.composition.runs import Array, Runs
from cosmo_assets.composition.show import NOTHING, advice_values, fragment, weights_chart
from cosmo_assets.composition.validation import Interval, Score, gap, resamples, scores
from cosmo_assets.recipe.mixture import Mixture
from cosmo_resources.errors import CosmoError
from tests.unit.cosmo_assets.composition.trainings import law, noisy, runs_of, simplex, write_csv

ONE = np.ones(1)
SHARES = np.array([0.5, 0.3, 0.2])
BOUNDS = np.array([0.4, 1.0, 1.0])
STEP = np.log(0.3 / 0.2) / 8
BOUND_OPTIMUM = [0.4, 0.3 + STEP, 0.3 - STEP]
"""Of `own` with these shares and bounds: without bounds the first would have 0.45."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "REPEATS", 2)
    for method, count in (("law", 100), ("trees", 8)):
        monkeypatch.setitem(REFITS, method, count)


def own(weights: Array) -> list[Array]:
    """Losses on three targets, each lowered by its own domain."""
    return [1 + np.exp(-4 * column) for column in weights.T]


def boxes(weights: Array) -> Array:
    return np.asarray(3 - 0.5 * (weights[:, 0] > 0.3) - 0.3 * (weights[:, 1] > 0.2))


@cache
def of_law() -> Advice:
    weights = simplex(24)
    losses = [noisy(lambda _, column=column: column, weights, 2e-3, seed) for seed, column in enumerate(own(weights))]  # type: ignore[misc]
    return advise(runs_of(weights, *losses), SHARES, BOUNDS)


@cache
def of_trees() -> Advice:
    weights = simplex(48, seed=3)
    return advise(runs_of(weights, noisy(boxes, weights, 0.01)), ONE, np.array([1.0, 0.4, 1.0]))


@cache
def of_noise(seed: int = 0) -> Advice:
    weights = simplex(24, seed=seed)
    return advise(runs_of(weights, np.random.default_rng(seed + 50).normal(size=24)), ONE, np.ones(3))


def test_where_the_law_is_the_truth_it_answers() -> None:
    found = of_law()
    assert found.method == "law"
    assert found.gaps["trees", "law"].low > 0
    assert found.scores["law"].error < 0.005 < found.scores["trees"].error < found.scores["mean"].error
    assert found.scores["law"].spearman.min() > 0.98


def test_where_the_truth_is_boxes_trees_answer() -> None:
    found = of_trees()
    assert found.method == "trees"
    assert found.gaps["trees", "law"].high < 0
    assert found.best is not None
    assert found.best.laws == ()
    first, second, _ = (weight.value for weight in found.best.weights)
    assert first > 0.3
    assert 0.2 < second <= 0.4
    assert found.best.loss.value == pytest.approx(2.2, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_runs_without_information_say_so(seed: int) -> None:
    found = of_noise(seed)
    assert (found.method, found.best) == (None, None)
    assert advice_values(found)["weights"] is None
    assert found.scores["mean"].error > 0


def test_a_method_that_is_named_must_beat_the_mean_as_well() -> None:
    runs = of_noise().runs
    assert advise(runs, ONE, np.ones(3), method="law").method is None
    known = of_law()
    assert advise(known.runs, SHARES, BOUNDS, method="trees").method == "trees"


@pytest.mark.parametrize("bounds", [np.ones(3), BOUNDS])
def test_the_optimum_of_a_known_law_is_found_from_runs(bounds: Array) -> None:
    weights = simplex(30)
    found = advise(runs_of(weights, *own(weights)), SHARES, bounds)
    assert found.best is not None
    free = (np.log(SHARES) - np.log(SHARES).mean()) / 4 + 1 / 3
    expected = free if bounds[0] == 1 else BOUND_OPTIMUM
    assert [weight.value for weight in found.best.weights] == pytest.approx(expected, abs=1e-3)
    assert found.best.weights[0].value <= bounds[0]
    assert found.best.loss.value == pytest.approx(1 + SHARES @ np.exp(-4 * np.array(expected)), abs=1e-6)


def test_most_intervals_hold_the_truth_and_all_keep_the_bounds() -> None:
    held = []
    for seed in range(8):
        weights = simplex(24, seed=seed)
        random = np.random.default_rng(seed + 1000)
        runs = runs_of(weights, *(column + random.normal(scale=2e-3, size=24) for column in own(weights)))
        best = _best("law", runs, SHARES, BOUNDS, 0)
        for weight, truth, bound in zip(best.weights, BOUND_OPTIMUM, BOUNDS, strict=True):
            assert 0 <= weight.low <= weight.high <= bound
            held.append(weight.low - 1e-9 <= truth <= weight.high + 1e-9)
        assert 1e-4 < best.weights[1].high - best.weights[1].low < 0.02
        truth = 1 + SHARES @ np.exp(-4 * np.array(BOUND_OPTIMUM))
        held.append(best.loss.low <= truth <= best.loss.high)
    assert np.mean(held) >= 0.8


def test_the_same_seed_gives_the_same_and_another_one_other_draws() -> None:
    runs = of_law().runs
    asked = (runs, of_law().shares, of_law().bounds)
    assert advice_values(advise(*asked)) == advice_values(of_law())
    other = advise(*asked, seed=1)
    assert other.best is not None
    assert of_law().best is not None
    assert other.best.weights[1].low != of_law().best.weights[1].low  # type: ignore[union-attr]
    assert other.best.weights[1].value == pytest.approx(of_law().best.weights[1].value, abs=1e-4)  # type: ignore[union-attr]


def test_runs_of_one_mixture_stay_together() -> None:
    weights = np.repeat(simplex(8), 2, axis=0)
    losses = np.repeat(np.random.default_rng(0).normal(size=8), 2)
    runs = runs_of(weights, losses)
    counts = resamples(runs, 0, 50)
    assert (counts[:, ::2] == counts[:, 1::2]).all()
    assert counts.mean(axis=1) == pytest.approx(1)
    assert scores(runs, ONE, 0)["trees"].error > 0.3, "a fold that had one of the two would know the other"


def test_few_runs_are_left_out_one_by_one() -> None:
    weights = simplex(7, 5)
    losses = 1 + np.exp(weights @ np.linspace(-1, 1, 5))
    found = scores(runs_of(weights, losses), ONE, 0)
    assert np.median(found["law"].by_run) < 1e-6, "six runs determine a law of six parameters, five do not"


def test_the_error_of_a_method_is_weighted_by_targets() -> None:
    weights = simplex(6)
    found = scores(runs_of(weights, law(weights), 9 * law(weights)), np.array([0.75, 0.25]), 0)["mean"]
    assert found.errors[1] == pytest.approx(9 * found.errors[0])
    assert found.error == pytest.approx(3 * found.errors[0])


def test_a_gap_is_of_the_runs_in_pairs() -> None:
    none = np.zeros(1)
    base = np.array([1.0, 5.0, 9.0, 2.0])
    worse, better = Score(none, none, base + 0.5), Score(none, none, base)
    counts = resamples(runs_of(simplex(4), base), 0, 100)
    found = gap(worse, better, counts)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert gap(Score(none, none, np.array([3.0, 3, 9, 2])), better, counts).low < 0


def test_warnings_say_what_is_wrong_with_the_runs() -> None:
    found = of_law()
    assert found.warnings == []
    few = Runs(found.runs.domains, found.runs.targets, found.runs.weights[:11], found.runs.losses[:11], ("row 3: x",))
    assert found.best is not None
    best = type(found.best)(found.best.weights, found.best.loss, Interval(0.1, -0.1, 0.2), 0.02, ())
    other = Advice(few, found.shares, found.bounds, found.scores, found.gaps, "law", best)
    said = " ".join(other.warnings)
    assert "1 rows were left out: row 3: x" in said
    assert "11 runs for 3 domains" in said
    assert "outside of what the runs covered, with 2.0% of its tokens" in said
    assert "may be chance" in said


def test_the_fragment_is_a_mixture_of_a_recipe() -> None:
    found = of_law()
    assert found.best is not None
    parsed = yaml.safe_load(fragment(found, found.best))
    components = Mixture.model_validate(parsed["mixture"]).components
    for name, weight in zip(found.runs.domains, found.best.weights, strict=True):
        assert components[name].weight == pytest.approx(weight.value, abs=1e-6)
    weights = [component.weight or 0 for component in components.values()]
    assert weights == sorted(weights, reverse=True)
    none = type(found.best)(
        (Interval(1, 1, 1), Interval(0, 0, 0), Interval(1e-9, 0, 0)), found.best.loss, found.best.gain, 0.0, ()
    )
    assert yaml.safe_load(fragment(found, none)) == {"mixture": {"components": {"d0": {"weight": 1.0}}}}


def test_the_chart_has_a_bar_an_interval_and_a_mark_for_each_domain() -> None:
    found = of_law()
    assert found.best is not None
    svg = weights_chart(found, found.best)
    notes = [element.text for element in etree.fromstring(svg.encode()).iter("{*}title")]
    assert sum(note.startswith("mean of the runs: ") for note in notes) == 3
    assert sum(bool(re.match(r"d\d: .*% \(.*% to .*%\)", note)) for note in notes) == 3


@pytest.mark.parametrize(
    ("texts", "says"),
    [(["a"], "'a' is no name"), (["=1"], "'=1'"), (["a=x"], "'a=x'"), (["a=-1"], "'a=-1'"), (["a=inf"], "'a=inf'"),
     (["a=1", "a=1"], "a stands there twice")],
)  # fmt: skip
def test_what_is_no_name_and_number_is_refused(texts: list[str], says: str) -> None:
    with pytest.raises(CosmoError, match=re.escape(f"--target: {says}")):
        numbers_said("--target", texts)


def test_names_and_numbers_are_read() -> None:
    assert numbers_said("--target", ["a=b=2", "c=0"]) == {"a=b": 2.0, "c": 0.0}
    runs = of_law().runs
    assert shares_of(runs, {}).tolist() == pytest.approx([1 / 3] * 3)
    assert shares_of(runs, {"t0": 1, "t1": 2, "t2": 1}).tolist() == [0.25, 0.5, 0.25]
    assert bounds_of(runs, {"d1": 0.3}).tolist() == [1.0, 0.3, 1.0]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"dx": 0.1}, "no weight.dx"),
        ({"d0": 30}, "d0=30 is above 1"),
        ({"d0": 0.3, "d1": 0.3, "d2": 0.3}, "0.9 together"),
    ],
)
def test_bounds_that_cannot_be_met_are_refused(asked: dict[str, float], says: str) -> None:
    with pytest.raises(CosmoError, match=re.escape(says)):
        bounds_of(of_law().runs, asked)


def test_a_target_of_no_weight_is_refused() -> None:
    with pytest.raises(CosmoError, match="t1 has the weight 0"):
        shares_of(of_law().runs, {"t0": 1, "t1": 0, "t2": 1})


def cosmo(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["weights", *map(str, arguments)])


def test_the_order_of_rows_and_columns_changes_nothing(tmp_path: Path) -> None:
    runs = of_law().runs
    rows = np.random.default_rng(5).permutation(len(runs.weights)).tolist()
    one = cosmo(write_csv(tmp_path / "one.csv", runs), "--json")
    other = cosmo(write_csv(tmp_path / "other.csv", runs, rows=rows, backwards=True), "--json")
    assert one.exit_code == 0
    assert json.loads(one.output) == json.loads(other.output)


def test_the_command_ends_with_the_fragment(tmp_path: Path) -> None:
    found = cosmo(write_csv(tmp_path / "runs.csv", of_law().runs), "--at-most", "d0=0.3")
    assert found.exit_code == 0
    assert "(reached)" in found.output
    components = yaml.safe_load(found.output[found.output.index("mixture:") :])["mixture"]["components"]
    assert components["d0"]["weight"] == 0.3
    assert sum(component["weight"] for component in components.values()) == pytest.approx(1, abs=1e-5)


def test_the_command_says_when_runs_say_nothing(tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"
    found = cosmo(write_csv(tmp_path / "runs.csv", of_noise().runs), "--chart", chart)
    assert found.exit_code == 0
    assert NOTHING in " ".join(found.output.split())
    assert "mixture:" not in found.output
    assert not chart.exists()


def test_the_command_ends_with_the_error_and_its_remedy(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "runs.csv", of_law().runs)
    for arguments in (["--chart", tmp_path / "no" / "x.svg"], ["--target", "x=1"], ["--at-most", "d0"]):
        found = cosmo(path, *arguments)
        assert found.exit_code == 1
        assert str(arguments[0]) in found.output
        assert "remedy" in found.output


def test_the_command_obeys_method_and_seed(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "runs.csv", of_law().runs)
    found = [json.loads(cosmo(path, "--method", "trees", "--seed", seed, "--json").output) for seed in (3, 4)]
    assert [values["method"] for values in found] == ["trees", "trees"]
    assert found[0]["weights"] != found[1]["weights"]
