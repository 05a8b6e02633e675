"""Stages that ask the model for something else than the corpus's texts: what they share.

Belongs here: a build that keeps its answers until they are published, rows that an earlier version holds already, and
what a stage says that it would ask. Does not belong here: questions (the stages) or generation itself (`generation`).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cosmo_assets.stage import Workspace
from cosmo_resources.inference.answers import AnswerLog, Client
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.storage.writer import DatasetWriter

LOG_NAME = "answers.jsonl"


@dataclass(frozen=True)
class Ahead:
    """What a stage would ask if it were built now: about `count` of `what` (None: nobody can say yet), of which `there`
    are answered already; `least` to `most` requests about the others, with answers of `max_tokens` at most."""

    asset: str
    what: str
    count: int | None
    there: int
    least: int
    most: int
    max_tokens: int

    @staticmethod
    def of(asset: str, what: str, count: int, there: int, attempts: int, max_tokens: int) -> "Ahead":
        """Of a stage that asks once about each, and again where an answer is of no use, up to `attempts` times."""
        new = count - there
        return Ahead(asset, what, count, there, new, new * attempts, max_tokens)

    @property
    def tokens(self) -> int:
        """Output tokens, at most."""
        return self.most * self.max_tokens


def build_asking(
    workspace: Workspace,
    asset: str,
    produce: Callable[[DatasetWriter, AnswerLog], None],
    client: Callable[[], Client],
    *,
    stage_version: str,
    inputs: tuple[InputRef, ...],
    params: Mapping[str, Any],
    fresh: Callable[[Manifest], bool],
) -> Manifest:
    """`Workspace.build` for a stage that asks: `produce` is also given the log to ask through, which holds what a
    killed or failed build of the asset was told. The client is made only if something is asked."""
    store = workspace.store
    path = store.work(asset) / LOG_NAME
    model = workspace.recipe.generation.model
    log: list[AnswerLog] = []

    def asking(writer: DatasetWriter) -> None:
        log.append(AnswerLog(path, f"{model.name} {model.revision}", client))  # read while the bucket's lock is held
        produce(writer, log[-1])
        writer.run["requests"] = log[-1].sent

    manifest = workspace.build(asset, asking, stage_version=stage_version, inputs=inputs, params=params, fresh=fresh)
    if log:
        with store.lock(asset, wait=False) as held:
            if held:
                log[-1].clear()
    return manifest


def answered(store: CorpusStore, asset: str, stage_version: str, keys: Collection[str]) -> dict[str, dict[str, Any]]:
    """Rows of all earlier versions of a stage version by their column `key`, the current version first. Cost: reads the
    keys of every version, and the rows of those that hold one that is wanted."""
    current = store.current_version(asset)
    found: dict[str, dict[str, Any]] = {}
    for version in sorted(store.versions(asset), key=lambda version: version.manifest.version != current):
        if version.manifest.stage_version != stage_version:
            continue
        missing = set(keys) - found.keys()
        if missing.intersection(version.table(["key"])["key"].to_pylist()):
            found |= {row["key"]: row for row in version.table().to_pylist() if row["key"] in missing}
    return found
