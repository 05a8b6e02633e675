"""Sending the exported dataset to a repository of the Hugging Face hub.

Belongs here: the stage, what is uploaded, and what of the repository goes. Does not belong here: writing the files
(`export`), or when it happens: on request only.
"""

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cosmo_assets.report.card import CHARTS
from cosmo_assets.schemas.corpus import PUSH_TO_HUB
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset, verify_checksums
from cosmo_resources.storage.writer import DatasetWriter

ASSET = "push_to_hub"
STAGE_VERSION = "1"
AT_ONCE = 8
"""Files that are uploaded before the next are begun: between them, progress is told."""
OWNED = ("data/", f"{CHARTS}/")
"""Folders of the repository that hold nothing but the export: other files there are removed."""

_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Target:
    """A repository of data sets, by its name on the hub, and a branch of it. `private`: what it is created as, if it
    is not there."""

    repository: str
    branch: str = "main"
    private: bool = True


def build(workspace: Workspace, target: Target) -> Manifest:
    """Upload the current `corpus_export` in one commit; readers of the repository see all of it or what was there. The
    token comes from the environment (HF_TOKEN), as huggingface_hub reads it.

    A push that was killed goes on: files whose content the hub has are not sent again. One that changes nothing makes
    no commit.

    Raises:
        CosmoError: no repository is named, the export is damaged, or the hub refuses.
    """
    if not _NAME.fullmatch(target.repository):
        what = f"{target.repository!r} is no repository" if target.repository else "no repository is named"
        raise CosmoError(
            f"{ASSET}: {what}: nothing is uploaded",
            remedy="set COSMO_HUB to owner/name, or `repository` in the asset's configuration",
        )
    export = workspace.store.open("corpus_export")
    return workspace.build(
        ASSET,
        lambda writer: _produce(writer, workspace, export, target),
        stage_version=STAGE_VERSION,
        inputs=(export.ref(),),
        params={"repository": target.repository, "branch": target.branch},
        fresh=lambda _: False,  # what the repository holds now is not known here
    )


def _produce(writer: DatasetWriter, workspace: Workspace, export: Dataset, target: Target) -> None:
    if damaged := verify_checksums(export):
        raise CosmoError(
            f"{export.folder}: damaged: {', '.join(damaged)}; nothing is uploaded",
            remedy=f"remove {export.folder}, then run `cosmo run --asset corpus_export`",
        )
    files = [entry for entry in export.manifest.files if entry.role == "artifact"]
    try:
        commit = _upload(workspace, export, target)
    except CosmoError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split())[:500]
        raise CosmoError(
            f"{ASSET}: {target.repository}: {type(error).__name__}: {detail}",
            remedy="check HF_TOKEN (it must allow writing), the name and the network, and run the same command again: "
            "what has arrived is not sent again",
        ) from error
    rows = [{"file": entry.name, "bytes": entry.bytes, "checksum": entry.checksum} for entry in files]
    writer.write(pa.Table.from_pylist(rows, schema=PUSH_TO_HUB))
    writer.flow("files", len(files), len(rows))
    writer.summary = {"repository": target.repository, "branch": target.branch, "commit": commit.oid}
    writer.run["url"] = str(commit.commit_url)


def _upload(workspace: Workspace, export: Dataset, target: Target) -> Any:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api, repository = HfApi(), target.repository
    api.create_repo(repository, repo_type="dataset", private=target.private, exist_ok=True)
    if target.branch != "main":
        api.create_branch(repository, branch=target.branch, repo_type="dataset", exist_ok=True)
    files = [entry for entry in export.manifest.files if entry.role == "artifact"]
    added = [CommitOperationAdd(entry.name, str(export.folder / entry.name)) for entry in files]
    for start in range(0, len(added), AT_ONCE):
        api.preupload_lfs_files(
            repository, added[start : start + AT_ONCE], repo_type="dataset", revision=target.branch, free_memory=False
        )
        workspace.progress(min(start + AT_ONCE, len(added)), len(added), "files")
    here = {entry.name for entry in files}
    there = api.list_repo_files(repository, repo_type="dataset", revision=target.branch)
    gone = [CommitOperationDelete(name) for name in there if name.startswith(OWNED) and name not in here]
    return api.create_commit(
        repository,
        [*added, *gone],
        repo_type="dataset",
        revision=target.branch,
        commit_message=f"Corpus {workspace.recipe.name}, version {export.manifest.version}",
    )
