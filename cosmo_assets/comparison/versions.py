"""Versions of a corpus: one of the shards, with everything that it was made from.

Belongs here: finding versions, and walking from one to its inputs. Does not belong here: comparing two of them
(`changes`).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cosmo_assets.real.texts import DOCUMENTS, ELIGIBLE
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import MANIFEST_NAME, InputRef, Manifest
from cosmo_resources.storage.store import CorpusStore, Dataset

SHARDS = "tokenized_shards"
READ = (
    SHARDS,
    "mixture",
    "deduplicated",
    "decontaminated",
    "generation_quality",
    "generations",
    "prompt_table",
    "seed_documents",
    ELIGIBLE,
    DOCUMENTS,
)
"""The assets whose rows say why a document is in a corpus or not."""

BESIDE = "proxy_evaluation"
"""What the report reads and the corpus is not made from: it may be of earlier shards."""


@dataclass(frozen=True)
class Version:
    """Everything that a dataset was made from, itself included. `refs` has each input by asset and bucket."""

    datasets: Mapping[str, list[Dataset]]
    refs: Mapping[tuple[str, str], str]

    @property
    def shards(self) -> Dataset:
        return self.datasets[SHARDS][0]

    def settings(self) -> dict[str, Any]:
        """The recipe as far as it was used, flat: field by `asset.field.field`."""
        found: dict[str, Any] = {}
        for asset, datasets in self.datasets.items():
            _flatten(asset, datasets[0].manifest.params, found)
        return found


def walk(store: CorpusStore, manifest: Manifest) -> Version:
    """All inputs of a dataset, and theirs, but for the proof.

    Raises:
        CosmoError: one that a comparison reads is gone or damaged.
    """
    datasets: dict[str, list[Dataset]] = defaultdict(list)
    refs: dict[tuple[str, str], str] = {}
    todo = [manifest.ref()]
    while todo:
        ref = todo.pop()
        if (ref.asset, ref.bucket) in refs:
            continue
        refs[ref.asset, ref.bucket] = ref.version
        if (dataset := _opened(store, ref)) is not None:
            datasets[ref.asset].append(dataset)
            todo += [made_of for made_of in dataset.manifest.inputs if made_of.asset != BESIDE]
    return Version({asset: sorted(found, key=_bucket) for asset, found in datasets.items()}, refs)


def versions(store: CorpusStore) -> list[Dataset]:
    """All versions of the shards, the latest first."""
    return sorted(store.versions(SHARDS), key=built, reverse=True)


def built(dataset: Dataset) -> datetime:
    """When a version was written."""
    return datetime.fromtimestamp((dataset.folder / MANIFEST_NAME).stat().st_mtime, UTC)


def find(store: CorpusStore, name: str) -> Dataset:
    """The version of the shards that a name begins, or that was made from the mixture of this name.

    Raises:
        CosmoError: there is no such version, or more than one.
    """
    known = versions(store)
    found = [dataset for dataset in known if any(version.startswith(name) for version in _names(dataset))]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(dataset.manifest.version[:12] for dataset in found or known) or "none"
    what = "more than one version begins so" if found else "no version of the shards or their mixture begins so"
    raise CosmoError(f"{name!r}: {what}", remedy=f"name one of {listed}; cosmo diff --list shows them all")


def pair(store: CorpusStore, before: str | None, after: str | None) -> tuple[Dataset, Dataset]:
    """Two versions by their names; by default the current one and, of the others, the latest.

    Raises:
        CosmoError: there is no such version, or no other one.
    """
    now = find(store, after) if after else store.open(SHARDS)
    if before:
        return find(store, before), now
    others = [dataset for dataset in versions(store) if dataset.manifest.version != now.manifest.version]
    if not others:
        raise CosmoError(
            f"there is one version of the shards alone, {now.manifest.version[:12]}",
            remedy="build another one (cosmo run), then compare",
        )
    return others[0], now


def _names(dataset: Dataset) -> list[str]:
    made_of = [ref.version for ref in dataset.manifest.inputs if ref.asset == "mixture"]
    return [dataset.manifest.version, *made_of]


def _opened(store: CorpusStore, ref: InputRef) -> Dataset | None:
    """None for a part of a dataset that is stored whole, and for what is gone and not read."""
    if not store.place(ref.asset, ref.bucket).is_dir():
        return None
    try:
        return store.version(ref)
    except CosmoError:
        if ref.asset in READ:
            raise
        return None


def _bucket(dataset: Dataset) -> str:
    return dataset.manifest.bucket


def _flatten(prefix: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{prefix}.{key}", inner, into)
    else:
        into[prefix] = value
