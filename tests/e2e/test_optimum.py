"""A corpus beside the weights of least predicted loss: the mixture and the report show them, and stay as they are."""

import json
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from click.testing import CliRunner

from cosmo_assets.cli.main import main
from tests.corpora import ONE_TEMPLATE, Corpus, seeds
from tests.doubles.replay_server import replaying

BOOKS = {"name": "books", "reader": "jsonl", "path": "books.jsonl", "licence": "CC0-1.0"}
COMPONENTS = {"pages": {"weight": 3}, "books": {"weight": 1}}


def answered(folder: Path) -> Path:
    """The weights by the trainings of a law whose optimum is a mixture of both sources."""
    random = np.random.default_rng(0)
    rows = []
    for books, pages in random.dirichlet(np.ones(2), 16).tolist():
        losses = {"loss.a": 1 + np.exp(-2 * books), "loss.b": 1 + np.exp(-2 * pages)}
        noisy = {name: float(loss + random.normal(scale=1e-3)) for name, loss in losses.items()}
        rows.append({"weight.books": books, "weight.pages": pages, **noisy})
    runs = folder / "runs.jsonl"
    runs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = CliRunner().invoke(main, ["weights", str(runs), "--json"])
    assert found.exit_code == 0, found.output
    (folder / "weights.json").write_text(found.output, encoding="utf-8")
    return folder / "weights.json"


def test_the_mixture_is_shown_beside_its_optimum_and_stays_as_it_is(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, templates=dict(ONE_TEMPLATE))
    corpus.changes = {"mixture": {"components": COMPONENTS}, "real": {"sources": [BOOKS]}}
    corpus.write(seeds(40))
    lines = [json.dumps(document) for document in seeds(30, tag="book")]
    (tmp_path / "books.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    weights = answered(tmp_path)
    with replaying() as server, dg.DagsterInstance.ephemeral() as instance:
        corpus.build(server.url)
        before = corpus.versions_of_everything()
        corpus.changes["mixture"] = {"components": COMPONENTS, "optimum": "weights.json"}
        corpus.write()
        warnings = corpus.build(server.url, instance=instance)
        after = corpus.versions_of_everything()
        assert {asset for asset in after if after[asset] != before[asset]} == {"corpus_report/all"}
        assert "mixture: near_optimum" in warnings

        shown = instance.get_latest_materialization_event(dg.AssetKey("mixture"))
        assert shown is not None and shown.asset_materialization is not None
        metadata = shown.asset_materialization.metadata
        table = [line.strip("| ").split(" | ") for line in str(metadata["optimum"].value).splitlines()]
        of = {row[0]: dict(zip(table[0], row, strict=True)) for row in table[2:]}
        answer = json.loads(weights.read_text(encoding="utf-8"))["weights"]
        assert set(of) == set(answer) == set(COMPONENTS)
        shares = {row["source"]: row["tokens"] for row in corpus.store.open("mixture").manifest.summary["components"]}
        for name, row in of.items():
            assert float(row["optimum"]) == pytest.approx(answer[name]["value"], abs=1e-3)
            assert float(row["share"]) == pytest.approx(shares[name] / sum(shares.values()), abs=1e-3)
        for name in ("beside_optimum", "optimum_intervals"):
            assert str(metadata[name].value).startswith("![")
        page = (corpus.store.open("corpus_report").folder / "report.html").read_text(encoding="utf-8")
        assert "Beside the optimum" in page
        assert "Optimum by the law, and what the corpus has" in page

        corpus.changes["mixture"]["components"] = {"pages": {"weight": 1}, "books": {"weight": 1}}
        corpus.write()
        assert "mixture: near_optimum" not in corpus.build(server.url), "the optimum is about one half each"
