"""What of a corpus may be collected: the generic rule, and what models' answers add to it.

Belongs here: references that no manifest holds, and unreferenced versions that have cost a model's time. Does not
belong here: marking and removing (`cosmo_resources.storage.garbage`).
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from cosmo_assets.generation.plan import GenerationPlan, make_plan, read_plan
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.garbage import BUILDING, Place, Unreferenced, collect
from cosmo_resources.storage.ledger import ShardLedger, work_folders
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.storage.writer import read_table

GENERATIONS = "generations"
ASKING = frozenset({"topic_labels", "topic_tree", "course_outlines", "template_pilots", "educational_labels"})
"""Further assets whose rows are a model's answers: small, and looked up in earlier versions, too."""


def collect_corpus(
    recipe: Recipe, store: CorpusStore, *, answers: bool = False, delete: bool = False
) -> list[Unreferenced]:
    """What of a corpus nothing refers to, and with `delete` removes it (see `collect`). Answers that are nowhere else
    stay unless `answers` is set: a recipe that is changed back would have to pay for them again. Of working folders,
    those go whose answers are all published.

    Raises:
        CosmoError: a version that is current or referred to cannot be read; nothing was removed.
    """

    def worth(manifest: Manifest, kept: set[Place]) -> str:
        return "" if answers else _only_copies(store, manifest, kept)

    found = collect(store, also=_read_by_workers(store), worth=worth, delete=delete)
    return found + [
        _remove(store, one) if delete and not one.kept else one for one in _finished(recipe, store, answers)
    ]


def _read_by_workers(store: CorpusStore) -> Iterator[Path]:
    """Files that workers of unfinished jobs read, wherever these run."""
    for _, folder in _jobs(store):
        plan = _plan(folder)
        yield from (Path(path) for path in plan.prompts) if plan is not None else ()


def _jobs(store: CorpusStore) -> Iterator[tuple[str, Path]]:
    for bucket in store.buckets(GENERATIONS):
        for folder in work_folders(store.place(GENERATIONS, bucket)):
            yield bucket, folder


def _plan(folder: Path) -> GenerationPlan | None:
    try:
        return read_plan(folder)
    except (OSError, ValueError):  # published and removed meanwhile, or of an earlier version
        return None


def _only_copies(store: CorpusStore, manifest: Manifest, kept: set[Place]) -> str:
    """Why a version with answers stays: it holds some that no version which stays has."""
    if manifest.asset in ASKING:
        return "holds answers of a model"
    if manifest.asset != GENERATIONS:
        return ""
    mine = [str(store.place(GENERATIONS, manifest.bucket) / manifest.version / name) for name in _rows(manifest)]
    left = pl.scan_parquet(mine).filter(pl.col("status") == "ok").select("doc_id").unique() if mine else None
    for version in _staying(store, manifest, kept):
        if left is not None and version.paths():
            there = pl.scan_parquet(version.paths()).select("doc_id")
            left = left.join(there, on="doc_id", how="anti").collect(engine="streaming").lazy()
    number = 0 if left is None else left.select(pl.len()).collect().item()
    return f"holds {number:,} answers that are nowhere else" if number else ""


def _rows(manifest: Manifest) -> list[str]:
    return [entry.name for entry in manifest.files if entry.role == "rows"]


def _staying(store: CorpusStore, manifest: Manifest, kept: set[Place]) -> Iterator[Dataset]:
    """The versions that stay and may hold the same documents: those of the same bucket, and all of another number of
    buckets."""
    for asset, bucket, name in sorted(kept):
        if asset != GENERATIONS:
            continue
        for version in store.versions(GENERATIONS, bucket):
            same = version.manifest.run.get("buckets") == manifest.run.get("buckets")
            if version.folder.name == name and (bucket == manifest.bucket or not same):
                yield version


def _finished(recipe: Recipe, store: CorpusStore, answers: bool) -> Iterator[Unreferenced]:
    """Working folders of jobs, those that the recipe asks for now left out."""
    prompts = store.current("prompt_table")
    for bucket, folder in _jobs(store):
        plan = _plan(folder)
        if plan is None or (prompts is not None and plan.buckets == recipe.buckets and _wanted(recipe, store, plan)):
            continue
        left = _unpublished(store, bucket, folder)
        reason = f"holds {left:,} answers that are not published" if left and not answers else ""
        with store.lock(GENERATIONS, bucket, wait=False) as free:
            reason = reason if free else BUILDING
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.stat().st_nlink == 1)
        yield Unreferenced(GENERATIONS, bucket, folder.name, folder, size, reason)


def _wanted(recipe: Recipe, store: CorpusStore, plan: GenerationPlan) -> bool:
    return plan.digest == make_plan(recipe, store.open("prompt_table"), plan.bucket).digest


def _unpublished(store: CorpusStore, bucket: str, folder: Path) -> int:
    """Answers of a job that no version of its bucket holds."""
    rows = {row["doc_id"] for row in ShardLedger(folder).rows() if row["status"] == "ok"}
    for version in store.versions(GENERATIONS, bucket):
        for path in version.paths() if rows else ():
            try:
                rows.difference_update(read_table(path, ["doc_id"])["doc_id"].to_pylist())
            except CosmoError:
                continue
    return len(rows)


def _remove(store: CorpusStore, one: Unreferenced) -> Unreferenced:
    with store.lock(one.asset, one.bucket, wait=False) as free:
        if not free:
            return Unreferenced(one.asset, one.bucket, one.name, one.folder, one.bytes, BUILDING)
        shutil.rmtree(one.folder, ignore_errors=True)
    return one
