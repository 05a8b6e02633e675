"""Topic labels: the model reads extracts of a cluster and answers with its topic and educational value.

Belongs here: the question, the reading of the answer, asking again. Does not belong here: what a label decides
(`policy`).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from cosmo_assets.ids import request_seed
from cosmo_assets.recipe import Labelling
from cosmo_assets.schemas import TOPIC_LABELS
from cosmo_assets.stage import Workspace
from cosmo_resources.inference.client import Answer, CompletionClient, Request
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"

ANSWER_SCHEMA = {
    "type": "object",
    "properties": {
        "topic": {"type": "string", "minLength": 3, "maxLength": 60},
        "educational_score": {"type": "integer", "minimum": 1, "maximum": 10},
    },
    "required": ["topic", "educational_score"],
    "additionalProperties": False,
}


@dataclass
class Question:
    """One cluster under question, with what has been answered so far."""

    cluster_id: int
    prompt: str
    answers: list[str] = field(default_factory=list)
    status: str = "unasked"
    topic: str | None = None
    score: float | None = None


def build(workspace: Workspace, client: Callable[[], CompletionClient]) -> Manifest:
    """Build `topic_labels`. Cost: one to `attempts` requests per cluster; the client is made only if needed."""
    model = workspace.store.open("cluster_model")
    recipe = workspace.recipe
    return workspace.build(
        "topic_labels",
        lambda writer: _produce(writer, workspace, client(), model),
        stage_version=STAGE_VERSION,
        inputs=(model.ref(),),
        params={
            "labelling": recipe.topics.labelling.model_dump(),
            "model": recipe.generation.model.name,
            "revision": recipe.generation.model.revision,
        },
        fresh=lambda manifest: "failed" not in manifest.flow.failed,
    )


def question(extracts: list[str], recipe: Labelling) -> str:
    """The prompt that asks for the topic of a cluster and its educational value, single topic, score 1 to 10."""
    shown = "\n\n".join(f"Extract {number}:\n{text}" for number, text in enumerate(extracts[: recipe.extracts], 1))
    return (
        "Here are extracts of web pages that belong to one group.\n\n"
        f"{shown}\n\n"
        "Which single topic do these extracts have in common? Name it in two to five words, as a library would "
        "(for example: Marine Biology, Personal Finance, Celebrity News, Product Advertising, Obituaries). "
        "Then rate from 1 to 10 how useful the topic is for teaching at school or college: 1 for advertising, gossip "
        "and private notices, 10 for textbook subjects.\n"
        'Answer with JSON only: {"topic": "...", "educational_score": N}'
    )


def parse(answer: str) -> tuple[str, float]:
    """Topic and score of a raw answer.

    Raises:
        ValueError: it is not the JSON that was asked for, or a value is out of bounds.
    """
    value = json.loads(answer)
    topic, score = value["topic"], value["educational_score"]
    if not isinstance(topic, str) or not 3 <= len(topic.strip()) <= 60 or not any(map(str.isalpha, topic)):
        raise ValueError(f"topic is {topic!r}")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 1 <= score <= 10:
        raise ValueError(f"educational_score is {score!r}")
    return " ".join(topic.split()), float(score)


def _produce(writer: DatasetWriter, workspace: Workspace, client: CompletionClient, model: Dataset) -> None:
    recipe = workspace.recipe.topics.labelling
    questions = {
        str(row["cluster_id"]): Question(row["cluster_id"], question(row["extracts"], recipe))
        for row in model.table(["cluster_id", "extracts"]).to_pylist()
    }
    for attempt in range(recipe.attempts):
        asked = [item for item in questions.values() if item.status not in ("ok", "refused")]
        for answer in client.answers(_requests(asked, attempt, workspace)):
            _take(questions[answer.key], answer)
            done = sum(item.status == "ok" for item in questions.values())
            workspace.progress(done, len(questions), "clusters")
    rows: list[dict[str, Any]] = [
        {
            "cluster_id": item.cluster_id,
            "topic": item.topic,
            "score": item.score,
            "status": item.status,
            "answers": item.answers,
        }
        for item in questions.values()
    ]
    writer.write(pa.Table.from_pylist(rows, schema=TOPIC_LABELS))
    statuses = Counter(item.status for item in questions.values())
    writer.flow("clusters", len(rows), statuses.pop("ok", 0), failed=statuses)
    writer.summary = {
        "scores": sorted(row["score"] for row in rows if row["score"] is not None),
        "answers": sum(len(row["answers"]) for row in rows),
    }


def _requests(asked: list[Question], attempt: int, workspace: Workspace) -> Iterator[Request]:
    generation = workspace.recipe.generation
    schema = {"name": "topic_label", "schema": ANSWER_SCHEMA, "strict": True}
    for item in asked:
        body = {
            "messages": [{"role": "user", "content": item.prompt}],
            "temperature": 0.0 if attempt == 0 else 0.3 + 0.2 * attempt,
            "max_tokens": workspace.recipe.topics.labelling.max_tokens,
            "seed": request_seed(digest("label", generation.model.name, item.prompt, str(attempt))),
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
        yield Request(str(item.cluster_id), body)


def _take(item: Question, answer: Answer) -> None:
    if answer.status != "ok":
        item.status = answer.status
        item.answers.append(answer.error or "")
        return
    item.answers.append(answer.text)
    try:
        item.topic, item.score = parse(answer.text)
        item.status = "ok"
    except (ValueError, KeyError, TypeError):
        item.status = "unreadable"
