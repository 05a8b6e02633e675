"""Tuning: the search, with runs whose speed a test writes down; trials, with a server whose speed is an option."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.operations import tuning
from cosmo_assets.operations.tuning import WARM_UP, Arguments, Bench, Trial, grid_of, in_flight, read_grid, tune
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import Request
from cosmo_resources.inference.server_spec import ServerSpec
from tests.corpora import ROOT
from tests.doubles.replay_program import outcomes, set_faults

BATCH = (("max-num-seqs", (16, 32, 64, 128, 256)),)


def requests(count: int) -> list[Request]:
    return [
        Request(str(n), {"messages": [{"role": "user", "content": f"prompt {n}"}], "seed": n, "max_tokens": 64})
        for n in range(count)
    ]


class Written(Bench):
    """Gives what is written down for an option's value, one figure for each start; a word is an error."""

    def __init__(self, rates: Mapping[Any, list[float | str]], prompts: int = 12, **arguments: Any) -> None:
        super().__init__(ServerSpec(engine="embedded", model="m", arguments=arguments), requests(prompts), Path("none"))
        self.rates = {value: list(figures) for value, figures in rates.items()}

    def run(self, tried: str, arguments: Arguments) -> Trial:
        value = next((value for value in self.rates if tried.endswith(f" {value}")), None)
        figure = self.rates[value].pop(0)
        return (
            Trial(tried, arguments, error=figure) if isinstance(figure, str) else Trial(tried, arguments, figure, 1.0)
        )


@pytest.mark.parametrize(
    ("present", "rates", "kept", "mean"),
    [
        pytest.param([100.0, 104.0], [150.0, 140.0], 2, 145.0, id="both starts are faster"),
        pytest.param([100.0, 104.0], [150.0, 106.0], 1, 102.0, id="the first was luck"),
        pytest.param([100.0, 160.0], [150.0, 155.0], 1, 130.0, id="the machine was busy before"),
        pytest.param([100.0, 148.0], [150.0, 170.0], 1, 124.0, id="the second was luck"),
        pytest.param([100.0, 104.0], [150.0, "out of memory"], 1, 102.0, id="the second start fails"),
        pytest.param([100.0, "killed"], [150.0, 160.0], 2, 155.0, id="the best so far fails"),
        pytest.param([100.0], [102.9], 1, 100.0, id="within the margin"),
        pytest.param([100.0], ["refused"], 1, 100.0, id="it does not start"),
    ],
)
def test_a_value_is_kept_if_it_is_faster_beyond_noise(
    present: list[float | str], rates: list[float | str], kept: int, mean: float
) -> None:
    bench = Written({"file": present[:1], "far": present[1:], 2: rates}, x=1)
    told: list[tuple[str, str]] = []
    found = tune(bench, (("x", (1, 2)),), lambda trial, verdict: told.append((trial.tried, verdict)))
    assert (found.arguments, found.rate) == ({"x": kept}, mean)
    assert found.rate_before == mean if kept == 1 else found.rate_before <= 102
    assert bench.rates == {"file": [], "far": [], 2: []}, "it was not started as often as it must be"
    again = ["the best so far", "x 2"] if len(rates) == 2 else []
    assert [tried for tried, _ in told] == ["as in the file", "x 2", *again]
    assert told[-1][1] == rates[-1] or told[-1][1].endswith(", kept" if kept == 2 else ", passed over")


def test_the_next_option_begins_with_the_best_of_the_one_before() -> None:
    rates: dict[Any, list[float | str]] = {
        "file": [100.0],
        "far": [100.0, 151.0],
        2: [150.0, 150.0],
        3: [152.0],
        "false": [200.0, 210.0],
        "y": [50.0],
    }
    told: list[Trial] = []
    grid = (("x", (2, 3)), ("z", (False,)), ("y", (None,)))
    found = tune(Written(rates, x=1, y=None), grid, lambda trial, verdict: told.append(trial))
    assert found.arguments == {"x": 2, "y": None, "z": False} and found.rate == 205.0
    assert [dict(trial.arguments) for trial in told[1:]] == [
        {"x": 2, "y": None},
        {"x": 1, "y": None},
        {"x": 2, "y": None},
        {"x": 3, "y": None},
        {"x": 2, "y": None, "z": False},
        {"x": 2, "y": None},
        {"x": 2, "y": None, "z": False},
        {"x": 2, "z": False},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("present", "tried", "left"),
    [
        (8, ["16", "32", "64"], "128, 256"),
        (64, ["16", "32"], "64, 128, 256"),
        (None, ["16", "32", "64"], "128, 256"),
    ],
)
def test_batches_that_the_prompts_do_not_fill_are_not_told_apart(
    present: int | None, tried: list[str], left: str
) -> None:
    bench = Written({"file": [9.0], **{value: [1.0] for value in (16, 32, 64)}}, prompts=40 + WARM_UP)
    if present is not None:
        bench.spec = bench.spec.model_copy(update={"arguments": {"max-num-seqs": present}})
    told: list[tuple[str, str]] = []
    tune(bench, BATCH, lambda trial, verdict: told.append((trial.tried, verdict)))
    assert [name.removeprefix("max-num-seqs ") for name, _ in told[1:-1]] == tried
    assert told[-1] == (f"max-num-seqs {left}", "not tried: 40 prompts do not fill them (--n)")


def test_the_memory_of_a_gpu_is_tried_where_there_is_one() -> None:
    here = ServerSpec(engine="vllm", model="m")
    options = [option for option, _ in grid_of(here.model_copy(update={"gpus": 1}))]
    assert "gpu-memory-utilization" in options
    assert [option for option, _ in grid_of(here)] == [one for one in options if one != "gpu-memory-utilization"]


def test_a_queue_never_runs_dry() -> None:
    assert (in_flight({"max-num-seqs": 5}), in_flight({"max-num-seqs": 256}), in_flight({})) == (7, 320, None)


def test_a_grid_is_read_from_the_command_line() -> None:
    assert read_grid(
        ["max-num-seqs=8, 16", 'speculative-config={"method": "ngram", "n": 6},null', "x=false,0.5,a"]
    ) == [
        ("max-num-seqs", [8, 16]),
        ("speculative-config", ['{"method": "ngram", "n": 6}', None]),
        ("x", [False, 0.5, "a"]),
    ]
    for text in ("max-num-seqs", "=8", "x=", "x=[1", "x=[1]", "x={1: 2}}"):
        with pytest.raises(CosmoError, match="is not OPTION=VALUE"):
            read_grid([text])


def spec(folder: Path, **arguments: Any) -> ServerSpec:
    command = (
        sys.executable,
        "-m",
        "tests.doubles.replay_program",
        "--port",
        "{port}",
        "--state",
        str(folder / "state"),
    )
    return ServerSpec(
        engine="command",
        model="replay",
        command=command,
        arguments=arguments,
        environment={"PYTHONPATH": str(ROOT)},
        ready_within=20,
    )


def test_real_trials(tmp_path: Path) -> None:
    told: list[Trial] = []
    bench = Bench(spec(tmp_path, delay=0.2), requests(16), tmp_path, concurrency=4)
    grid = (("delay", (0.01, 0.4, "soon")), ("model", ("other", None)))
    best = tune(bench, grid, lambda trial, verdict: told.append(trial))
    assert best.arguments == {"delay": 0.01} and best.rate > 3 * best.rate_before
    assert [dict(trial.arguments) for trial in told] == [
        {"delay": 0.2},
        {"delay": 0.01},
        {"delay": 0.2},
        {"delay": 0.01},
        {"delay": 0.4},
        {"delay": "soon"},
        {"delay": 0.01, "model": "other"},
    ]
    assert [trial.error is None for trial in told] == [True] * 5 + [False] * 2
    assert "argument --delay: invalid float value: 'soon'" in str(told[5].error)
    assert "serves other" in str(told[6].error)
    assert "invalid float" in (tmp_path / "trial-05.log").read_text(encoding="utf-8")
    assert len({trial.completion_tokens for trial in told if not trial.error}) == 1
    assert told[0].seconds == pytest.approx(3 * 0.2, abs=0.15), "the warm-up is counted, or less than all"

    servers = [path.read_text(encoding="utf-8").split() for path in (tmp_path / "state").glob("calls-*.log")]
    # The one of another name was asked nothing, and started on a second port: it might have been somebody else's.
    assert len(servers) == 5 + 2, "a server was used for two trials"
    asked = [calls for calls in servers if calls]
    assert [len(calls) for calls in asked] == [16] * 5
    assert len({frozenset(calls[:4]) for calls in asked}) == 1, "the warm-ups differ"
    assert len({frozenset(calls[4:]) for calls in asked}) == 1, "not all were asked the same"
    assert not set(asked[0][:4]) & set(asked[0][4:]), "the warm-up was measured as well"


def test_a_server_that_does_not_work_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="does not work with the arguments of the file: ended before it was ready"):
        tune(Bench(spec(tmp_path, delay="soon"), requests(1), tmp_path))
    with pytest.raises(CosmoError, match="no prompt"):
        tune(Bench(spec(tmp_path), [], tmp_path))


def test_a_server_that_dies_of_the_prompts_is_no_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "PATIENCE", 0.5)
    (tmp_path / "state").mkdir()
    set_faults(tmp_path / "state", mode="crash", times=9)
    trial = Bench(spec(tmp_path), requests(12), tmp_path, concurrency=2).run("as in the file", {})
    assert trial.error is not None and trial.error.startswith("ended while it answered (exit code")
    assert {fault for _, fault in outcomes(tmp_path / "state")} == {"crash"}


def test_a_server_that_takes_only_some_of_the_prompts_is_no_choice(tmp_path: Path) -> None:
    trial = Bench(spec(tmp_path, refuse=0.5), requests(24), tmp_path).run("as in the file", {"refuse": 0.5})
    assert trial.error is not None and 3 <= trial.failed <= 13
    assert trial.error.startswith(f"{trial.failed} of 18 requests came to nothing: ")
    assert "this prompt is longer than the context" in trial.error
