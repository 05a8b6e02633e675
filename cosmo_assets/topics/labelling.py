"""Topic labels: the model reads extracts of a cluster and answers with its topic and educational value.

Belongs here: the question, the reading of the answer, asking again. Does not belong here: what a label decides
(`policy`).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from cosmo_assets.ids import request_seed
from cosmo_assets.schemas import TOPIC_LABELS
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.clustering import Vectors, centroids
from cosmo_assets.topics.embedding import Embedder
from cosmo_resources.inference.client import Answer, CompletionClient, Request
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"

Nearest = list[tuple[str, float]]
"""Headings nearest to a cluster and their cosine similarities, nearest first; empty where the recipe has none."""


@dataclass
class Question:
    """One cluster under question, with what has been answered so far."""

    cluster_id: int
    extracts: list[str]
    nearest: Nearest
    answers: list[str] = field(default_factory=list)
    status: str = "unasked"
    topic: str | None = None
    score: float | None = None

    @property
    def choices(self) -> list[str]:
        return [heading for heading, _ in self.nearest]


def build(workspace: Workspace, client: Callable[[], CompletionClient], embedder: Callable[[], Embedder]) -> Manifest:
    """Build `topic_labels`. Cost: one to `attempts` requests per cluster; client and embedder are made if needed."""
    model = workspace.store.open("cluster_model")
    recipe = workspace.recipe
    return workspace.build(
        "topic_labels",
        lambda writer: _produce(writer, workspace, client(), embedder, model),
        stage_version=STAGE_VERSION,
        inputs=(model.ref(),),
        params={
            "labelling": recipe.topics.labelling.model_dump(),
            "headings": recipe.topics.headings,
            "model": recipe.generation.model.name,
            "revision": recipe.generation.model.revision,
        },
        fresh=lambda manifest: "failed" not in manifest.flow.failed,
    )


def nearest_headings(centres: Vectors, headings: Mapping[str, str], embedder: Callable[[], Embedder]) -> list[Nearest]:
    """For each centroid (clusters, 384) all headings with their cosine similarity, nearest first."""
    if not headings:
        return [[] for _ in centres]
    names = list(headings)
    vectors = embedder().encode([f"{name}: {headings[name]}" for name in names])
    similarity = (centres @ vectors.T).astype(np.float64).round(4).tolist()
    return [sorted(zip(names, row, strict=True), key=lambda pair: (-pair[1], pair[0])) for row in similarity]


def question(extracts: list[str], choices: list[str]) -> str:
    """The prompt that asks for the topic of a cluster and its educational value, single topic, score 1 to 10."""
    shown = "\n\n".join(f"Extract {number}:\n{text}" for number, text in enumerate(extracts, 1))
    topic = (
        f"Choose the topic that fits them best from: {'; '.join(choices)}."
        if choices
        else "Name it in two to five words, as a library would (for example: Marine Biology, Celebrity News)."
    )
    return (
        "Here are extracts of web pages that belong to one group.\n\n"
        f"{shown}\n\n"
        f"Which single topic do these extracts have in common? {topic} "
        "Then rate from 1 to 10 how useful the topic is for teaching at school or college: 1 for advertising, gossip "
        "and private notices, 10 for textbook subjects.\n"
        'Answer with JSON only: {"topic": "...", "educational_score": N}'
    )


def answer_schema(choices: list[str]) -> dict[str, Any]:
    """The JSON schema of an answer; with choices, the topic must be one of them."""
    topic = {"enum": choices} if choices else {"type": "string", "minLength": 3, "maxLength": 60}
    return {
        "type": "object",
        "properties": {"topic": topic, "educational_score": {"type": "integer", "minimum": 1, "maximum": 10}},
        "required": ["topic", "educational_score"],
        "additionalProperties": False,
    }


def parse(answer: str, choices: list[str]) -> tuple[str, float]:
    """Topic and score of a raw answer.

    Raises:
        ValueError: it is not the JSON that was asked for, or a value is out of bounds.
    """
    value = json.loads(answer)
    topic, score = value["topic"], value["educational_score"]
    if not isinstance(topic, str) or not 3 <= len(topic.strip()) <= 60 or not any(map(str.isalpha, topic)):
        raise ValueError(f"topic is {topic!r}")
    if choices and topic not in choices:
        raise ValueError(f"topic {topic!r} is none of the choices")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 1 <= score <= 10:
        raise ValueError(f"educational_score is {score!r}")
    return " ".join(topic.split()), float(score)


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    client: CompletionClient,
    embedder: Callable[[], Embedder],
    model: Dataset,
) -> None:
    recipe = workspace.recipe.topics
    clusters = model.table(["cluster_id", "centroid", "extracts"])
    nearest = nearest_headings(centroids(clusters), recipe.headings, embedder)
    questions = {
        str(row["cluster_id"]): Question(row["cluster_id"], row["extracts"][::2], found[: recipe.labelling.shortlist])
        for row, found in zip(clusters.select(["cluster_id", "extracts"]).to_pylist(), nearest, strict=True)
    }
    for attempt in range(recipe.labelling.attempts):
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
            "heading": item.nearest[0][0] if item.nearest else None,
            "similarity": item.nearest[0][1] if item.nearest else None,
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
    for item in asked:
        prompt = question(item.extracts, item.choices)
        schema = {"name": "topic_label", "schema": answer_schema(item.choices), "strict": True}
        body = {
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0.0 if attempt == 0 else 0.3 + 0.2 * attempt,
            "max_tokens": workspace.recipe.topics.labelling.max_tokens,
            "seed": request_seed(digest("label", generation.model.name, prompt, str(attempt))),
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
        item.topic, item.score = parse(answer.text, item.choices)
        item.status = "ok"
    except (ValueError, KeyError, TypeError):
        item.status = "unreadable"
