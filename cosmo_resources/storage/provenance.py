"""Provenance: whether what a stage reads was made of what is current now.

Belongs here: following the inputs that manifests name. Does not belong here: which assets are pinned on purpose
(`cosmo_assets.stage`), or building anything again.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from cosmo_resources.storage.manifest import MANIFEST_NAME, InputRef, Manifest, read_manifest
from cosmo_resources.storage.store import ALL, CorpusStore


class Outdated(NamedTuple):
    """A current dataset that was made of `made_of`, where `now` is current; None, where there is none any more."""

    dataset: InputRef
    made_of: InputRef
    now: InputRef | None


class Upstream:
    """The current datasets behind some inputs, at any distance. `pinned` assets may be older than what they were made
    of: they and what is behind them are left out. So is what comes from outside the store (files, benchmarks, other
    corpora): it has no version there.

    Cost: each current manifest behind the inputs is read once; no data, and no look at its files.

    Raises:
        CosmoError: one of these manifests cannot be read, or was edited by hand.
    """

    def __init__(self, store: CorpusStore, inputs: Iterable[InputRef], *, pinned: Collection[str] = ()) -> None:
        self._store = store
        self._known = set(store.assets())
        self._current: dict[tuple[str, str], Manifest | None] = {}
        self._pinned = frozenset(pinned)
        self._seen: set[tuple[str, str]] = set()
        self.manifests: list[Manifest] = []
        """Those nearest to the beginning first."""
        for ref in inputs:
            self._follow(ref)

    def outdated(self) -> list[Outdated]:
        """Those that were made of something other than its current version, in the same order."""
        found: dict[Outdated, None] = {}
        for maker in self.manifests:
            for made_of in maker.inputs:
                if made_of.asset not in self._known:
                    continue
                source = self._manifest(made_of.asset, made_of.bucket)
                now = source.ref(made_of.bucket) if source else None
                if now != made_of:
                    found[Outdated(maker.ref(), made_of, now)] = None
        return list(found)

    def _follow(self, ref: InputRef) -> None:
        maker = self._manifest(ref.asset, ref.bucket)
        if maker is None or (maker.asset, maker.bucket) in self._seen or maker.asset in self._pinned:
            return
        self._seen.add((maker.asset, maker.bucket))
        for made_of in maker.inputs:
            self._follow(made_of)
        self.manifests.append(maker)

    def _manifest(self, asset: str, bucket: str) -> Manifest | None:
        """Of the current version of a bucket, or of the whole asset, where it has no buckets of its own."""
        if asset not in self._known:
            return None
        if (asset, bucket) not in self._current:
            version = self._store.current_version(asset, bucket)
            if version is not None:
                path = self._store.place(asset, bucket) / version / MANIFEST_NAME
                self._current[asset, bucket] = read_manifest(path)
            else:
                self._current[asset, bucket] = self._manifest(asset, ALL) if bucket != ALL else None
        return self._current[asset, bucket]
