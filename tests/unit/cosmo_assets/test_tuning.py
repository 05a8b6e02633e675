"""Tuning, with a server whose speed is an option."""

import sys
from pathlib import Path

import pytest

from cosmo_assets.tuning import Trial, tune
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import Request
from cosmo_resources.inference.server_spec import ServerSpec
from tests.corpora import ROOT

GRID = (("delay", (0.01, 0.4, "soon")), ("model", ("other", None)))


def spec(folder: Path, **arguments: object) -> ServerSpec:
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
        arguments=arguments,  # type: ignore[arg-type]
        environment={"PYTHONPATH": str(ROOT)},
        ready_within=20,
    )


def requests(count: int) -> list[Request]:
    return [
        Request(str(n), {"messages": [{"role": "user", "content": f"prompt {n}"}], "seed": n}) for n in range(count)
    ]


def test_the_fastest_values_win_and_what_does_not_start_is_passed_over(tmp_path: Path) -> None:
    told: list[Trial] = []
    best = tune(spec(tmp_path, delay=0.2), requests(12), tmp_path, grid=GRID, concurrency=4, told=told.append)
    assert best.arguments == {"delay": 0.01}
    assert [dict(trial.arguments) for trial in told] == [
        {"delay": 0.2},
        {"delay": 0.01},
        {"delay": 0.4},
        {"delay": "soon"},
        {"delay": 0.01, "model": "other"},
    ]
    assert [trial.error is None for trial in told] == [True, True, True, False, False]
    assert "serves other" in str(told[-1].error)
    assert best.completion_tokens == told[0].completion_tokens > 12 * 60
    assert best.tokens_per_second > 3 * told[0].tokens_per_second


def test_a_server_that_does_not_work_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="does not work with the arguments of the file"):
        tune(spec(tmp_path, delay="soon"), requests(1), tmp_path, grid=GRID)
