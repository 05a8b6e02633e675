"""Every command of the page on composition, on a small file of runs."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from cosmo_assets.cli.main import main
from cosmo_assets.composition.advice import COVERED, ENOUGH_RUNS, REFITS
from cosmo_assets.composition.answer import read_answer
from cosmo_assets.composition.optimum import BEST, DRAWS
from cosmo_assets.composition.runs import read_runs
from cosmo_assets.composition.trees import LEAST_RUNS
from cosmo_assets.composition.validation import FOLDS, REPEATS
from tests.corpora import ROOT

PAGE = (ROOT / "docs" / "composition.md").read_text(encoding="utf-8")
DOMAINS = ("books", "code", "web")
COMMANDS = [
    line for block in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixteen trainings in every format: news is best learnt from books and the web, code from code."""
    random = np.random.default_rng(0)
    rows = []
    for books, code, web in random.dirichlet(np.ones(3), 16).tolist():
        news = 2 + np.exp(-2 * books - 1.5 * web) + random.normal(scale=1e-3)
        losses = {"loss.news": float(news), "loss.code": float(1 + np.exp(-3 * code) + random.normal(scale=1e-3))}
        rows.append({"weight.books": books, "weight.code": code, "weight.web": web, **losses})
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "runs.parquet")
    lines = [",".join(table.column_names), *(",".join(map(repr, row.values())) for row in rows)]
    (tmp_path / "runs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_does_what_it_says(folder: Path, line: str) -> None:
    program, *arguments = shlex.split(line, comments=True)
    assert program == "cosmo"
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 0, found.output
    if "--json" in arguments:
        values = json.loads(found.output)
        weights = {domain: of["value"] for domain, of in values["weights"].items()}
        assert set(values["laws"]) == {"news", "code"}
        (folder / "answer.json").write_text(found.output, encoding="utf-8")
        assert {name: of.value for name, of in read_answer(folder / "answer.json").weights.items()} == weights, (
            "for a budget"
        )
    else:
        fragment = found.output[found.output.index("mixture:") :]
        weights = {name: of["weight"] for name, of in yaml.safe_load(fragment)["mixture"]["components"].items()}
    assert set(weights) <= set(DOMAINS)
    assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
    if "books=0.3" in arguments:
        assert weights["books"] == 0.3
    if "--chart" in arguments:
        assert (folder / "weights.svg").read_text(encoding="utf-8").startswith("<svg")


def test_targets_that_count_more_draw_the_weights_to_them(folder: Path) -> None:
    shares = {}
    for news in ("1", "9"):
        arguments = [
            "weights",
            "runs.csv",
            "--target",
            f"news={news}",
            "--target",
            "code=1",
            "--method",
            "law",
            "--json",
        ]
        shares[news] = json.loads(CliRunner().invoke(main, arguments).output)["weights"]["code"]["value"]
    assert shares["9"] < shares["1"] - 0.05


def test_the_page_shows_the_columns_and_figures_that_hold(folder: Path) -> None:
    assert len(COMMANDS) == 5
    (example,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    header, *rows = example.splitlines()
    more = (folder / "runs.csv").read_text(encoding="utf-8").splitlines()[1:]
    reordered = [",".join(row.split(",")[place] for place in (0, 1, 2, 4, 3)) for row in more]
    Path("example.csv").write_text("\n".join([header, *rows, *reordered]), encoding="utf-8")
    assert len(read_runs(Path("example.csv")).weights) == 16 + len(rows)
    page = " ".join(PAGE.split())
    number = {3: "three", 4: "four", 5: "five"}
    for said in (
        f"best of {DRAWS:,} mixtures",
        f"mean of the best {BEST} of these",
        f"{REFITS['law']} times by the law, {REFITS['trees']} times by trees",
        f"leaves of {number[LEAST_RUNS]} runs or more",
        f"{number[FOLDS].capitalize()}-fold cross-validation, dealt {number[REPEATS]} times",
        f"below {number[ENOUGH_RUNS]} runs for each domain",
        f"{COVERED:.0%} of its tokens",
    ):
        assert said in page
