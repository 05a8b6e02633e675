"""The proof of a corpus as assets: its parts, arms that differ, builds that are killed, and real trainings."""

import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from cosmo_assets.build import build_defs, on_request_of, steps_of
from cosmo_assets.comparison.versions import walk
from cosmo_assets.proxy import stage
from cosmo_assets.proxy.ablation import verdicts
from cosmo_assets.proxy.checks import EVALUATION_CHECKS, RUNS_CHECKS
from cosmo_assets.proxy.parts import CORPUS, REST, arms_of, by_facet, part_names, write_parts
from cosmo_assets.report.html import figure
from cosmo_assets.report.report import PAGE
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization.shards import map_shard
from cosmo_resources.deployments import deployment
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import ReplayServer, replaying
from tests.engines import python_with_torch
from tests.proxies import untrained

PROXY = {"d_model": 8, "layers": 1, "heads": 1, "sequence": 32, "batch": 4, "steps": 60}
ITEMS = [
    {"question": f"The keeper of the island {n} lit", "choices": ["a lamp", "a stone"], "answer": n % 2}
    for n in range(8)
]


def asked(corpus: Corpus, **section: Any) -> Corpus:
    corpus.changes["proof"] = {
        "items": "items.jsonl", "held_out": {"others": "held-out"}, "by": "template", "proxy": PROXY, **section,
    }  # fmt: skip
    return corpus.write()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Corpus, ReplayServer]]:
    """A corpus by two templates, with questions and a held-out shard (one of its own: it is only scored)."""
    corpus = asked(Corpus(tmp_path_factory.mktemp("proof"), shard_rows=64, per_seed=2)).write(seeds(60))
    (corpus.folder / "items.jsonl").write_text("\n".join(map(json.dumps, ITEMS)), encoding="utf-8")
    with replaying() as server:
        corpus.build(server.url)
        shards = corpus.store.open("tokenized_shards").folder
        (corpus.folder / "held-out").mkdir()
        for name in ("tokenizer.json", *(path.name for path in shards.glob("shard-00000.ds*"))):
            shutil.copy(shards / name, corpus.folder / "held-out" / name)
        yield corpus, server


def documents(path: Path) -> list[tuple[int, ...]]:
    ends = np.fromfile(f"{path}.index", "<u8").astype(int).tolist()
    return [tuple(map_shard(path)[first:last].tolist()) for first, last in zip([0, *ends[:-1]], ends, strict=True)]


@pytest.mark.parametrize("names", [["story", "lesson"], ["story"]], ids=["all parts", "one part and the rest"])
def test_a_part_has_the_documents_of_its_template_and_no_other(
    built: tuple[Corpus, ReplayServer], names: list[str], tmp_path: Path
) -> None:
    store = built[0].store
    shards, lineage = store.open("tokenized_shards"), store.open("token_lineage")
    parting = by_facet(lineage, "template", len(names))
    assert parting.names == names, "the larger one first"
    parts, spans = write_parts(tmp_path / "parts", shards, lineage, parting)
    rows = lineage.table().to_pylist()
    assert spans == len(rows) > 40
    assert len(list(shards.folder.glob("*.ds"))) > 1, "several shards"
    assert list(parts) == (names if len(names) == 2 else ["story", REST])
    for part, path in parts.items():
        wanted = [row for row in rows if row["template"] == part or (part == REST and row["template"] not in names)]
        texts = [tuple(map_shard(shards.folder / row["shard"])[row["start"] : row["end"]].tolist()) for row in wanted]
        assert documents(path) == texts
    assert part_names({"a": 1, "b": 3, "c": 0, "d": 3}, 2) == ["b", "d"]


def test_an_arm_is_the_corpus_without_a_part_or_a_part_alone(built: tuple[Corpus, ReplayServer]) -> None:
    parts = {name: Path(name) for name in ("a", "b", REST)}
    without = stage.section_of(asked(built[0]).recipe)
    held = {"a": {"a"}, "b": {"b"}}
    assert arms_of(parts, held, without) == {
        CORPUS: [Path("a"), Path("b"), Path(REST)],
        "without a": [Path("b"), Path(REST)],
        "without b": [Path("a"), Path(REST)],
    }
    only = without.model_copy(update={"arms": "only"})
    assert arms_of(parts, held, only) == {CORPUS: [*parts.values()], "only a": [Path("a")], "only b": [Path("b")]}
    with pytest.raises(CosmoError, match="same template, a"):
        arms_of({"a": Path("a")}, {"a": {"a"}}, without)


def test_a_build_that_was_cut_short_goes_on_and_the_arms_are_compared(
    built: tuple[Corpus, ReplayServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, server = built
    asked(corpus)
    monkeypatch.setenv("COSMO_PROXY_PYTHON", str(untrained(tmp_path, crash=4)))
    with pytest.raises(CosmoError, match="it was cut short"):
        corpus.build(server.url, list(on_request_of(corpus.recipe)[2:]))
    assert len((tmp_path / "trained.log").read_text().splitlines()) == 4
    untrained(tmp_path)
    assert corpus.build(server.url, ["proxy_runs", "proxy_evaluation"]) == []
    trained = (tmp_path / "trained.log").read_text().splitlines()
    assert len(trained) == len(set(trained)) == 9, "a finished training was repeated"
    runs, evaluation = corpus.store.open("proxy_runs"), corpus.store.open("proxy_evaluation")
    assert not (corpus.store.work("proxy_runs") / "parts").exists()
    tokens = corpus.store.open("tokenized_shards").manifest.summary["tokens"]
    arms = runs.manifest.summary["arms"]
    assert arms[CORPUS] == tokens == arms["without lesson"] + arms["without story"]
    rows = evaluation.table().to_pylist()
    first = [row for row in rows if row["measure"] == "answers: bits per byte"]
    assert {(row["arm"], row["other"], row["arm_is"]) for row in first[:2]} == {
        (CORPUS, "without lesson", "better"),
        (CORPUS, "without story", "better"),
    }
    assert [row["arm_is"] for row in first[2:]] == ["undecided"]
    direct = {(one.measure, one.arm, one.other): one.difference.value for one in verdicts(stage.measures_of(runs))}
    assert {(row["measure"], row["arm"], row["other"]): row["difference"] for row in rows} == direct
    assert {row["measure"].split(":")[0] for row in rows} == {"answers", "held-out others"}
    more = asked(corpus, seeds=4)
    assert more.build(server.url, ["proxy_runs"]) == []
    assert len((tmp_path / "trained.log").read_text().splitlines()) == 12, "one more seed is one more for each arm"


def test_the_checks_see_a_training_that_is_missing_and_arms_that_are_alike() -> None:
    def of(**summary: Any) -> Manifest:
        return Manifest.model_construct(summary=summary)

    trained = [{"arm": arm, "seed": 0, "first_loss": 5.0, "last_loss": 4.0} for arm in ("a", "b")]
    recipe: Any = None
    (finished,), (decided,) = RUNS_CHECKS, EVALUATION_CHECKS
    arms = {"a": 1, "b": 1}
    assert finished.test(of(arms=arms, seeds=1, trainings=trained), recipe)[0]
    assert not finished.test(of(arms=arms, seeds=2, trainings=trained), recipe)[0]
    worse = [trained[0], {**trained[1], "last_loss": 6.0}]
    passed, figures = finished.test(of(arms=arms, seeds=1, trainings=worse), recipe)
    assert not passed
    assert figures["learnt nothing"] == "b"
    one, other = ({"measure": name, "arm_is": said} for name, said in (("x", "undecided"), ("y", "better")))
    assert not decided.test(of(measures=["x", "y"], verdicts=[one, other]), recipe)[0]
    assert decided.test(of(measures=["y", "x"], verdicts=[one, other]), recipe)[0]


def test_only_a_recipe_with_the_section_has_the_assets_and_no_step_has_them(tmp_path: Path) -> None:
    plain = Corpus(tmp_path).write(seeds(4)).recipe
    proven = asked(Corpus(tmp_path)).recipe
    assert "proof" not in plain.model_dump(mode="json")
    assert steps_of(proven) == steps_of(plain)
    assert set(on_request_of(proven)) - set(on_request_of(plain)) == {"proxy_runs", "proxy_evaluation"}
    chosen = deployment(Corpus(tmp_path).settings("http://127.0.0.1:1/v1"), proven.name)
    definitions = build_defs(proven, chosen)
    graph = definitions.resolve_asset_graph()
    assert graph.get(dg.AssetKey("proxy_runs")).parent_keys == {
        dg.AssetKey("tokenized_shards"), dg.AssetKey("token_lineage"),
    }  # fmt: skip
    for job in definitions.resolve_all_job_defs():
        selected = job.asset_layer.selected_asset_keys if not job.name.startswith("__") else set()
        assert dg.AssetKey("proxy_runs") not in selected, job.name


def test_without_torch_the_error_says_which_interpreter_to_name(
    built: tuple[Corpus, ReplayServer], tmp_path: Path
) -> None:
    workspace = Workspace(built[0].store, asked(built[0], seeds=5).recipe)
    missing = tmp_path / "no-such-python"
    with pytest.raises(CosmoError, match="cannot be started") as error:
        stage.build_runs(workspace, str(missing))
    assert "COSMO_PROXY_PYTHON" in str(error.value)


def test_the_report_shows_a_proof_once_somebody_has_built_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then it is the report of a recipe without the section; after it the next build has it, and builds nothing
    else. When the corpus is another one, the report says that the proof is not of it; and a comparison of versions is
    not misled by what the proof was made of."""

    def versions() -> dict[str, str]:
        return corpus.versions_of_everything()

    def page() -> str:
        return (corpus.store.open("corpus_report").folder / PAGE).read_text(encoding="utf-8")

    monkeypatch.setenv("COSMO_PROXY_PYTHON", str(untrained(tmp_path)))
    corpus = Corpus(tmp_path / "corpus", shard_rows=64).write(seeds(24))
    (corpus.folder / "items.jsonl").write_text("\n".join(map(json.dumps, ITEMS)), encoding="utf-8")
    with replaying() as server:
        corpus.build(server.url)
        plain, first = versions(), page()
        asked(corpus, held_out={}).build(server.url)
        assert versions() == plain, "to the byte"
        assert page() == first
        corpus.build(server.url, ["proxy_runs", "proxy_evaluation"])
        assert versions()["corpus_report/all"] == plain["corpus_report/all"]
        corpus.build(server.url)
        proven = versions()
        changed = {name for name in proven if proven[name] != plain.get(name)}
        assert changed == {"proxy_runs/all", "proxy_evaluation/all", "corpus_report/all"}
        corpus.build(server.url)
        assert versions() == proven, "a second time there is nothing to do"

        report, evaluation = corpus.store.open("corpus_report"), corpus.store.open("proxy_evaluation")
        assert evaluation.ref() in report.manifest.inputs
        sections = [re.findall(r'<h2 id="([^"]+)">', text) for text in (first, page())]
        at = sections[0].index("mixture")
        assert sections[1] == [*sections[0][:at], "proof", *sections[0][at:]]
        shown = page().split('<h2 id="proof">')[1].split("<h2")[0]
        assert shown.count("<svg") == 3, "a chart for each measure"
        rows = [
            [html.unescape(cell) for cell in re.findall(r"<td[^>]*>([^<]*)", row)] for row in shown.split("<tr>")[2:]
        ]
        scores = evaluation.manifest.summary["scores"]["answers: bits per byte"]
        assert rows[0][:3] == ["answers: bits per byte", "the whole corpus", figure(scores[CORPUS])]
        (one,) = (row for row in evaluation.table().to_pylist()[:3] if row["other"] == "without story")
        assert (one["arm"], one["arm_is"]) == (CORPUS, "better")
        assert rows[2 if rows[2][1] == "without story" else 1] == [
            "answers: bits per byte", "without story", figure(scores["without story"]), figure(-one["difference"]),
            figure(-one["high"]), figure(-one["low"]), "worse",
        ]  # fmt: skip
        figures = {(row["section"], row["name"]): row["value"] for row in report.table().to_pylist()}
        assert figures["proof", "answers: bits per byte.corpus"] == scores[CORPUS]
        shards = corpus.store.open("tokenized_shards").manifest.version
        assert f"Of version {shards[:12]} of the shards." in shown
        assert 'class="warn"' not in page()

        corpus.write(seeds(30)).build(server.url)
    other = corpus.store.open("tokenized_shards").manifest.version
    assert other != shards
    warned = page().split('<h2 id="proof">')[1].split("<h2")[0]
    assert f"of version {shards[:12]} of the shards, not of the current one, {other[:12]}" in warned
    assert walk(corpus.store, corpus.store.open("corpus_report").manifest).shards.manifest.version == other


@pytest.mark.slow
def test_proxies_are_trained_on_the_arms(built: tuple[Corpus, ReplayServer]) -> None:
    python = python_with_torch()
    small = {**PROXY, "sequence": 8, "batch": 2, "steps": 30, "rate": 0.03}
    workspace = Workspace(built[0].store, asked(built[0], largest=1, held_out={}, proxy=small).recipe)
    manifest = stage.build_runs(workspace, python)
    trained = manifest.summary["trainings"]
    assert len(trained) == 6
    assert all(one["last_loss"] < one["first_loss"] - 0.01 for one in trained)
    assert stage.build_evaluation(workspace).rows == 3
    assert stage.build_runs(workspace, "/nowhere").version == manifest.version, "nothing is trained again"
