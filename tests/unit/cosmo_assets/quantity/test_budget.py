"""The planner: what may be asked, what is answered without a corpus, and what it costs."""

import json
import re
from math import inf
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lxml import etree

from cosmo_assets.cli.main import main
from cosmo_assets.prompts.forecast import Speed
from cosmo_assets.quantity.budget import Budget, budget, said, training_of
from cosmo_assets.quantity.laws import PRESETS
from cosmo_assets.quantity.repetition import best, loss
from cosmo_assets.quantity.show import budget_tables, budget_values, law_line
from cosmo_assets.quantity.stock import Stock
from cosmo_resources.errors import CosmoError

EPOCH = PRESETS["epoch2024"]


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSMO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COSMO_RECIPE", "cosmopedia-v2")


def cosmo(*arguments: str) -> str:
    found = CliRunner().invoke(main, ["budget", *arguments])
    assert found.exit_code == 0, found.output
    return found.output


def of(stock: Stock, *, share: float = 0.005, flops: float = 1e22) -> Budget:
    speed = Speed("H100", 1000.0, "a test")
    return budget("epoch2024", training_of("epoch2024", {"flops": flops}), stock, share=share, speed=speed, price=2.0)


@pytest.mark.parametrize(
    ("asked", "says", "remedy"),
    [
        ({}, "none is given", "--flops"),
        ({"flops": 1e22, "tokens": 1e9}, "--flops and --tokens are given", "--parameters"),
        ({"flops": 0}, "--flops is 0, not a number above 0", "1e22"),
        ({"gpu_hours": -5, "gpu_tflops": 989}, "--gpu-hours is -5", "above 0"),
        ({"parameters": inf}, "--parameters is inf", "above 0"),
        ({"tokens": float("nan")}, "--tokens is nan", "above 0"),
        ({"gpu_hours": 5}, "--gpu-hours does not say how fast", "--gpu-tflops"),
        ({"flops": 1e22, "gpu_tflops": 989}, "--gpu-tflops belongs to --gpu-hours, and --flops is", "leave it out"),
        ({"tokens": 1e22, "mfu": 0.4}, "--mfu belongs to --gpu-hours, and --tokens is", "leave it out"),
        ({"gpu_hours": 5, "gpu_tflops": 989, "mfu": 40}, "--mfu is 40, above 1", "0.4"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(asked: dict[str, float], says: str, remedy: str) -> None:
    with pytest.raises(CosmoError, match=re.escape(says)) as raised:
        training_of("epoch2024", asked)
    assert remedy in raised.value.remedy


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--flops", "0"], "--flops is 0"),
        (["--flops", "1e22", "--parameters", "1e9"], "--flops and --parameters are given"),
        (["--flops", "1e22", "--tokens-available", "0"], "--tokens-available is 0"),
        (["--flops", "1e22", "--tokens-available", "1e9", "--loss-share", "0"], "--loss-share is 0"),
        (["--flops", "1e22", "--chart", "nowhere/x.svg"], "--chart: there is no folder nowhere"),
    ],
)
def test_the_command_ends_with_the_error_and_its_remedy(arguments: list[str], says: str) -> None:
    found = CliRunner().invoke(main, ["budget", *arguments])
    assert found.exit_code == 1
    assert says in found.output
    assert "remedy" in found.output


def test_without_a_corpus_and_expectations_it_says_what_to_do() -> None:
    with pytest.raises(CosmoError, match="there is no corpus") as raised:
        of(Stock(0, "expected"))
    assert "--tokens-available" in raised.value.remedy


def test_a_compute_may_be_given_in_hours_of_a_device() -> None:
    hours = {"gpu_hours": 1000, "gpu_tflops": 989}
    assert training_of("epoch2024", hours)(inf).flops == pytest.approx(1000 * 3600 * 989e12 * 0.4)
    assert training_of("epoch2024", {**hours, "mfu": 0.5})(inf).flops == pytest.approx(1000 * 3600 * 989e12 * 0.5)


def test_of_a_size_or_a_length_the_other_follows_and_both_are_held() -> None:
    sized = training_of("epoch2024", {"parameters": 1.7e9})
    long = training_of("epoch2024", {"tokens": sized(inf).tokens})
    assert long(inf).parameters == pytest.approx(1.7e9)
    assert sized(1e9).tokens == sized(inf).tokens == EPOCH.tokens_for(1.7e9)
    assert sized(1e9).loss == loss(EPOCH, 1.7e9, EPOCH.tokens_for(1.7e9), 1e9)


def test_what_is_worth_generating_brings_the_loss_to_what_is_allowed() -> None:
    found = of(Stock(25_000_000_000, "a test", kept=0.8))
    enough = best(EPOCH, 1e22, found.stock.unique + found.missing)
    assert enough.loss / found.new.loss - 1 == pytest.approx(0.005, rel=1e-6)
    assert found.to_generate == pytest.approx(found.missing / 0.8)
    assert found.hours == pytest.approx(found.to_generate / 1000 / 3600)
    assert found.cost == pytest.approx(2 * found.to_generate / 1000 / 3600)
    assert found.doubled.loss == best(EPOCH, 1e22, 50e9).loss
    assert of(found.stock, share=0.001).missing > found.missing > of(found.stock, share=0.01).missing > 0
    plenty = of(Stock(10**13, "a test"))
    assert (plenty.missing, plenty.hours, plenty.now.loss) == (0, 0, plenty.new.loss)


def test_topics_get_the_missing_tokens_and_seen_documents_follow_the_epochs() -> None:
    stock = Stock(10**9, "a test", {1: 9 * 10**8, 3: 10**8}, {"a": 10**8, "b": 9 * 10**8}, {"a": 0.5, "b": 0.5})
    found = of(stock, flops=1e19)
    assert sum(found.topics.values()) == found.missing > 8 * 10**8
    assert found.topics["a"] - found.topics["b"] == pytest.approx(8 * 10**8, abs=1)
    passes = found.now.tokens / 1.2e9
    assert found.seen is not None
    assert found.seen.most == pytest.approx(3 * passes)
    assert found.seen.above[4] == pytest.approx(1 if passes > 4 else 0.25)
    titles = [str(table.title) for table in budget_tables(found)]
    assert titles[0] == "training of 1e+19 operations"
    assert titles[2:] == ["of which topics", "how often documents would be seen"]
    assert budget_values(found)["topics"]["a"] == {"share": 0.5, "unique": 10**8, "generate": found.topics["a"]}


def test_it_is_said_what_the_figures_are_of() -> None:
    line = law_line(of(said(25e9)))
    assert "epoch2024" in line
    assert "not fitted together" in line
    assert "extrapolations" in line
    assert "outside of what was fitted" not in line
    assert "outside of what was fitted" in law_line(of(said(25e9), flops=1e14))


def values(*arguments: str) -> Any:
    return json.loads(cosmo(*arguments, "--json"))


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_json_has_every_figure(preset: str) -> None:
    found = values("--flops", "1e22", "--tokens-available", "25e9", "--preset", preset)
    law = PRESETS[preset]
    now = best(law, 1e22, 25e9)
    assert found["preset"] == preset
    assert (found["now"]["loss"], found["now"]["tokens"], found["now"]["epochs"]) == (now.loss, now.tokens, now.epochs)
    assert found["unlimited"]["loss"] == law.loss(*law.optimum(1e22))
    assert found["unlimited"]["loss"] < found["enough"]["loss"] < found["doubled"]["loss"] + 0.01 < now.loss
    assert found["enough"]["repetition_costs"] == pytest.approx(0.005, rel=1e-6)
    assert found["enough"]["unique"] == pytest.approx(25e9 + found["generate"]["unique_tokens"], abs=1)
    assert found["generate"]["cost"] == pytest.approx(2.5 * found["generate"]["device_hours"])
    assert found["topics"] == {}
    assert found["seen"] is None


def test_the_chart_is_drawn_with_what_is_there_and_what_would_be_enough(tmp_path: Path) -> None:
    file = tmp_path / "loss.svg"
    cosmo("--flops", "1e22", "--tokens-available", "25e9", "--chart", str(file))
    words = ["".join(one.itertext()) for one in etree.fromstring(file.read_bytes()).iter("{*}text")]
    assert words[0] == "Predicted loss by unique tokens (epoch2024)"
    assert [word.split(":")[0] for word in words[1:5]] == ["there", "twice as many", "enough", "no repetition"]
    assert words[1] == "there: 25B, 2.18"


def test_before_there_is_a_corpus_it_counts_what_the_plan_expects() -> None:
    shown = " ".join(cosmo("--flops", "1e22").split())
    assert "unique tokens: expected answers, as `cosmo plan --mixture` counts them, nothing dropped" in shown
    assert "at 556 tokens/s (H100)" in shown
