"""What a template demands of its answers, at work in the stage."""

from pathlib import Path

from cosmo_assets.quality import stage
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.prompts.stores import described, write_templates
from tests.unit.cosmo_assets.synthetic import prompt, put, put_prompts


def judged(folder: Path, checks: str) -> dict[str, list[str]]:
    """Reasons by template, of one answer each to a template with checks and one without."""
    body = "Write.\n{{ extract }}"
    write_templates(folder / "templates", {"strict": body}, checks=checks)
    write_templates(folder / "templates", {"free": body})
    made_of = described(folder, {"strict": 1, "free": 1}, buckets=1)
    space = Workspace(CorpusStore(folder / "store"), made_of)
    rows = [prompt(f"prompt of {name}", template=name) for name in ("strict", "free", "gone")]
    put_prompts(space, rows)
    answers = [
        {"doc_id": row["template"], "prompt_id": row["prompt_id"], "status": "ok", "text": prose("answer", 60)}
        for row in rows
    ]
    put(space, "generations", {None: answers}, bucket="b000")
    stage.build(space, "b000")
    found = space.store.open("generation_quality", "b000").table().to_pylist()
    return {row["doc_id"]: row["reasons"] for row in found}


def test_only_answers_of_that_template_are_held_against_it(tmp_path: Path) -> None:
    found = judged(tmp_path, "{min_words: 100}")
    assert found == {"strict": ["template_too_short"], "free": [], "gone": []}


def test_changed_checks_judge_again(tmp_path: Path) -> None:
    assert judged(tmp_path, "{min_words: 10}")["strict"] == []
    assert judged(tmp_path, "{matches: ['^no such line$']}")["strict"] == ["template_form"]
