"""Rows that an earlier version of a dataset holds already: what a stage that makes rows of rows need not compute again.

Belongs here: which earlier version was made in the same way, and which of its rows were made of the same input. Does
not belong here: what a row means, or a model's answers (`cosmo_assets.generation.plan` takes those over by their ids).
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import DIGEST_BYTES, canonical_json, frozen_mapping, schema_fingerprint
from cosmo_resources.storage.manifest import InputRef
from cosmo_resources.storage.store import BuildPlan, CorpusStore, Dataset, verify_checksums


@dataclass(frozen=True)
class RowSource:
    """An input whose rows become rows of the output, or one bucket of it. An output row may depend on its `key`, on
    `columns` of the input row with that key, and on what the key is a hash of; on nothing else of the input."""

    dataset: Dataset
    columns: tuple[str, ...]


class Earlier:
    """The rows of one earlier version that a build may take over as they are; none, where there is no such version."""

    def __init__(
        self, schema: pa.Schema, key: str, dataset: Dataset | None = None, unchanged: Collection[str] = ()
    ) -> None:
        self.dataset = dataset
        """The version, its files compared with their checksums: its artifacts may be read as well."""
        self.unchanged = unchanged
        """The keys whose input is what it was: one of them without a row had none then, and has none now."""
        self._key = key
        self._rows: pa.Table = schema.empty_table()
        self._rejected: dict[str, dict[str, Any]] = {}
        if dataset is not None:
            self._rows = _of(dataset.table(), key, unchanged)
            rejected = dataset.rejected()
            self._rejected = {row["place"]: row for row in rejected.to_pylist()} if rejected is not None else {}

    def rows(self, keys: Collection[str] | None = None) -> pa.Table:
        """The rows of these keys, or of all, in the order of the earlier version; a key that is new or whose input has
        changed has none.

        Cost: linear in the keys, plus one look-up per row of the version.
        """
        return self._rows if keys is None else _of(self._rows, self._key, keys)

    def take(self, keys: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """`rows` by key."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows(keys).to_pylist():
            found[row[self._key]].append(row)
        return dict(found)

    def rejected(self, place: str) -> dict[str, Any] | None:
        """What the version recorded about a row that it dropped (see `REJECTED`)."""
        return self._rejected.get(place)


def all_params(params: Mapping[str, Any]) -> Any:
    """Rows depend on all params of their stage."""
    return params


def find_earlier(
    store: CorpusStore,
    plan: BuildPlan,
    *,
    key: str,
    sources: Sequence[RowSource],
    fixed: Sequence[InputRef] = (),
    depends: Callable[[Mapping[str, Any]], Any] = all_params,
) -> Earlier:
    """What a build of `plan` may take over: rows of a version of the same asset and bucket with the same stage version,
    schema, `fixed` inputs and params (or what `depends` picks of them), that were made of equal rows of the sources.

    Equal means equal in content, by digest: an id that stands for another text than before gives nothing. A version
    with a damaged file is passed over, and so are rows whose input then cannot be read any more. The current version
    is preferred, then the one with the most rows.

    Cost: reading the earlier version with its checksums, and `columns` of the sources, as they were and as they are.
    """
    for dataset in versions_made_alike(store, plan, fixed=fixed, depends=depends):
        try:
            if not verify_checksums(dataset):
                return Earlier(plan.schema, key, dataset, unchanged_keys(store, dataset, key, sources))
        except (CosmoError, OSError, KeyError):
            continue
    return Earlier(plan.schema, key)


def versions_made_alike(
    store: CorpusStore,
    plan: BuildPlan,
    *,
    fixed: Sequence[InputRef] = (),
    depends: Callable[[Mapping[str, Any]], Any] = all_params,
    also: Collection[str] = (),
) -> list[Dataset]:
    """The versions of a plan's asset and bucket that were made in the same way (see `find_earlier`), the most useful
    one first; their files are not looked at. `also` are assets that may be read row by row and this plan does not."""
    wanted, schema = depends(frozen_mapping(plan.params)), schema_fingerprint(plan.schema)
    by_rows = {*also, *(ref.asset for ref in plan.inputs)} - {ref.asset for ref in fixed}
    found = []
    for dataset in store.versions(plan.asset, plan.bucket):
        manifest = dataset.manifest
        others = [ref for ref in manifest.inputs if ref.asset not in by_rows]
        alike = manifest.stage_version == plan.stage_version and manifest.schema_fingerprint == schema
        if alike and others == list(fixed) and depends(manifest.params) == wanted:
            found.append(dataset)
    current = store.current_version(plan.asset, plan.bucket)
    return sorted(found, key=lambda dataset: (dataset.folder.name != current, -dataset.manifest.rows))


def unchanged_keys(store: CorpusStore, earlier: Dataset, key: str, sources: Sequence[RowSource]) -> set[str]:
    """The keys whose rows in the sources are what they were when the earlier version was made. A row that has moved to
    another bucket of its source counts as changed."""
    before = {(ref.asset, ref.bucket): ref for ref in earlier.manifest.inputs}
    same: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        manifest = source.dataset.manifest
        ref = before.get((manifest.asset, manifest.bucket))
        same[manifest.asset] |= _same_rows(store, ref, key, source) if ref else set()
    return set.intersection(*same.values()) if same else set()


def _of(table: pa.Table, key: str, keys: Collection[str]) -> pa.Table:
    return table.filter(pc.is_in(table[key], value_set=pa.array(keys, pa.string())))


def _same_rows(store: CorpusStore, ref: InputRef, key: str, source: RowSource) -> set[str]:
    if ref.version == source.dataset.manifest.version:
        return {value for table in source.dataset.tables([key]) for value in table[key].to_pylist()}
    try:
        before = dict(_fingerprints(store.version(ref), key, source.columns))
    except CosmoError:
        return set()
    now = _fingerprints(source.dataset, key, source.columns)
    return {value for value, fingerprint in now if before.get(value) == fingerprint}


def _fingerprints(dataset: Dataset, key: str, columns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for table in dataset.tables([key, *columns]):
        contents = [_contents(table[name]) for name in columns]
        for value, *cells in zip(table[key].to_pylist(), *contents, strict=True):
            state = hashlib.blake2b(digest_size=DIGEST_BYTES)
            for cell in cells:
                state.update(b"null" if cell is None else b"%d:" % len(cell))
                state.update(cell or b"")
            yield value, state.digest()


def _contents(column: pa.ChunkedArray) -> list[bytes | None]:
    if pa.types.is_string(column.type):
        cells: list[bytes | None] = column.cast(pa.binary()).to_pylist()
        return cells
    return [None if value is None else canonical_json(value).encode() for value in column.to_pylist()]
