"""The page of tasks, run from its first command to its last, in one corpus."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from tests.corpora import ROOT, Corpus, kill_group, seeds, wait_until
from tests.doubles.replay_server import ReplayServer, prose, replaying
from tests.e2e.pages import Reader, commands_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PAGE = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
SERVER = "http://localhost:8000/v1"
"""The server that the page names."""

SECTIONS = [(title, body) for title, _, body in (part.partition("\n") for part in PAGE.split("\n## ")[1:])]
BLOCK = re.compile(r"^```(bash|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

EXAM = json.loads(re.findall(r"^\{.*\}$", PAGE, re.MULTILINE)[0])["question"]
MARK = "The mason of the old bridges kept a diary"

SAYS: dict[str, tuple[str, ...]] = {
    "Pilot": ("Write a short lesson", "opener"),
    "Backfill": ("2 of 2 published",),
    "After a crash": ("0 damaged",),
    "Add a benchmark": ("items of exam",),
    "Withdraw a source": ("withdrawn: source notes",),
    "Add a template": ("Write what curious readers ask",),
    "Bring your own model": ("generated again",),
    "A colleague wants to look": ("http://127.0.0.1:",),
}
"""Of each task with commands, what they must have printed."""


class Site:
    """Somebody's folder, with a corpus in it, and a terminal."""

    def __init__(self, corpus: Corpus, replay: ReplayServer) -> None:
        self.corpus, self.replay = corpus, replay
        self.reader = Reader.at(corpus.folder, corpus.environment(replay.url), {SERVER: replay.url})

    def do(self, section: str) -> str:
        """Run a section's commands and take its fragments into the recipe; what was printed."""
        printed = ""
        for language, body in BLOCK.findall(section):
            if language == "yaml":
                fields = yaml.safe_load(self.corpus.recipe_path.read_text(encoding="utf-8"))
                merged = merge(fields, yaml.safe_load(body))
                self.corpus.recipe_path.write_text(yaml.safe_dump(merged), encoding="utf-8")
            else:
                printed += "".join(map(self.reader.type, commands_of(body)))
        return printed

    def crash(self) -> None:
        """Kill a run while it generates."""
        (self.corpus.folder / "pages.jsonl").write_text(lines(24), encoding="utf-8")
        self.replay.delay, asked = 0.5, len(self.replay.generation_calls)
        process = self.corpus.command(self.replay.url, "run")
        wait_until(lambda: len(self.replay.generation_calls) > asked + 2, seconds=120, process=process)
        kill_group(process)
        self.replay.delay = 0.0


def merge(fields: Any, change: Any) -> Any:
    """A recipe with a fragment of another: tables are merged, anything else is replaced."""
    if not isinstance(fields, Mapping) or not isinstance(change, Mapping):
        return change
    return {**fields, **{key: merge(fields.get(key), value) for key, value in change.items()}}


def lines(count: int) -> str:
    """Pages, of which one is about bridges."""
    marked = {"id": "bridges", "text": f"{MARK}. {prose('bridges', 70)}"}
    return "".join(json.dumps(row) + "\n" for row in [*seeds(count), marked])


def answer(body: dict[str, Any], _: int) -> web.Response | None:
    """Asked about bridges, the model writes down what it will be examined in."""
    if "response_format" in body or MARK not in body["messages"][-1]["content"]:
        return None
    text = f"{prose('a text about bridges', 120)} {EXAM}"
    usage = {"prompt_tokens": 50, "completion_tokens": 150, "total_tokens": 200}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with replaying(fault=answer) as replay:
        corpus = Corpus(tmp_path)
        corpus.changes = {
            "sources": [
                {"name": name, "kind": "web", "reader": "jsonl", "path": f"{name}.jsonl", "licence": "CC0-1.0"}
                for name in ("pages", "notes")
            ],
            "mixture": {"components": {"pages": {"weight": 1}, "notes": {"weight": 1}}},
        }
        (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in seeds(12, tag="note")))
        (tmp_path / "pages.jsonl").write_text(lines(16), encoding="utf-8")
        corpus.write()
        yield Site(corpus, replay)


def test_every_command_of_the_page_does_what_it_says(site: Site) -> None:
    before: dict[str, Callable[[], None]] = {"After a crash": site.crash}
    told = {}
    for title, section in SECTIONS:
        if title in before:
            before[title]()
        told[title] = site.do(section)
    assert {title for title, printed in told.items() if printed} == set(SAYS)
    missing = {(title, word): told[title] for title, words in SAYS.items() for word in words if word not in told[title]}
    assert not missing, "\n\n".join(f"{title}: no {word!r} in\n{said}" for (title, word), said in missing.items())
