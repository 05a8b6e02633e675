"""Educational labels: what the model says that a sample of a corpus's texts teaches.

Belongs here: which texts, asking, taking answers over, the stage. Does not belong here: wording (`questions`), or what
is learned from the labels (`classifier`).
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from cosmo_assets.asking import Ahead, answered, build_asking
from cosmo_assets.education.questions import BEST, WORDING, body, parse, question
from cosmo_assets.ids import request_seed, uniform
from cosmo_assets.real.texts import DOCUMENTS, has_real
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.signals import EDUCATIONAL_LABELS
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.stage import Workspace
from cosmo_resources.inference.answers import AnswerLog, Client
from cosmo_resources.inference.client import Answer, Request
from cosmo_resources.storage.digest import canonical_json, digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"
SEEDS = "seed_documents"


@dataclass
class Asked:
    """A text under question."""

    text_id: str
    source: str
    extract: str
    key: str
    answers: list[str] = field(default_factory=list)
    score: int | None = None
    reason: str | None = None
    status: str = "unasked"


def params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe `educational_labels` depends on."""
    model = recipe.generation.model
    wanted = recipe.educational.model_dump(include={"labels", "extract_chars", "attempts", "max_tokens"})
    return {**wanted, "real": has_real(recipe), "model": model.name, "revision": model.revision}


def build(workspace: Workspace, client: Callable[[], Client], *, refit: bool = False) -> Manifest:
    """Build `educational_labels`, or keep those that are there: they are pinned as long as the recipe asks for the
    same, so that new seeds leave every score as it is. `refit` draws anew. Either way what was answered once about the
    same words is taken over from any earlier version.

    Cost: reading the texts; one to `attempts` requests per new text of the sample; memory for the sample.
    """
    pinned = _pinned(workspace)
    if pinned is not None and not refit and _fresh(pinned):
        return pinned
    sources = [workspace.store.open(asset) for asset in _sources(workspace.recipe)]
    return build_asking(
        workspace,
        "educational_labels",
        lambda writer, log: _produce(writer, workspace, log, sources),
        client,
        stage_version=STAGE_VERSION,
        inputs=tuple(source.ref() for source in sources),
        params=params(workspace.recipe),
        fresh=_fresh,
    )


def ahead(workspace: Workspace) -> Ahead:
    """What `build` would ask; until the texts are read, about as many as the recipe says. Cost: reading the texts,
    where labels of an earlier version may serve again."""
    store, wanted = workspace.store, workspace.recipe.educational
    pinned = _pinned(workspace)
    if pinned is not None and _fresh(pinned):
        count = there = pinned.rows
    elif None in (sources := [store.current(asset) for asset in _sources(workspace.recipe)]):
        count, there = wanted.labels, 0
    else:
        read = [source for source in sources if source is not None]
        count, there = min(wanted.labels, sum(source.manifest.rows for source in read)), 0
        if store.versions("educational_labels"):
            texts = _texts(workspace.recipe, read)
            known = _known(store, texts)
            there = sum(text.key in known for text in texts)
    return Ahead.of("educational_labels", "texts", count, there, wanted.attempts, wanted.max_tokens)


def _sources(recipe: Recipe) -> tuple[str, ...]:
    return (SEEDS, DOCUMENTS) if has_real(recipe) else (SEEDS,)


def _pinned(workspace: Workspace) -> Manifest | None:
    """The current labels, where they are as the recipe asks."""
    found = workspace.store.current("educational_labels")
    if found is None or found.manifest.stage_version != STAGE_VERSION:
        return None
    return found.manifest if found.manifest.params == params(workspace.recipe) else None


def _fresh(manifest: Manifest) -> bool:
    return "failed" not in manifest.flow.failed


def drawn(sources: Iterable[Dataset], count: int) -> list[tuple[str, str, str]]:
    """The texts with the lowest draws: asset, id, text. Whatever the order of the rows; one text more changes at most
    one of them. Memory: for these texts."""

    def every() -> Iterator[tuple[float, str, str, str]]:
        for source in sources:
            key = TABLES[source.manifest.asset].names[0]
            for table in source.tables([key, "text"]):
                for name, text in zip(table[key].to_pylist(), table["text"].to_pylist(), strict=True):
                    yield uniform("educational", name), source.manifest.asset, name, text

    return [found[1:] for found in heapq.nsmallest(count, every())]


def _texts(recipe: Recipe, sources: Sequence[Dataset]) -> list[Asked]:
    """The sample."""
    wanted, model = recipe.educational, recipe.generation.model
    asking = canonical_json([WORDING, wanted.attempts, wanted.max_tokens, model.name, model.revision])
    texts = []
    for source, name, text in drawn(sources, wanted.labels):
        extract = text[: wanted.extract_chars]
        texts.append(Asked(name, source, extract, digest("educational", asking, extract)))
    return texts


def _known(store: CorpusStore, texts: Iterable[Asked]) -> dict[str, dict[str, Any]]:
    """The rows of earlier versions that need not be asked for again, by key."""
    found = answered(store, "educational_labels", STAGE_VERSION, {text.key for text in texts})
    return {key: row for key, row in found.items() if row["status"] != "failed"}


def _produce(writer: DatasetWriter, workspace: Workspace, log: AnswerLog, sources: Sequence[Dataset]) -> None:
    texts = _texts(workspace.recipe, sources)
    known = _known(workspace.store, texts)
    new = [text for text in texts if text.key not in known]
    _ask(new, log, workspace)
    rows = [{**(known.get(text.key) or _row(text)), "text_id": text.text_id, "source": text.source} for text in texts]
    writer.write(pa.Table.from_pylist(rows, schema=EDUCATIONAL_LABELS))
    statuses = Counter(row["status"] for row in rows)
    for row in rows:
        if row["status"] != "ok":
            writer.reject(row["text_id"], row["status"], detail=(row["answers"] or [None])[-1])
    total = sum(source.manifest.rows for source in sources)
    rest = total - len(rows)
    writer.flow("texts", total, statuses.pop("ok", 0), dropped={"not_drawn": rest} if rest else {}, failed=statuses)
    writer.run["reused_rows"] = len(texts) - len(new)
    scores = Counter(row["score"] for row in rows if row["score"] is not None)
    writer.summary = {
        "asked": len(rows),
        "scores": [scores[score] for score in range(BEST + 1)],
        "sources": dict(Counter(row["source"] for row in rows if row["score"] is not None)),
    }


def _ask(texts: Sequence[Asked], log: AnswerLog, workspace: Workspace) -> None:
    by_id = {text.text_id: text for text in texts}
    for attempt in range(workspace.recipe.educational.attempts):
        due = [text for text in texts if text.status not in ("ok", "refused")]
        for answer in log.answers(_requests(due, attempt, workspace.recipe)):
            _take(by_id[answer.key], answer)
        workspace.progress(sum(text.status == "ok" for text in texts), len(texts), "texts")


def _requests(due: Iterable[Asked], attempt: int, recipe: Recipe) -> Iterator[Request]:
    for text in due:
        seed = digest("educational", recipe.generation.model.name, question(text.extract), str(attempt))
        sampling = {
            "temperature": 0.0 if attempt == 0 else round(0.4 + 0.2 * attempt, 1),
            "max_tokens": recipe.educational.max_tokens,
            "seed": request_seed(seed),
        }
        yield Request(text.text_id, {**body(text.extract), **sampling})


def _take(text: Asked, answer: Answer) -> None:
    text.answers.append(answer.text if answer.status == "ok" else answer.error or "")
    text.status = answer.status
    if answer.status == "ok":
        try:
            text.score, text.reason = parse(answer.text)
        except (ValueError, RecursionError):
            text.status = "unreadable"


def _row(text: Asked) -> dict[str, Any]:
    return {name: getattr(text, name) for name in ("extract", "score", "reason", "status", "answers", "key")}
