"""Where documents stand: a function of their ids alone, stable under any change of the others."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.ids import halves_of
from cosmo_assets.recipe.mixture import MAX_SHARDS
from cosmo_assets.tokenization.layout import Layout, shard_count
from cosmo_resources.storage.digest import digest

IDS = st.dictionaries(st.integers(0, 10_000).map(lambda number: digest(str(number))), st.integers(1, 4), max_size=60)


def layout(copies: dict[str, int], shards: int) -> Layout:
    ids, counts = pa.array(list(copies), pa.string()), pa.array(list(copies.values()), pa.int64())
    return Layout.of([pa.table({"doc_id": ids, "copies": counts})], [shards])


def standing(found: Layout) -> list[list[tuple[str, int]]]:
    """The copies of every shard, in their order."""
    return [
        list(zip(found.doc_ids(places).to_pylist(), found.copies(places).tolist(), strict=True))
        for places in map(found.in_shard, range(found.shards))
    ]


@given(IDS, st.integers(1, 9), st.data())
def test_a_document_that_goes_leaves_all_others_where_they_are(
    copies: dict[str, int], shards: int, data: st.DataObject
) -> None:
    gone = data.draw(st.sets(st.sampled_from(sorted(copies)))) if copies else set()
    before = standing(layout(copies, shards))
    after = standing(layout({key: count for key, count in copies.items() if key not in gone}, shards))
    assert after == [[(key, copy) for key, copy in shard if key not in gone] for shard in before]


@given(IDS, st.integers(1, 9))
def test_every_copy_stands_once_and_the_order_of_the_table_does_not_matter(copies: dict[str, int], shards: int) -> None:
    found = standing(layout(copies, shards))
    assert sorted(entry for shard in found for entry in shard) == sorted(
        (key, copy) for key, count in copies.items() for copy in range(count)
    )
    assert found == standing(layout(dict(reversed(copies.items())), shards))


@given(IDS, st.integers(0, 5))
def test_twice_as_many_shards_cut_each_in_two(copies: dict[str, int], power: int) -> None:
    few, many = standing(layout(copies, 1 << power)), standing(layout(copies, 2 << power))
    assert few == [left + right for left, right in zip(many[0::2], many[1::2], strict=True)]


def test_copies_of_a_document_stand_apart_and_shards_are_of_similar_size() -> None:
    found = standing(layout({digest(str(number)): 2 for number in range(4000)}, 8))
    sizes = [len(shard) for shard in found]
    assert sum(sizes) == 8000
    assert max(sizes) - min(sizes) < 250  # eight standard deviations of a drawn share
    shard_of = [{key: number for key, copy in shard if copy == 0} for number, shard in enumerate(found)]
    first = {key: number for shard in shard_of for key, number in shard.items()}
    together = sum(first[key] == number for number, shard in enumerate(found) for key, copy in shard if copy == 1)
    assert 350 < together < 650  # an eighth of 4,000 by chance


def test_documents_are_found_by_their_ids_and_others_are_not() -> None:
    twins = ["0" * 16 + "f" * 16, "1" * 16 + "f" * 16, "2" * 16 + "f" * 16]
    ids = [*twins, *(digest(str(number)) for number in range(50))]
    found = layout(dict.fromkeys(ids, 1), 2)
    places = found.find(pa.array(ids))
    assert (found.ids[places] == halves_of(pa.array(ids))).all()
    assert found.find(pa.array(["3" * 16 + "f" * 16, "e" * 32, "0" * 32])).tolist() == [-1, -1, -1]
    assert Layout.of([], [3]).find(pa.array(ids[:1])).tolist() == [-1]


@pytest.mark.parametrize(
    ("tokens", "shards"),
    [(0, 1), (1, 1), (100, 1), (101, 2), (200, 2), (201, 4), (399, 4), (401, 8), (10**12, MAX_SHARDS)],
)
def test_the_number_of_shards_is_a_power_of_two(tokens: int, shards: int) -> None:
    assert shard_count(tokens, 100) == shards


def test_draws_are_what_they_were() -> None:
    """Frozen: with other draws every corpus that exists would be written anew."""
    found = layout({digest(str(number)): 1 for number in range(6)}, 4)
    assert [[key[:4] for key, _ in shard] for shard in standing(found)] == [
        ["9948", "7511"],
        ["1f8b"],
        ["6e25", "1faa", "547e"],
        [],
    ]
