"""The diversity coefficient as a probe that was really trained sees it: of made-up texts, and of a corpus."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cosmo_assets.diversity.gate import MEANS, PHRASES, Mean
from cosmo_assets.diversity.probing import MEASURE, Probe
from cosmo_assets.proxy.domains import doge
from cosmo_assets.proxy.spec import Proxy
from cosmo_resources.errors import CosmoError
from tests.corpora import ONE_TEMPLATE, ROOT, Corpus, seeds
from tests.doubles.replay_server import replaying
from tests.e2e.test_diversity import Model, asked
from tests.engines import python_with_torch
from tests.facts import WORDS, domains, write_shard

pytestmark = pytest.mark.slow
BATCH, BATCHES = 30, 8


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama, trained for a moment on three kinds of texts."""
    folder = tmp_path_factory.mktemp("probe")
    shards = {name: [write_shard(folder / name / "a.ds", documents)] for name, documents in domains(1).items()}
    doge(folder / "weights", shards, Proxy(steps=100, sequence=32), python_with_torch())
    (model,) = (folder / "weights" / "runs").glob("*/model")
    shutil.copy(folder / "noise" / "tokenizer.json", model)
    return model


def test_what_is_alike_is_less_diverse_and_batches_of_one_topic_are_more_so(probe: Path) -> None:
    random = np.random.default_rng(5)
    topics = [WORDS[start : start + 10] for start in range(0, 10 * BATCHES, 10)]
    separated = [" ".join(random.choice(topic, 10)) for topic in topics for _ in range(BATCH)]
    frame = " ".join([WORDS[0]] * 4)
    texts = {
        "constant": [" ".join([WORDS[0]] * 10)] * BATCH * BATCHES,
        "template": [f"{frame} {random.choice(WORDS[:3])} {frame}" for _ in separated],
        "mixed": [str(text) for text in random.permutation(separated)],
        "separated": separated,
    }
    found: dict[str, Mean] = {}
    for name, said in texts.items():
        found[name] = Probe(probe, "", 32).measure(said, BATCH, python_with_torch(), lambda done: None)
        assert found[name].blocks == BATCHES
    for less, more in (("constant", "mixed"), ("template", "mixed"), ("mixed", "separated")):
        assert found[less].interval[1] < found[more].interval[0], f"{less}, {more}"
    again = Probe(probe, "", 32).measure(texts["mixed"], BATCH, python_with_torch(), lambda done: None)
    assert again == found["mixed"], "the same to the bit"


@pytest.mark.parametrize("rate", [1e-3, 0.05], ids=["as it is", "much tuning"])
def test_the_estimate_is_the_fisher_information_after_tuning_the_head(probe: Path, rate: float) -> None:
    command = [python_with_torch(), ROOT / "tests" / "doubles" / "plain_fisher.py", probe, str(rate)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    said = subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout
    of_tensors = np.array(json.loads(said.splitlines()[-1]))
    assert len(of_tensors) == 9
    assert of_tensors[:, 1] == pytest.approx(of_tensors[:, 0], rel=0.12)


def test_the_coefficient_is_a_measure_of_the_gate(probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python, model, corpus = python_with_torch(), Model(), Corpus(tmp_path, shard_rows=64, templates=dict(ONE_TEMPLATE))
    section = {"coefficient": {"model": str(probe), "tokens": 16}}
    asked(corpus, model, "1", **section).write(seeds(100))
    with replaying(fault=model) as server:
        monkeypatch.setenv("COSMO_PROXY_PYTHON", sys.executable)
        with pytest.raises(CosmoError, match="No module named 'torch'") as refused:
            asked(corpus, model, "1", **section).build(server.url)
        assert "COSMO_PROXY_PYTHON" in refused.value.remedy
        monkeypatch.setenv("COSMO_PROXY_PYTHON", python)
        asked(corpus, model, "1", **section).build(server.url)
    dataset = corpus.store.open("corpus_diversity")
    rows = {row["measure"]: row for row in dataset.table().to_pylist()}
    assert set(rows) == {*MEANS, MEASURE, *PHRASES}
    assert 0 < rows[MEASURE]["low"] < rows[MEASURE]["value"] < rows[MEASURE]["high"] < 1
    held = dataset.manifest.summary["measured"]["means"][MEASURE]
    assert held["blocks"] == rows[MEASURE]["sample"] // 20
