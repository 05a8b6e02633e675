"""Proxies that are really trained: the commands of the page on proxies, and a training that is killed."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from cosmo_assets.cli.main import main
from cosmo_assets.proxy.ablation import Ablation
from cosmo_assets.proxy.batches import Batches
from cosmo_assets.proxy.domains import doge, doremi
from cosmo_assets.proxy.launch import LAUNCH
from cosmo_assets.proxy.rows import Item
from cosmo_assets.proxy.spec import CHECKPOINT, MODEL, RESULT, ROWS, SPEC, Proxy, Spec
from cosmo_assets.proxy.updates import doge_update, doremi_update
from tests.corpora import ROOT
from tests.engines import python_with_torch
from tests.facts import domains, items, texts, write_shard, wrong

PAGE = (ROOT / "docs" / "proxy.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.split()[1] not in ("mixtures", "weights")  # of which test_mixtures.py takes care
]
pytestmark = pytest.mark.slow

ARMS = {"clean": 0.0, "half": 0.5, "noise": 1.0}
STEPS = 100
PRIMARY = ("answers: bits per byte", "held-out facts: bits per byte")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result], list[float]]:
    """Facts, half of them, and none as arms; the commands of the page one after the other, and the second with wrong
    facts as a fourth arm, with their results and when the trainings ended."""
    python, folder = python_with_torch(), tmp_path_factory.mktemp("proxy")
    for seed, (name, noise) in enumerate(ARMS.items()):
        write_shard(folder / name / "shard-00000.ds", texts(noise, seed))
    write_shard(folder / "wrong" / "shard-00000.ds", texts(0.0, len(ARMS), facts=wrong()))
    write_shard(folder / "held-out" / "shard-00000.ds", texts(0.0, 99, 300))
    for name, documents in domains(1).items():
        write_shard(folder / "domains" / name / "shard-00000.ds", documents)
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items())), encoding="utf-8")
    results, written = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COSMO_PROXY_PYTHON", python)
        patch.setenv("OMP_NUM_THREADS", "1")
        for line in (*COMMANDS, f"{COMMANDS[1]} --arm wrong=wrong"):
            program, *arguments = shlex.split(line, comments=True)
            assert program == "cosmo"
            results.append(CliRunner().invoke(main, arguments))
            written.append(max((path.stat().st_mtime for path in folder.rglob(RESULT)), default=0))
    return folder, results, written


def test_the_commands_of_the_page_end_well(trained: tuple[Path, list[Result], list[float]]) -> None:
    folder, results, written = trained
    assert len(results) == len(COMMANDS) + 1 > 5
    for result in results:
        assert result.exit_code == 0, result.output
    assert len(list((folder / "proof").rglob(RESULT))) == 12
    assert written[0] == written[1], "a finished training was repeated"


def test_clean_facts_are_better_than_half_noise_and_that_than_noise(
    trained: tuple[Path, list[Result], list[float]],
) -> None:
    found = json.loads(trained[1][1].output)
    decided = {(one["measure"], one["arm"], one["other"]): one for one in found["verdicts"]}
    for measure in PRIMARY:
        for pair in (("clean", "half"), ("clean", "noise"), ("half", "noise")):
            one = decided[measure, *pair]
            assert one["arm_is"] == "better", one
            assert one["high"] < 0
    accuracy = found["scores"]["answers: accuracy"]
    assert accuracy["clean"] > 0.9
    assert 0.05 < accuracy["noise"] < 0.5
    assert decided["answers: accuracy", "clean", "noise"]["arm_is"] == "better"


def test_wrong_facts_are_worse_than_right_ones_and_their_answers_are_chance(
    trained: tuple[Path, list[Result], list[float]],
) -> None:
    found = json.loads(trained[1][-1].output)
    decided = {(one["measure"], one["arm"], one["other"]): one for one in found["verdicts"]}
    for measure in PRIMARY:
        one = decided[measure, "clean", "wrong"]
        assert one["arm_is"] == "better", one
        assert one["high"] < 0
    assert decided[PRIMARY[0], "noise", "wrong"]["arm_is"] == "better", "to be sure of it is worse than to know nothing"
    assert decided["answers: accuracy", "clean", "wrong"]["arm_is"] == "better"
    # a quarter, but none where the wrong value is one of the three others: to three standard deviations of 40 questions
    assert found["scores"]["answers: accuracy"]["wrong"] == pytest.approx(0.23, abs=0.2)


def test_doremi_gives_most_to_what_is_still_learnt_and_answers_the_mean_of_the_steps(
    trained: tuple[Path, list[Result], list[float]],
) -> None:
    said = trained[1][2].output
    components = yaml.safe_load(said[said.index("mixture:") :])["mixture"]["components"]
    history = pq.read_table(trained[0] / "weights" / "history.parquet").to_pylist()
    assert len(history) == 3 * STEPS
    for name, of in components.items():
        weights = [row["weight"] for row in history if row["domain"] == name]
        assert of["weight"] == pytest.approx(np.mean(weights), abs=1e-6)
    assert components["trivial"]["weight"] < 0.2
    assert components["noise"]["weight"] < 1 / 3
    assert components["learnable"]["weight"] > 0.5
    for before, after in pairwise([history[start : start + 3] for start in range(0, len(history), 3)]):
        old, excess = (np.array([row[name] for row in rows]) for rows, name in ((before, "weight"), (after, "excess")))
        assert [row["weight"] for row in after] == pytest.approx(doremi_update(old, excess), abs=1e-9)


def test_doge_gives_the_noise_the_least_and_answers_the_mean_of_the_steps(
    trained: tuple[Path, list[Result], list[float]],
) -> None:
    said = trained[1][3].output
    components = yaml.safe_load(said[said.index("mixture:") :])["mixture"]["components"]
    history = pq.read_table(trained[0] / "shares" / "history.parquet").to_pylist()
    steps = [history[start : start + 3] for start in range(0, len(history), 3)]
    assert len(steps) == STEPS
    for name, of in components.items():
        weights = [row["weight"] for row in history if row["domain"] == name]
        assert of["weight"] == pytest.approx(np.mean(weights), abs=1e-6)
    assert components["noise"]["weight"] < 0.5 * min(components["clean"]["weight"], components["half"]["weight"])
    for before, after in pairwise([[{"weight": 1 / 3}] * 3, *steps]):
        old, scores = np.array([row["weight"] for row in before]), np.array([row["score"] for row in after])
        assert [row["weight"] for row in after] == pytest.approx(doge_update(old, scores), abs=1e-9)


def test_doge_gives_the_facts_nearly_all_where_facts_are_the_target(
    trained: tuple[Path, list[Result], list[float]],
) -> None:
    """Those texts of which half are facts have the most without one."""
    said = trained[1][4].output
    components = yaml.safe_load(said[said.index("mixture:") :])["mixture"]["components"]
    assert components["clean"]["weight"] > 0.8
    assert components["noise"]["weight"] < components["half"]["weight"] < 0.2


@pytest.mark.parametrize("name", ["noise", "learnable"])
def test_the_domain_that_shares_with_the_target_wins(tmp_path: Path, name: str) -> None:
    """Each in turn is the one: other texts of its kind are the target. The same target in another place is known."""
    python, proxy = python_with_torch(), Proxy(steps=60, sequence=32)
    shards = {kind: [write_shard(tmp_path / kind / "a.ds", found)] for kind, found in domains(1).items()}
    target = [write_shard(tmp_path / "target" / "a.ds", domains(2, 300)[name])]
    weights = doge(tmp_path / "weights", shards, proxy, python, target=target)
    assert weights[name] > 0.6
    assert sum(weights.values()) == pytest.approx(1)
    moved = [write_shard(tmp_path / "elsewhere" / "a.ds", domains(2, 300)[name])]
    assert doge(tmp_path / "weights", shards, proxy, python, target=moved) == weights
    assert len(list((tmp_path / "weights" / "runs").iterdir())) == 1


def test_seeds_differ_and_the_model_is_one_that_transformers_loads(
    trained: tuple[Path, list[Result], list[float]],
) -> None:
    losses = []
    for run in sorted((trained[0] / "proof" / "runs").glob("clean-*")):
        with np.load(run / RESULT) as found:
            losses.append(found["losses"])
        assert json.loads((run / MODEL / "config.json").read_text(encoding="utf-8"))["model_type"] == "llama"
        assert not (run / CHECKPOINT).exists()
    assert len({one.tobytes() for one in losses}) == 3
    assert all(one[0] > 4 > 2 > one[-1] for one in losses)


def start(python: str, *arguments: str | Path) -> "subprocess.Popen[str]":
    command = [python, "-P", "-c", LAUNCH, str(ROOT), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def killed_at_its_first_checkpoint(python: str, run: Path) -> None:
    with start(python, "--checkpoint-seconds", "0", run) as process:
        while not (run / CHECKPOINT).exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not (run / RESULT).exists()


def finished(python: str, *runs: Path) -> list[int]:
    """The steps that were done before, of each training, after it has been finished."""
    with start(python, *runs) as process:
        said = process.communicate()[0].splitlines()
    assert process.returncode == 0
    assert said[-1] == f"done {runs[-1]}"
    return [next(int(line.split()[0]) for line in said if line.endswith(str(run))) for run in runs]


def test_a_killed_training_goes_on_and_comes_to_the_same_result(tmp_path: Path) -> None:
    python = python_with_torch()
    arms = {name: [write_shard(tmp_path / name / "a.ds", texts(0.0, 1, 400))] for name in ("one", "same")}
    proxy = Proxy(d_model=32, layers=1, heads=2, sequence=16, batch=8, steps=200)
    ablation = Ablation.prepare(tmp_path / "proof", arms, [Item.model_validate(items()[0])], {}, proxy, 3)
    one, same = ablation.runs["one", 0], ablation.runs["same", 0]
    killed_at_its_first_checkpoint(python, one)
    of_one, of_same = finished(python, one, same)
    assert 0 == of_same < of_one < proxy.steps
    with np.load(one / RESULT) as ours, np.load(same / RESULT) as theirs:
        for name in ("losses", "log_likelihoods"):
            assert (ours[name] == theirs[name]).all()


@pytest.mark.parametrize("aimed", [None, False, True], ids=["doremi", "doge", "doge towards a target"])
def test_weights_are_those_of_the_method_written_out_and_the_same_after_a_kill(
    tmp_path: Path, aimed: bool | None
) -> None:
    python = python_with_torch()
    method: Callable[..., dict[str, float]] = doremi if aimed is None else doge
    shards = {
        name: [write_shard(tmp_path / name / "a.ds", documents[: 300 if name == "noise" else 30])]
        for name, documents in domains(1, 300).items()
    }
    # so small a batch often lacks a domain; a gradient that is clipped hides by what the loss was divided
    proxy = Proxy(d_model=32, layers=1, heads=2, sequence=16, batch=4, steps=30, warm_up=0.2, clip=100)
    settings: dict[str, Any] = {"eta": 0.5} if method is doremi else {"mu": 0.02}
    if aimed:
        settings["target"] = [write_shard(tmp_path / "target" / "a.ds", domains(2, 40)["learnable"])]
    method(tmp_path / "weights", shards, proxy, python, **settings)
    (run,) = (tmp_path / "weights" / "runs").glob("proxy-*")
    batches = Batches(Spec.model_validate_json((run / SPEC).read_text(encoding="utf-8")))
    drawn = np.concatenate([batches.of(step)[1] for step in range(300)])
    assert np.bincount(drawn) / len(drawn) == pytest.approx(1 / 3, abs=0.06), "whatever a domain has"
    again = tmp_path / "again"
    again.mkdir()
    for name in (SPEC, ROWS):
        shutil.copy(run / name, again / name)
    killed_at_its_first_checkpoint(python, again)
    (before,) = finished(python, again)
    assert 0 < before < proxy.steps
    with np.load(run / RESULT) as ours, np.load(again / RESULT) as theirs:
        found = dict(ours)
        assert all((theirs[name] == array).all() for name, array in found.items())
    plain = ROOT / "tests" / "doubles" / "plain_domain_weights.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    said = subprocess.run([python, plain, run], capture_output=True, check=True, text=True, env=environment).stdout
    expected = json.loads(said.splitlines()[-1])
    assert np.ptp(found["weights"], axis=0).max() > 0.05, "weights that hardly move prove nothing"
    assert found["losses"] == pytest.approx(np.array(expected["losses"]), rel=1e-4)
    assert found["weights"] == pytest.approx(np.array(expected["weights"]), abs=1e-4)
    assert found["excess" if method is doremi else "score"] == pytest.approx(np.array(expected["signals"]), abs=1e-4)
