"""Scores of a trained proxy beside those that lm-evaluation-harness gives it, by the task on the page on proxies."""

import json
import os
import re
import subprocess
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from cosmo_assets.proxy.ablation import LEAST_SEEDS, Ablation
from cosmo_assets.proxy.launch import train
from cosmo_assets.proxy.rows import read_items
from cosmo_assets.proxy.scoring import Answers
from cosmo_assets.proxy.spec import MODEL, RESULT, Proxy
from tests.corpora import ROOT
from tests.engines import python_with_lm_eval
from tests.facts import items, texts, write_shard

pytestmark = pytest.mark.slow

PROGRAM = ROOT / "tests" / "doubles" / "lm_eval_program.py"
PAGE = (ROOT / "docs" / "proxy.md").read_text(encoding="utf-8")
TASKS = [block for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) if "task:" in block]
PROXY = Proxy(d_model=16, layers=1, heads=2, sequence=8, steps=150)


class Scored(NamedTuple):
    ours: Answers
    log_likelihoods: list[float]
    """Of every choice, item after item."""
    theirs: dict[str, Any]


def questions() -> list[dict[str, Any]]:
    """Those about the facts, one choice of each in two words or in letters of three bytes; a question that is no ASCII
    either, and one that is longer than the context."""
    found: list[dict[str, Any]] = items()
    for number, item in enumerate(found):
        place = number % 4
        item["choices"][place] = f"{item['choices'][place]} value{number}" if number % 2 else "日本語の文字です"
    found[0]["question"] = f"{' '.join(['value1'] * 12)} {found[0]['question']}"
    found[1]["question"] = f"Ænigma {found[1]['question']}"
    return found


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    python, folder = python_with_lm_eval(), tmp_path_factory.mktemp("lm-eval")
    shards = {name: [write_shard(folder / name / "a.ds", texts(noise, 1))] for name, noise in (("half", 0.5), ("x", 1))}
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, questions())), encoding="utf-8")
    ablation = Ablation.prepare(folder, shards, read_items(folder / "items.jsonl"), {}, PROXY, LEAST_SEEDS)
    run = ablation.runs["half", 0]
    train(folder, [run], PROXY.steps, python, lambda done, total: None)
    with np.load(run / RESULT) as result:
        scores = result["log_likelihoods"]
    (task,) = TASKS
    (folder / "task").mkdir()
    place = folder / "task" / f"{yaml.safe_load(task)['task']}.yaml"
    place.write_text(task, encoding="utf-8")
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hub")}
    command = [python, PROGRAM, place, run / MODEL, folder / "half" / "tokenizer.json", folder / "out.json"]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **offline}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    return Scored(ablation.rows.answers(scores), scores.tolist(), found)


def test_every_choice_has_the_log_likelihood_of_lm_eval(scored: Scored) -> None:
    theirs = [score for item in scored.theirs["log_likelihoods"] for score in item]
    assert len(theirs) == sum(len(item["choices"]) for item in questions()) == 160
    assert scored.log_likelihoods == pytest.approx(theirs, abs=1e-4)


def test_accuracy_and_that_by_characters_are_those_of_lm_eval(scored: Scored) -> None:
    ours = {"acc": scored.ours.accuracy, "acc_norm": scored.ours.accuracy_norm}
    for name, answers in ours.items():
        assert answers.tolist() == scored.theirs[name]
        assert answers.mean() == pytest.approx(scored.theirs["results"][name], abs=1e-12)
        assert 0.25 < answers.mean() < 1, "neither chance nor sure"
    assert (ours["acc"] != ours["acc_norm"]).sum() > 3, "the two are told apart"
