"""What a change of the topic policy runs again, by versions; and prompts that are about units of a course."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from cosmo_resources.storage.digest import digest
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import ReplayServer

UP_TO_PROMPTS = [
    "seed_documents",
    "seed_embeddings",
    "cluster_model",
    "seed_clusters",
    "topic_labels",
    "seed_topics",
    "seed_extracts",
    "prompt_table",
]
DECIDING = {"seed_topics/all", "prompt_table/all"}


def changed(corpus: Corpus, before: dict[str, str]) -> set[str]:
    after = corpus.versions_of_everything()
    return {name for name in after if after[name] != before.get(name)}


def test_the_policy_runs_again_what_it_decides_and_nothing_else(tmp_path: Path, replay: ReplayServer) -> None:
    policy: dict[str, Any] = {"overrides_file": "reviewed.yaml", "deny": ["fields"]}
    corpus = Corpus(tmp_path, per_seed=2, changes={"topics": {"clustering": {"clusters": 4}, "policy": policy}})

    def build(why: str) -> set[str]:
        rows = [{"topic": "rivers and FIELDS", "decision": "keep", "by": "Ada", "why": why}]
        (tmp_path / "reviewed.yaml").write_text(yaml.safe_dump(rows), encoding="utf-8")
        before = corpus.versions_of_everything()
        corpus.write().build(replay.url, UP_TO_PROMPTS)
        return changed(corpus, before)

    corpus.write(seeds(40))
    build("first")
    assert corpus.store.open("prompt_table").manifest.flow.rows_out == 40, "the reviewer goes before the rule"
    calls = len(replay.calls)
    assert calls >= 4, "every cluster was asked about"
    assert build("another reason") == set()
    policy["deny"] = ["fields", "celebrit"]
    assert build("another reason") == DECIDING
    assert len(replay.calls) == calls


def test_a_topic_that_is_denied_takes_its_prompts_away_and_moves_no_other(tmp_path: Path, replay: ReplayServer) -> None:
    """Up to the generations: those of the prompts that stay are neither asked for again nor built into new versions,
    where no prompt of their bucket went."""
    replay.topic = lambda prompt: f"Topic {digest(prompt)[:8]}"
    policy: dict[str, Any] = {"unlabelled": "keep"}
    changes = {"topics": {"clustering": {"clusters": 4}, "policy": policy}}
    corpus = Corpus(tmp_path, buckets=3, per_seed=2, changes=changes).write(seeds(40))
    built = [*UP_TO_PROMPTS, "generations"]
    corpus.build(replay.url, built)
    before, versions, calls = prompts(corpus), corpus.versions_of_everything(), len(replay.calls)

    policy["deny"] = ["matches nothing"]
    corpus.write().build(replay.url, built)
    assert changed(corpus, versions) == DECIDING, "no row has changed, so no bucket has"
    assert prompts(corpus) == before

    topic = Counter(row["topic"] for row in before.values()).most_common()[-1][0]
    policy["deny"] = [f"^{topic}$"]
    corpus.write().build(replay.url, built)
    after = prompts(corpus)
    assert after == {key: row for key, row in before.items() if row["topic"] != topic}
    assert 0 < len(after) < len(before) == 80
    touched = {row["bucket"] for key, row in before.items() if key not in after}
    assert changed(corpus, versions) == DECIDING | {f"generations/{bucket}" for bucket in touched}
    assert len(replay.calls) == calls


def test_prompts_of_a_course_are_about_its_units(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = Corpus(tmp_path, per_seed=2).write(seeds(20))
    texts = [page["text"] for page in seeds(8, tag="course")]
    rows = [{"subject": "CS", "number": str(n), "title": f"Course {n}", "description": t} for n, t in enumerate(texts)]
    (tmp_path / "courses.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    fields = yaml.safe_load(corpus.recipe_path.read_text(encoding="utf-8"))
    fields["sources"].append(
        {"name": "catalogue", "kind": "course", "reader": "course_jsonl", "path": "courses.jsonl", "licence": "CC0-1.0"}
    )
    fields["prompts"]["mixes"]["course"] = {"templates": [{"template": "course_unit"}]}
    corpus.changes = {"sources": fields["sources"], "prompts": fields["prompts"]}
    corpus.write().build(replay.url, UP_TO_PROMPTS)
    before = prompts(corpus)
    assert [row["unit"] for row in before.values()] == [None] * len(before)

    fields["prompts"]["outlines"] = {}
    corpus.write().build(replay.url, [*UP_TO_PROMPTS, "course_outlines"])
    after = prompts(corpus)
    courses = [row for row in after.values() if row["kind"] == "course"]
    units = {row["seed_id"]: row["units"] for row in corpus.store.open("course_outlines").table().to_pylist()}
    assert len({(row["seed_id"], row["unit"]) for row in courses}) == len(courses) == sum(map(len, units.values()))
    for row in courses:
        assert row["unit"] in units[row["seed_id"]]
        assert f"Unit to write: {row['unit']}\n" in row["prompt"]
    pages = {key for key, row in before.items() if row["kind"] == "web"}
    assert pages <= after.keys(), "outlines move the prompts of courses only"


def prompts(corpus: Corpus) -> dict[str, dict[str, Any]]:
    rows: list[dict[str, Any]] = corpus.store.open("prompt_table").table().to_pylist()
    return {row["prompt_id"]: row for row in rows}
