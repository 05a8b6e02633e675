"""Topic labels: the model reads extracts of a cluster and answers with its topic and educational value.

Belongs here: who is asked what and when, taking answers over, the stage. Does not belong here: wording (`questions`),
what several answers mean together (`voting`), what a label decides (`policy`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from cosmo_assets.asking import Ahead, answered, build_asking
from cosmo_assets.ids import request_seed
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.topics import Labelling
from cosmo_assets.schemas.topics import TOPIC_LABELS
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.clustering import centroids
from cosmo_assets.topics.embedding import Embedder
from cosmo_assets.topics.features import Vectors
from cosmo_assets.topics.questions import WORDING, Vote, body, extracts_of, fitted, parse, question
from cosmo_assets.topics.voting import outcome, settled
from cosmo_resources.inference.answers import AnswerLog, Client
from cosmo_resources.inference.client import Answer, Request
from cosmo_resources.storage.digest import canonical_json, digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.storage.writer import DatasetWriter
from cosmo_resources.tokenizers import NamedTokenizer

STAGE_VERSION = "2"
SAMPLES, SAMPLE_CHARS = 3, 60

Nearest = list[tuple[str, float]]
"""Headings nearest to a cluster and their cosine similarities, nearest first; empty where the recipe has none."""


@dataclass
class Asked:
    """One vote under way: its question, the raw answers so far, what became of it."""

    question: str
    answers: list[str] = field(default_factory=list)
    status: str = "unasked"
    vote: Vote | None = None


@dataclass
class Ballot:
    """One cluster under question."""

    cluster_id: int
    key: str
    central: list[str]
    others: list[str]
    choices: list[str]
    asked: list[Asked] = field(default_factory=list)

    @property
    def votes(self) -> list[Vote]:
        return [asked.vote for asked in self.asked if asked.vote is not None]

    @property
    def status(self) -> str:
        """ok where any vote can be read, else what became of the last one."""
        return "ok" if self.votes else self.asked[-1].status

    @property
    def possible(self) -> int:
        """How many different questions there are."""
        return _possible(len(self.central) + len(self.others))


class Topics:
    """Whether two topics mean the same: choices by their names, invented ones by their embeddings."""

    def __init__(self, embedder: Callable[[], Embedder], chosen: bool, similarity: float) -> None:
        self._embedder, self._chosen, self._similarity = embedder, chosen, similarity
        self._vectors: dict[str, Vectors] = {}

    def learn(self, topics: Iterable[str]) -> None:
        """Embed the new ones of these topics, all at once."""
        new = sorted({topic.casefold() for topic in topics} - set(self._vectors))
        if new and not self._chosen:
            self._vectors.update(zip(new, self._embedder().encode(new), strict=True))

    def same(self, left: str, right: str) -> bool:
        left, right = left.casefold(), right.casefold()
        if left == right or self._chosen:
            return left == right
        return float(self._vectors[left] @ self._vectors[right]) >= self._similarity


def build(
    workspace: Workspace,
    client: Callable[[], Client],
    embedder: Callable[[], Embedder],
    tokenizer: NamedTokenizer,
) -> Manifest:
    """Build `topic_labels`. A label is taken over from any earlier version while its cluster's extracts, the choice of
    headings, the model and the recipe's labelling are the same; so a refit asks for the clusters that it changed.

    Cost: two requests per new or changed cluster, up to `votes` where they differ; client and embedder are made only if
    needed.
    """
    model = workspace.store.open("cluster_model")
    params = _params(workspace.recipe, tokenizer)
    return build_asking(
        workspace,
        "topic_labels",
        lambda writer, log: _produce(writer, workspace, log, embedder, tokenizer, model, params),
        client,
        stage_version=STAGE_VERSION,
        inputs=(model.ref(),),
        params=params,
        fresh=lambda manifest: not manifest.summary["failed_votes"],
    )


def ahead(workspace: Workspace, tokenizer: Callable[[], NamedTokenizer]) -> Ahead:
    """What `build` would ask, at most: labels of another fit may serve again, which is not looked into. Until there is
    a fit, about as many clusters as the recipe says; by density nobody knows how many there will be."""
    store, topics = workspace.store, workspace.recipe.topics
    model, labels, clustering = store.current("cluster_model"), store.current("topic_labels"), topics.clustering
    if model is None and clustering.method == "hdbscan":
        return Ahead("topic_labels", "clusters", None, 0, 0, 0, topics.labelling.max_tokens)
    known: set[int] = set()
    if model is None:
        possible = dict.fromkeys(range(clustering.clusters), _possible(2))
    else:
        possible = {
            row["cluster_id"]: _possible(len(row["extracts"]))
            for row in model.table(["cluster_id", "extracts"]).to_pylist()
        }
        if labels is not None and labels.manifest.inputs == (model.ref(),):
            same = labels.manifest.params == _params(workspace.recipe, tokenizer())
            if same and labels.manifest.stage_version == STAGE_VERSION:
                rows = labels.table(["cluster_id", "failed_votes"]).to_pylist()
                known = {row["cluster_id"] for row in rows if not row["failed_votes"]}
    votes = [min(count, topics.labelling.votes) for cluster, count in possible.items() if cluster not in known]
    least, most = sum(min(count, 2) for count in votes), sum(votes) * topics.labelling.attempts
    return Ahead("topic_labels", "clusters", len(possible), len(known), least, most, topics.labelling.max_tokens)


def _params(recipe: Recipe, tokenizer: NamedTokenizer) -> dict[str, Any]:
    """What of the recipe `topic_labels` depends on."""
    return {
        "labelling": recipe.topics.labelling.model_dump(),
        "headings": recipe.topics.headings,
        "embedding": recipe.topics.embedding,
        "tokenizer": tokenizer.digest,
        "model": recipe.generation.model.name,
        "revision": recipe.generation.model.revision,
    }


def _possible(extracts: int) -> int:
    """How many different questions there are: one, where the cluster has a single extract."""
    return 1 if extracts < 2 else 2**31


def nearest_headings(centres: Vectors, headings: Mapping[str, str], embedder: Callable[[], Embedder]) -> list[Nearest]:
    """For each centroid (clusters, 384) all headings with their cosine similarity, nearest first."""
    if not headings:
        return [[] for _ in centres]
    names = list(headings)
    vectors = embedder().encode([f"{name}: {headings[name]}" for name in names])
    similarity = (centres @ vectors.T).astype(np.float64).round(4).tolist()
    return [sorted(zip(names, row, strict=True), key=lambda pair: (-pair[1], pair[0])) for row in similarity]


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    log: AnswerLog,
    embedder: Callable[[], Embedder],
    tokenizer: NamedTokenizer,
    model: Dataset,
    params: Mapping[str, Any],
) -> None:
    recipe = workspace.recipe.topics
    clusters = model.table(["cluster_id", "centroid", "extracts"])
    extracts = dict(zip(clusters["cluster_id"].to_pylist(), clusters["extracts"].to_pylist(), strict=True))
    nearest = dict(zip(extracts, nearest_headings(centroids(clusters), recipe.headings, embedder), strict=True))
    ballots = {
        cluster: _ballot(cluster, texts, nearest[cluster], recipe.labelling, params)
        for cluster, texts in extracts.items()
    }
    rows = _earlier(workspace.store, ballots.values())
    writer.reused_rows = len(rows)
    topics = Topics(embedder, bool(recipe.headings), recipe.labelling.topic_similarity)
    open_ballots = [ballot for ballot in ballots.values() if ballot.cluster_id not in rows]
    _ask(open_ballots, topics, log, tokenizer, workspace)
    for ballot in open_ballots:
        rows[ballot.cluster_id] = _row(ballot, topics, recipe.labelling)
    for cluster, texts in extracts.items():
        heading, similarity = nearest[cluster][0] if nearest[cluster] else (None, None)
        samples = [text[:SAMPLE_CHARS].strip() for text in texts[:SAMPLES]]
        rows[cluster] |= {"cluster_id": cluster, "heading": heading, "similarity": similarity, "samples": samples}
    ordered = [rows[cluster] for cluster in extracts]
    writer.write(pa.Table.from_pylist(ordered, schema=TOPIC_LABELS))
    statuses = Counter(row["status"] for row in ordered)
    writer.flow("clusters", model.manifest.rows, statuses.pop("ok", 0), failed=statuses)
    writer.summary = {
        "scores": sorted(row["score"] for row in ordered if row["score"] is not None),
        "answers": sum(len(row["answers"]) for row in ordered),
        "failed_votes": sum(row["failed_votes"] for row in ordered),
        "agreed": sum(row["agreement"] == 1 for row in ordered),
    }


def _ballot(
    cluster: int, extracts: Sequence[str], nearest: Nearest, labelling: Labelling, params: Mapping[str, Any]
) -> Ballot:
    choices = [heading for heading, _ in nearest[: labelling.shortlist]]
    of_all = canonical_json({**params, "headings": choices, "wording": WORDING})
    return Ballot(
        cluster,
        digest("label", of_all, *extracts),
        central=list(extracts[: labelling.central_extracts]),
        others=list(extracts[labelling.central_extracts :]),
        choices=choices,
    )


def _earlier(store: CorpusStore, ballots: Iterable[Ballot]) -> dict[int, dict[str, Any]]:
    """Rows of earlier versions by the cluster that has their key now, the current version first; not those with votes
    that may still succeed."""
    ballots = list(ballots)
    known = answered(store, "topic_labels", STAGE_VERSION, {ballot.key for ballot in ballots})
    usable = {key: row for key, row in known.items() if not row["failed_votes"]}
    return {ballot.cluster_id: dict(usable[ballot.key]) for ballot in ballots if ballot.key in usable}


def _ask(
    ballots: Sequence[Ballot], topics: Topics, log: AnswerLog, tokenizer: NamedTokenizer, workspace: Workspace
) -> None:
    """Ask in rounds, all clusters at once, until each is settled or has had its votes."""
    labelling = workspace.recipe.topics.labelling
    while True:
        due = {
            f"{ballot.cluster_id}/{number}": (ballot, number)
            for ballot in ballots
            for number in _due(ballot, topics, labelling, tokenizer)
        }
        if not due:
            return
        for answer in log.answers(_requests(due, workspace)):
            ballot, number = due[answer.key]
            _take(ballot, ballot.asked[number], answer, labelling)
        topics.learn(vote.topic for ballot in ballots for vote in ballot.votes)
        done = sum(not _open(ballot, topics, labelling) for ballot in ballots)
        workspace.progress(done, len(ballots), "clusters")


def _open(ballot: Ballot, topics: Topics, labelling: Labelling) -> bool:
    """Whether further votes are wanted."""
    if len(ballot.asked) >= min(labelling.votes, ballot.possible):
        return False
    return not settled(ballot.votes, topics.same, labelling.score_tolerance, labelling.votes)


def _due(ballot: Ballot, topics: Topics, labelling: Labelling, tokenizer: NamedTokenizer) -> list[int]:
    """The numbers of the votes to ask for now: those that came to nothing and may be tried again; else, where the vote
    is open, the first two or the next one."""
    again = [
        number
        for number, asked in enumerate(ballot.asked)
        if asked.status in ("unreadable", "failed") and len(asked.answers) < labelling.attempts
    ]
    if again or not _open(ballot, topics, labelling):
        return again
    new = range(len(ballot.asked), min(max(2, len(ballot.asked) + 1), labelling.votes, ballot.possible))
    for number in new:
        shown = fitted(extracts_of(number, ballot.central, ballot.others), ballot.choices, labelling, tokenizer.count)
        ballot.asked.append(Asked(question(shown, ballot.choices, labelling.form)))
    return list(new)


def _requests(due: Mapping[str, tuple[Ballot, int]], workspace: Workspace) -> Iterator[Request]:
    labelling, model = workspace.recipe.topics.labelling, workspace.recipe.generation.model.name
    for key, (ballot, number) in due.items():
        asked = ballot.asked[number]
        attempt = len(asked.answers)
        sampling = {
            "temperature": 0.0 if attempt == 0 and number < 2 else round(0.5 + 0.2 * attempt, 1),
            "max_tokens": labelling.max_tokens,
            "seed": request_seed(digest("label", model, asked.question, str(number), str(attempt))),
        }
        yield Request(key, {**body(asked.question, ballot.choices, labelling.form), **sampling})


def _take(ballot: Ballot, asked: Asked, answer: Answer, labelling: Labelling) -> None:
    asked.answers.append(answer.text if answer.status == "ok" else answer.error or "")
    asked.status = answer.status
    if answer.status == "ok":
        try:
            asked.vote = parse(answer.text, ballot.choices, labelling.form)
        except (ValueError, RecursionError):
            asked.status = "unreadable"


def _row(ballot: Ballot, topics: Topics, labelling: Labelling) -> dict[str, Any]:
    found = outcome(ballot.votes, topics.same, labelling.score_tolerance) if ballot.votes else None
    return {
        "topic": found.topic if found else None,
        "score": found.score if found else None,
        "reason": found.reason if found else None,
        "votes": len(ballot.votes),
        "agreement": found.agreement if found else None,
        "status": ballot.status,
        "answers": [answer for asked in ballot.asked for answer in asked.answers],
        "failed_votes": sum(asked.status == "failed" for asked in ballot.asked),
        "key": ballot.key,
    }
