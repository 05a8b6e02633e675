"""Sorted ids and groups against plain Python."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.ids import halves_of, ids_of
from cosmo_assets.lineage import arrays
from cosmo_assets.lineage.arrays import IndexFiles, IndexWriter, grouped, numbered, places_of, runs
from cosmo_assets.schemas.sources import SEED_DOCUMENTS
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import ALL, BuildPlan, CorpusStore
from cosmo_resources.storage.writer import DatasetWriter

HALF = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))
"""Small halves make ids that agree in their first or last 64 bits."""

IDS = st.lists(st.tuples(HALF, HALF).map(lambda halves: f"{halves[0]:016x}{halves[1]:016x}"), max_size=40)


def stored(folder: Path, names: list[str]) -> IndexFiles:
    def produce(writer: DatasetWriter) -> None:
        files = IndexWriter(writer)
        files.add_ids("things", numbered(halves_of(pa.array(names, pa.string())))[0])
        files.finish({})
        writer.flow("rows", 0, 0)

    store = CorpusStore(folder)
    store.build(BuildPlan("things", "1", SEED_DOCUMENTS, {}, (), ALL), produce, run={})
    return IndexFiles(store.open("things"))


@settings(deadline=None, max_examples=60)
@given(IDS, st.text("0123456789abcdef", min_size=1, max_size=32), st.integers(1, 64))
def test_sorted_ids_are_found_and_nothing_else_is(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], start: str, cell: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "CELL", cell)
        ids = stored(tmp_path_factory.mktemp("ids"), names).ids("things")
        known = sorted(set(names))
        assert len(ids) == len(known)
        assert [ids.find(name) for name in known] == list(range(len(known)))
        assert ids.names(np.arange(len(known))) == known
        for asked in (start, *(name[:size] for name in names[:5] for size in (1, 16, 17, 31))):
            first, last = ids.beginning_with(asked)
            assert known[first:last] == [name for name in known if name.startswith(asked)]
        absent = start.ljust(32, "7")
        assert (ids.find(absent) is not None) == (absent in known)
        assert ids.find("ff") is None
        for wrong in ("", "x", "F", "0" * 33):
            assert len(range(*ids.beginning_with(wrong))) == 0


@given(IDS, IDS)
def test_ids_are_numbered_in_their_order(names: list[str], others: list[str]) -> None:
    distinct, numbers, firsts = numbered(halves_of(pa.array(names, pa.string())))
    known = sorted(set(names))
    assert ids_of(distinct).to_pylist() == known
    assert numbers.tolist() == [known.index(name) for name in names]
    assert firsts.tolist() == [names.index(name) for name in known]
    wanted = [*names, *others]
    places = places_of(halves_of(pa.array(wanted, pa.string())), distinct)
    assert places.tolist() == [known.index(name) if name in known else -1 for name in wanted]


@given(st.lists(st.integers(0, 6), max_size=30))
def test_groups_list_their_members_in_order(groups: list[int]) -> None:
    bounds, members = grouped(np.array(groups, np.uint32), 7)
    for group in range(7):
        found = members[bounds[group] : bounds[group + 1]].tolist()
        assert found == [member for member, its in enumerate(groups) if its == group]
    starts, stops = bounds[:-1], bounds[1:]
    assert runs(starts, stops).tolist() == list(range(len(groups)))


def test_what_is_no_id_is_told() -> None:
    for wrong in (["some id"], ["g" * 32], [None]):
        with pytest.raises(CosmoError, match="mixture: a value that should be an id"):
            arrays.halves(pa.array(wrong, pa.string()), "mixture")
