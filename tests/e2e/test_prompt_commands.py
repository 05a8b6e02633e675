"""What a prompt writer types: plan, preview, lint, pilot; against extracts and a real server."""

from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from cosmo_assets.automation import open_instance
from cosmo_assets.cli.main import main
from cosmo_resources.storage.store import CorpusStore
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import ReplayServer, replaying

INPUTS = [
    "seed_documents",
    "seed_embeddings",
    "cluster_model",
    "seed_clusters",
    "topic_labels",
    "seed_topics",
    "seed_extracts",
]


@pytest.fixture
def corpus(tmp_path: Path, replay: ReplayServer, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    made = Corpus(tmp_path, per_seed=2).write(seeds(30))
    made.build(replay.url, INPUTS)
    for name, value in made.environment(replay.url).items():
        monkeypatch.setenv(name, value)
    replay.calls.clear()
    return made


def cosmo(*arguments: str) -> str:
    found = CliRunner().invoke(main, list(arguments))
    assert found.exit_code == 0, found.output
    return found.output


def test_a_plan_and_a_preview_ask_no_model(corpus: Corpus, replay: ReplayServer) -> None:
    plan = " ".join(cosmo("plan", str(corpus.recipe_path)).split())
    assert "drawn from the seeds" in plan
    assert "60" in plan
    shown = cosmo("preview", "--template", "lesson", "--n", "2")
    assert shown.count("Write a short lesson for beginners") == 2
    assert shown.count("lesson 1: lesson for general") == 2
    both = cosmo("preview", "--n", "1")
    assert "Tell a story" in both
    assert "Write a short lesson" in both
    assert "Tell a story" not in cosmo("preview", "--format", "lesson", "--n", "1")
    assert replay.calls == []


def test_a_pilot_is_an_asset_with_its_page_and_its_figures(corpus: Corpus, replay: ReplayServer) -> None:
    shown = cosmo("pilot", "--template", "lesson", "--n", "12")
    assert len(replay.generation_calls) == 12
    dataset = CorpusStore(corpus.data / "tiny").open("template_pilots")
    page = dataset.folder / "pilot.html"
    assert page.name in shown
    assert "lesson 1 · replay" in page.read_text(encoding="utf-8")
    assert "self-BLEU" in shown
    with open_instance(corpus.settings(replay.url)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("template_pilots"))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
    assert "lesson 1 · replay" in str(metadata["variants"].value)
    assert metadata["page"].value == str(page)
    cosmo("pilot", "--template", "lesson", "--n", "12")
    assert len(replay.generation_calls) == 12, "answers are kept"


def test_another_model_is_asked_where_it_is_served(corpus: Corpus, replay: ReplayServer) -> None:
    cosmo("pilot", "--template", "story", "--n", "5")
    with replaying() as other:
        shown = cosmo(
            *(
                "pilot",
                "--template",
                "story",
                "--n",
                "5",
                "--model",
                "other",
                "--revision",
                "2",
                "--endpoint",
                other.url,
            )
        )
        assert len(other.generation_calls) == 5
    assert len(replay.generation_calls) == 5
    assert "other" in shown
    labels = [row["label"] for row in corpus.store.open("template_pilots").manifest.summary["variants"]]
    assert labels == ["story 1 · other", "story 1 · replay"]


def test_lint_finds_what_is_wrong_with_a_template(corpus: Corpus) -> None:
    draft = corpus.folder / "draft.md"
    front = (
        "---\nid: draft\nversion: '1'\nkinds: [web]\naudience: general\nformat: text\nwords: 50\nmax_tokens: 99\n---\n"
    )
    draft.write_text(front + "Write a lezzon about this:\n{{ extract }}\n", encoding="utf-8")
    found = CliRunner().invoke(main, ["lint", str(draft)])
    assert found.exit_code == 1
    assert "lezzon" in found.output
    assert "1 templates" in found.output


def test_what_cannot_be_shown_is_said_with_its_remedy(corpus: Corpus) -> None:
    for arguments, expected in (
        (["preview", "--format", "sonnet"], "no template of the recipe fits"),
        (["preview", "--template", "nothing"], "no template 'nothing'"),
        (["pilot", "--template", "maths_college"], "no extracts of maths seeds"),
    ):
        found = CliRunner().invoke(main, arguments)
        assert found.exit_code == 1
        output = " ".join(found.output.split())
        assert expected in output
        assert "remedy" in output
