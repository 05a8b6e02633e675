"""From proxies to weights: the commands of the page that train on mixtures, and ask what follows from them."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cosmo_assets.cli.main import main
from cosmo_assets.composition.runs import read_runs
from cosmo_assets.proxy.batches import Batches
from cosmo_assets.proxy.launch import identity
from cosmo_assets.proxy.mixtures import drawn, train_mixtures
from cosmo_assets.proxy.spec import RESULT, SPEC, Proxy, Shard, Spec
from cosmo_resources.errors import CosmoError
from tests.corpora import ROOT
from tests.engines import python_with_torch
from tests.facts import texts, write_shard
from tests.proxies import untrained

PAGE = (ROOT / "docs" / "proxy.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^cosmo (?:mixtures|weights) .*$", PAGE, re.MULTILINE)
DOMAINS = {"clean": 0.0, "half": 0.5, "noise": 1.0}
TINY = Proxy(d_model=8, layers=1, heads=1, sequence=8, batch=4, steps=4)


def world(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Facts, half of them, and none as domains; facts as held-out text."""
    domains = {
        name: [write_shard(folder / name / "shard-00000.ds", texts(noise, seed))]
        for seed, (name, noise) in enumerate(DOMAINS.items())
    }
    return domains, {"facts": [write_shard(folder / "held-out" / "shard-00000.ds", texts(0.0, 99, 300))]}


@pytest.mark.slow
def test_the_optimum_prefers_the_domain_that_the_proxies_learnt_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = python_with_torch()
    world(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COSMO_PROXY_PYTHON", python)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert len(COMMANDS) == 2
    results = [CliRunner().invoke(main, shlex.split(line)[1:]) for line in COMMANDS]
    assert [result.exit_code for result in results] == [0, 0], results[-1].output
    assert "mixed/runs.parquet" in results[0].output
    runs = read_runs(Path("mixed/runs.parquet"))
    assert (runs.domains, runs.targets, len(runs.weights)) == (("clean", "half", "noise"), ("facts",), 12)
    assert len(set(runs.mixtures)) == 12
    found = json.loads(results[1].output)
    weights = found["weights"]
    assert weights["clean"]["low"] > weights["clean"]["runs_mean"]
    assert weights["clean"]["low"] > max(weights[name]["high"] for name in ("half", "noise"))
    assert found["error_above"][f"mean - {found['method']}"]["low"] > 0, "better than no law at all"
    assert found["gain"]["low"] > 0
    laws = found["laws"]["facts"]["t_minus_mean_t"]
    assert laws["clean"] < laws["half"] < laws["noise"], "facts are learnt from facts, half of them from half"


def test_the_table_holds_the_losses_of_the_mixtures_and_more_mixtures_go_on(tmp_path: Path) -> None:
    domains, held_out = world(tmp_path)
    python, folder = str(untrained(tmp_path)), tmp_path / "mixed"
    path = train_mixtures(folder, domains, held_out, TINY, python, count=6)
    rows = pq.read_table(path).to_pylist()
    sizes = np.fromfile(f"{held_out['facts'][0]}.index", "<u8")
    assert len(sizes) == 300
    size = sum(len(text.encode()) for text in texts(0.0, 99, 300))
    for run in folder.glob("runs/*"):
        spec = Spec.model_validate_json((run / SPEC).read_text(encoding="utf-8"))
        assert spec.weights is not None
        with np.load(run / RESULT) as found:
            bits = -found["log_likelihoods"].sum() / np.log(2) / size
        (row,) = [row for row in rows if row["weight.clean"] == spec.weights[0]]
        assert [row[f"weight.{name}"] for name in DOMAINS] == list(spec.weights)
        assert row["loss.facts"] == pytest.approx(bits)
    train_mixtures(folder, domains, held_out, TINY, python, count=8)
    assert len((tmp_path / "trained.log").read_text(encoding="utf-8").splitlines()) == 8, "two more, and none again"
    with pytest.raises(CosmoError, match="1 domains"):
        train_mixtures(folder, {"clean": domains["clean"]}, held_out, TINY, python, count=8)
    with pytest.raises(CosmoError, match="0 held-out"):
        train_mixtures(folder, domains, {}, TINY, python, count=8)


def test_mixtures_are_shares_and_the_first_stay_when_more_are_drawn() -> None:
    mixtures = drawn(40, 3, 1)
    assert mixtures.sum(axis=1) == pytest.approx(1, abs=1e-9)
    assert (mixtures >= 0).all()
    assert (drawn(10, 3, 1) == mixtures[:10]).all()
    assert mixtures.mean(axis=0) == pytest.approx(1 / 3, abs=0.15)


def test_a_batch_has_the_shares_of_the_mixture_whatever_the_domains_hold(tmp_path: Path) -> None:
    large = [write_shard(tmp_path / "large" / f"{n}.ds", texts(0.0, n, 1000)) for n in range(2)]
    small = write_shard(tmp_path / "small" / "a.ds", texts(0.0, 5, 100))
    shards = [(large[0], 0), (large[1], 0), (small, 1)]
    common = {
        "proxy": TINY.model_copy(update={"batch": 200}), "token_bytes": 2, "vocabulary": 83, "rows": "", "seed": 3,
        "shards": tuple(Shard(path=path, digest="", domain=domain) for path, domain in shards),
    }  # fmt: skip

    def share(spec: Spec) -> float:
        batches = Batches(spec)
        return float(np.concatenate([batches.of(step)[1] for step in range(40)]).mean())

    mixed, plain = Spec(**common, weights=(0.3, 0.7)), Spec(**common)
    assert share(mixed) == pytest.approx(0.7, abs=0.02)
    assert share(Spec(**common, weights=(1.0, 0.0))) == 0
    assert share(plain) == pytest.approx(0.05, abs=0.02)
    assert identity(mixed) != identity(plain)
    assert "weights" not in plain.model_dump(mode="json"), "trainings of before keep their names"
