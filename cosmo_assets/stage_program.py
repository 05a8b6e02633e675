"""One heavy stage as a program: what a Slurm job runs in place of a step of Dagster's, and without it.

Belongs here: which stages can run so. Does not belong here: their work, or submitting jobs (`cosmo_resources.slurm`).

Usage: python -m cosmo_assets.stage_program ASSET [BUCKET] --recipe RECIPE --data FOLDER
"""

import argparse
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cosmo_assets.agreement import ASKED
from cosmo_assets.recipe.recipe import load_recipe
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.garbage import READER
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore


def _embeddings(workspace: Workspace, _: str) -> Manifest:
    from cosmo_assets.topics.embedding import build
    from cosmo_resources.embedding.minilm import pipeline_embedder

    return build(workspace, pipeline_embedder())


def _signatures(workspace: Workspace, bucket: str) -> Manifest:
    from cosmo_assets.deduplication.signatures import build

    return build(workspace, bucket)


def _text_embeddings(workspace: Workspace, bucket: str) -> Manifest:
    from cosmo_assets.deduplication.embeddings import build
    from cosmo_resources.embedding.minilm import pipeline_embedder

    return build(workspace, pipeline_embedder(), bucket)


def _clusters(workspace: Workspace, _: str) -> Manifest:
    from cosmo_assets.deduplication.clusters import build

    return build(workspace)


STAGES: Mapping[str, Callable[[Workspace, str], Manifest]] = {
    "seed_embeddings": _embeddings,
    "text_signatures": _signatures,
    "text_embeddings": _text_embeddings,
    "duplicate_clusters": _clusters,
}
"""Assets that are heavy on processors and need no model server."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cosmo_assets.stage_program", description=__doc__)
    parser.add_argument("asset", choices=sorted(STAGES))
    parser.add_argument("bucket", nargs="?", default="")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        recipe = load_recipe(options.recipe)
        store = CorpusStore(options.data / recipe.name)
        with store.hold(f"{READER}{uuid.uuid4().hex}"):
            manifest = STAGES[options.asset](Workspace(store, recipe, asked=ASKED), options.bucket)
    except CosmoError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{manifest.asset} {manifest.bucket} {manifest.version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
