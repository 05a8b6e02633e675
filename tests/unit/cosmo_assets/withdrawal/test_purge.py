"""What a withdrawal concerns: counted once, shard by shard, and only what somebody meant."""

from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.stage import Workspace
from cosmo_assets.withdrawal import record
from cosmo_assets.withdrawal.keys import Item
from cosmo_assets.withdrawal.purge import measure, resolve
from cosmo_assets.withdrawal.record import Note, Size
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.synthetic import put, recipe


def span(number: int, shard: int, start: int, end: int, **columns: Any) -> dict[str, Any]:
    return {
        "shard": f"shard-{shard:05d}.ds",
        "start": start,
        "end": end,
        "doc_id": digest("doc", str(number)),
        "seed_id": digest("seed", str(number // 2)),
        "source": "web" if number < 3 else "books",
        "topic": "Rivers",
        **columns,
    }


SPANS = [
    span(0, 0, 0, 10),
    span(1, 0, 10, 35),
    span(3, 0, 35, 40, topic="Seas"),
    span(0, 1, 0, 10, copy=1),
    span(2, 1, 10, 110),
    span(4, 2, 0, 7, topic=None),
]


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    space = Workspace(CorpusStore(tmp_path), recipe())
    put(space, "token_lineage", {None: SPANS})
    return space


def test_what_goes_is_counted_by_item_and_shard_and_every_document_once(space: Workspace) -> None:
    seed, doc = Item("seed", digest("seed", "0")), Item("doc", digest("doc", "0"))
    found = measure(space.store, [seed, doc, Item("topic", "Seas")])
    assert found.sizes == {doc: Size(1, 20), seed: Size(2, 45), Item("topic", "Seas"): Size(1, 5)}
    assert (found.documents, found.tokens) == (3, 50)
    assert found.shards == [
        {"shard": "shard-00000.ds", "documents": 3, "tokens": 40, "of": 40},
        {"shard": "shard-00001.ds", "documents": 1, "tokens": 10, "of": 110},
    ]
    assert found.sources == {"books": 5, "web": 45}


def test_what_is_in_no_shard_is_of_size_zero(space: Workspace) -> None:
    item = Item("doc", digest("of another corpus"))
    found = measure(space.store, [item])
    assert (found.sizes, found.documents, found.tokens, found.shards) == ({item: Size(0, 0)}, 0, 0, [])


def test_before_there_are_shards_everything_is_of_size_zero(tmp_path: Path) -> None:
    found = measure(CorpusStore(tmp_path / "new"), [Item("source", "web")])
    assert (found.sizes, found.documents) == ({Item("source", "web"): Size(0, 0)}, 0)


def test_what_is_withdrawn_already_is_said(space: Workspace) -> None:
    web, seas = Item("source", "web"), Item("topic", "Seas")
    record.withdraw(space, {web: Size(1, 1)}, Note("because", "ann"))
    assert [entry.item for entry in measure(space.store, [seas, web]).in_force] == [web]


def test_an_id_may_be_abbreviated_where_one_is_meant(space: Workspace) -> None:
    whole = digest("doc", "3")
    assert resolve(space.store, space.recipe, [Item("doc", whole[:8])]) == [Item("doc", whole)]
    with pytest.raises(CosmoError, match="doc zz: nothing in the shards begins so"):
        resolve(space.store, space.recipe, [Item("doc", "zz")])
    with pytest.raises(CosmoError, match="doc : 5 begin so, the first is"):
        resolve(space.store, space.recipe, [Item("doc", "")])


def test_a_whole_id_may_be_of_what_is_yet_to_come(space: Workspace) -> None:
    item = Item("seed", digest("later"))
    assert resolve(space.store, space.recipe, [item]) == [item]


@pytest.mark.parametrize("item", [Item("topic", "Seas"), Item("source", "web"), Item("source", "pages")], ids=str)
def test_a_name_is_one_that_the_corpus_or_the_recipe_knows(space: Workspace, item: Item) -> None:
    assert resolve(space.store, space.recipe, [item]) == [item]


def test_an_unknown_name_is_refused_unless_it_is_meant(space: Workspace) -> None:
    with pytest.raises(CosmoError, match=r"nothing in the corpus is of topic Riwers; do you mean Rivers\?") as caught:
        resolve(space.store, space.recipe, [Item("topic", "Riwers")])
    assert "--unseen" in caught.value.remedy
    assert resolve(space.store, space.recipe, [Item("topic", "Riwers")], unseen=True) == [Item("topic", "Riwers")]


def test_the_prompts_know_names_too(space: Workspace) -> None:
    put(space, "prompt_table", {"b000": [{"template": "haiku"}]})
    assert resolve(space.store, space.recipe, [Item("template", "haiku")]) == [Item("template", "haiku")]
