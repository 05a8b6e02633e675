"""Publishing generations, and taking over what exists: nothing that stands unchanged is asked again.

Belongs here: builds of whole buckets, one after another. Does not belong here: a single job (`test_generation_worker`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cosmo_assets.generation.generate import generate
from cosmo_assets.generation.plan import documents_of
from cosmo_assets.ids import bucket_name, bucket_of
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.pools.jobs import Job
from cosmo_resources.storage.ledger import ShardLedger, work_folders
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.writer import read_table
from tests.doubles.replay_server import ReplayServer, replaying
from tests.unit.cosmo_assets.generation.jobs import HerePool, asked, workspace
from tests.unit.cosmo_assets.synthetic import prompt, prompts, put, put_prompts, recipe


def build(space: Workspace, server: ReplayServer, bucket: str = "b000", **options: Any) -> Manifest:
    return generate(space, HerePool(server, **options), bucket)


def build_all(folder: Path, made_of: Recipe, rows: list[dict[str, Any]], server: ReplayServer) -> Workspace:
    space = workspace(folder, made_of)
    put_prompts(space, rows)
    for index in range(made_of.buckets):
        build(space, server, bucket_name(index))
    return space


def rows_of(space: Workspace, bucket: str = "b000") -> list[dict[str, Any]]:
    return space.store.open("generations", bucket).table().to_pylist()


def texts(space: Workspace) -> dict[str, str]:
    buckets = [bucket_name(index) for index in range(space.recipe.buckets)]
    return {row["doc_id"]: row["text"] for bucket in buckets for row in rows_of(space, bucket)}


def failing(*numbers: int, status: int = 500) -> Any:
    wanted = {f"prompt {number}" for number in numbers}
    return lambda body, seen: web.Response(status=status) if body["messages"][0]["content"] in wanted else None


def interrupted(space: Workspace, server: ReplayServer, answered: int) -> None:
    """A build that ends when some prompts are answered, because the server is gone."""
    server.fault = lambda body, seen: web.Response(status=500) if len(server.calls) > answered else None
    with pytest.raises(CosmoError, match="in a row failed"):
        build(space, server, attempts=1, give_up_after=1, concurrency=1)
    server.fault = None
    server.calls.clear()


def order_of(space: Workspace) -> list[str]:
    """The prompts of the only bucket in the order of its documents."""
    return space.store.open("prompt_table").table(["prompt"])["prompt"].to_pylist()


def test_a_built_bucket_holds_every_document_and_says_what_it_cost(tmp_path: Path, replay: ReplayServer) -> None:
    space = build_all(tmp_path, recipe(generation={"samples": 2}), prompts(6), replay)
    manifest = space.store.open("generations", "b000").manifest
    assert (manifest.rows, manifest.flow.rows_in, manifest.flow.rows_out) == (12, 12, 12)
    assert manifest.summary["status_ok"] == 12
    assert manifest.summary["completion_tokens"] == sum(row["completion_tokens"] for row in rows_of(space))
    assert (manifest.run["reused_rows"], manifest.run["generated_tokens"]) == (
        0,
        manifest.summary["completion_tokens"],
    )


def test_a_bucket_without_prompts_is_an_empty_table(tmp_path: Path, replay: ReplayServer) -> None:
    space = build_all(tmp_path, recipe(), [], replay)
    assert rows_of(space) == []
    assert replay.calls == []


def test_building_again_asks_nothing(tmp_path: Path, replay: ReplayServer) -> None:
    space = build_all(tmp_path, recipe(), prompts(6), replay)
    before = space.store.open("generations", "b000").manifest
    replay.calls.clear()
    assert build(space, replay) == before
    assert replay.calls == []


def test_a_new_prompt_is_one_call(tmp_path: Path, replay: ReplayServer) -> None:
    space = build_all(tmp_path, recipe(), prompts(6), replay)
    before = texts(space)
    replay.calls.clear()
    put_prompts(space, prompts(7), version="2")
    manifest = build(space, replay)
    assert asked(replay) == ["prompt 6"]
    assert manifest.run["reused_rows"] == 6
    assert before.items() < texts(space).items()


def test_of_two_answers_to_one_prompt_the_current_one_stays(tmp_path: Path, replay: ReplayServer) -> None:
    space = build_all(tmp_path, recipe(), prompts(6), replay)
    rows = [{**row, "text": f"another answer to {row['prompt_id']}"} for row in rows_of(space)]
    for version in ("y", "z"):  # versions are listed by their names, which are digests: one of them comes before
        put(
            space,
            "generations",
            {None: [{**row, "text": f"{row['text']} {version}"} for row in rows]},
            bucket="b000",
            version=version,
        )
    assert len(space.store.versions("generations", "b000")) == 3
    before = texts(space)
    assert all(text.endswith(" z") for text in before.values())
    put_prompts(space, prompts(7), version="2")
    build(space, replay)
    assert before.items() < texts(space).items()


def test_rows_of_a_damaged_file_are_asked_again_and_stop_nothing(tmp_path: Path, replay: ReplayServer) -> None:
    space = build_all(tmp_path, recipe(), prompts(12), replay)
    before = texts(space)
    replay.calls.clear()
    dataset = space.store.open("generations", "b000")
    first, second, _ = dataset.paths()
    lost = [row["prompt_id"] for path in (first, second) for row in read_table(path, ["prompt_id"]).to_pylist()]
    for path, place in ((first, 8), (second, -8)):  # in a column's data, and in the footer: the size stays
        content = bytearray(path.read_bytes())
        content[place] ^= 0xFF
        path.write_bytes(content)
    put_prompts(space, prompts(13), version="2")
    manifest = build(space, replay)
    assert len(asked(replay)) == len(lost) + 1 == 9
    assert (manifest.run["computed_rows"], manifest.run["reused_rows"]) == (9, 4)
    assert before.items() < texts(space).items()


def test_where_every_row_is_taken_over_no_worker_is_started(tmp_path: Path, replay: ReplayServer) -> None:
    class NoPool:
        def run(self, job: Job) -> Iterator[int]:
            raise AssertionError("a worker was started")

    space = build_all(tmp_path, recipe(), prompts(6), replay)
    put_prompts(space, prompts(5), version="2")
    assert generate(space, NoPool(), "b000").rows == 5


def test_a_removed_prompt_is_no_call_and_no_row(tmp_path: Path, replay: ReplayServer) -> None:
    space = build_all(tmp_path, recipe(), prompts(6), replay)
    replay.calls.clear()
    put_prompts(space, prompts(5), version="2")
    build(space, replay)
    assert replay.calls == []
    assert len(rows_of(space)) == 5


def test_a_prompt_that_comes_back_is_taken_from_an_older_version(tmp_path: Path, replay: ReplayServer) -> None:
    space = build_all(tmp_path, recipe(), prompts(6), replay)
    before = texts(space)
    put_prompts(space, prompts(5), version="2")
    build(space, replay)
    replay.calls.clear()
    put_prompts(space, [*prompts(6), prompt("one more")], version="3")
    build(space, replay)
    assert asked(replay) == ["one more"]
    assert before.items() < texts(space).items()


def test_another_length_limit_asks_that_prompt_again(tmp_path: Path, replay: ReplayServer) -> None:
    space = build_all(tmp_path, recipe(), prompts(4), replay)
    replay.calls.clear()
    put_prompts(space, [*prompts(3), prompt("prompt 3", max_tokens=60)], version="2")
    build(space, replay)
    assert asked(replay) == ["prompt 3"]


@pytest.mark.parametrize(
    "change",
    [
        {"sampling": {"temperature": 0.9}},
        {"model": {"name": "replay", "revision": "2", "licence": "CC0-1.0"}},
        {"model": {"name": "other", "revision": "1", "licence": "CC0-1.0"}},
    ],
    ids=["sampling", "revision", "model"],
)
def test_another_model_or_sampling_asks_everything(
    tmp_path: Path, replay: ReplayServer, change: dict[str, Any]
) -> None:
    build_all(tmp_path, recipe(), prompts(4), replay)
    replay.calls.clear()
    build_all(tmp_path, recipe(generation=change), prompts(4), replay)
    assert len(replay.calls) == 4


def test_more_samples_ask_only_the_new_ones(tmp_path: Path, replay: ReplayServer) -> None:
    build_all(tmp_path, recipe(), prompts(4), replay)
    replay.calls.clear()
    space = build_all(tmp_path, recipe(generation={"samples": 3}), prompts(4), replay)
    assert len(replay.calls) == 8
    assert len(texts(space)) == 12


def test_other_sizes_of_shards_ask_nothing(tmp_path: Path, replay: ReplayServer) -> None:
    before = texts(build_all(tmp_path, recipe(generation={"shard_rows": 4}), prompts(9), replay))
    replay.calls.clear()
    after = texts(build_all(tmp_path, recipe(generation={"shard_rows": 7}), prompts(9), replay))
    assert replay.calls == []
    assert after == before


@pytest.mark.parametrize(("old", "new"), [(4, 6), (6, 4), (1, 5), (5, 1), (3, 6), (6, 3), (4, 4), (3, 5)])
def test_after_a_change_of_the_bucket_count_every_row_is_found(
    tmp_path: Path, replay: ReplayServer, old: int, new: int
) -> None:
    before = texts(build_all(tmp_path, recipe(buckets=old), prompts(30), replay))
    replay.calls.clear()
    space = workspace(tmp_path, recipe(buckets=new))
    put_prompts(space, prompts(30), version="2")
    for index in range(new):
        wanted, there = documents_of(space.recipe, space.store, bucket_name(index))
        assert there == wanted
        build(space, replay, bucket_name(index))
    assert replay.calls == []
    assert texts(space) == before


def test_rows_are_looked_for_only_in_buckets_that_can_hold_them(tmp_path: Path, replay: ReplayServer) -> None:
    space = build_all(tmp_path, recipe(buckets=4), prompts(30), replay)
    for path in space.store.open("generations", "b001").paths():  # of the right size, so only who reads it notices
        path.write_bytes(b"\0" * path.stat().st_size)
    replay.calls.clear()
    put_prompts(space, prompts(40), version="2")
    for bucket in ("b000", "b002", "b003"):
        build(space, replay, bucket)
    new = [row for row in prompts(40)[30:] if bucket_of(row["prompt_id"], 4) != "b001"]
    assert sorted(asked(replay)) == sorted(row["prompt"] for row in new)


def test_a_failed_row_is_asked_at_the_next_build(tmp_path: Path) -> None:
    with replaying(fault=failing(1, 3)) as server:
        space = workspace(tmp_path, recipe())
        put_prompts(space, prompts(6))
        first = build(space, server, attempts=1)
        assert first.flow.failed == {"failed": 2}
        server.fault = None
        server.calls.clear()
        second = build(space, server)
        assert sorted(asked(server)) == ["prompt 1", "prompt 3"]
    assert (second.flow.failed, second.flow.rows_out, second.run["reused_rows"]) == ({}, 6, 4)
    assert {row["status"] for row in rows_of(space)} == {"ok"}


def test_a_row_that_fails_again_stays_failed_and_the_rest_is_kept(tmp_path: Path) -> None:
    with replaying(fault=failing(1)) as server:
        space = workspace(tmp_path, recipe())
        put_prompts(space, prompts(6))
        first = build(space, server, attempts=1)
        server.calls.clear()
        assert build(space, server, attempts=1).version == first.version
        assert asked(server) == ["prompt 1"]


def test_a_refused_row_is_not_asked_again(tmp_path: Path) -> None:
    with replaying(fault=failing(2, status=400)) as server:
        space = workspace(tmp_path, recipe())
        put_prompts(space, prompts(6))
        first = build(space, server)
        assert first.flow.failed == {"refused": 1}
        server.fault = None
        server.calls.clear()
        assert build(space, server) == first
        put_prompts(space, prompts(7), version="2")
        build(space, server)
        assert asked(server) == ["prompt 6"]


def test_an_interrupted_build_publishes_nothing_and_is_gone_on_with(tmp_path: Path, replay: ReplayServer) -> None:
    space = workspace(tmp_path, recipe())
    put_prompts(space, prompts(12))
    interrupted(space, replay, answered=7)
    assert space.store.current("generations", "b000") is None
    assert documents_of(space.recipe, space.store, "b000") == (12, 7)
    build(space, replay)
    assert len(replay.calls) == 5
    assert len(rows_of(space)) == 12


def test_rows_of_an_interrupted_build_are_taken_over_by_another_plan(tmp_path: Path, replay: ReplayServer) -> None:
    space = workspace(tmp_path, recipe(generation={"shard_rows": 3}))
    put_prompts(space, prompts(12))
    interrupted(space, replay, answered=7)
    space = workspace(tmp_path, recipe(generation={"shard_rows": 5}))
    put_prompts(space, prompts(15), version="2")
    build(space, replay)
    assert len(replay.calls) == 3 + 5
    assert len(rows_of(space)) == 15


def test_a_damaged_shard_of_an_interrupted_build_costs_its_own_rows(tmp_path: Path, replay: ReplayServer) -> None:
    space = workspace(tmp_path, recipe(generation={"shard_rows": 3}))
    put_prompts(space, prompts(12))
    interrupted(space, replay, answered=7)
    (folder,) = work_folders(space.store.place("generations", "b000"))
    ShardLedger(folder).parquet(0).write_bytes(b"PAR1")
    space = workspace(tmp_path, recipe(generation={"shard_rows": 5}))
    build(space, replay)
    assert len(replay.calls) == 12 - 7 + 3
    assert len(rows_of(space)) == 12


def test_work_that_is_published_is_removed(tmp_path: Path, replay: ReplayServer) -> None:
    space = workspace(tmp_path, recipe())
    put_prompts(space, prompts(12))
    interrupted(space, replay, answered=7)
    build(space, replay)
    assert work_folders(space.store.place("generations", "b000")) == []


def test_work_that_is_not_published_is_kept(tmp_path: Path, replay: ReplayServer) -> None:
    space = workspace(tmp_path, recipe())
    put_prompts(space, prompts(12))
    interrupted(space, replay, answered=7)
    answered = order_of(space)[:3]  # most of what was answered is not wanted now
    put_prompts(space, [prompt(text) for text in answered], version="2")
    build(space, replay)
    assert len(work_folders(space.store.place("generations", "b000"))) == 1
    replay.calls.clear()
    put_prompts(space, prompts(12), version="1")
    build(space, replay)
    assert len(replay.calls) == 5


def sealed_with_a_failed_row(space: Workspace, server: ReplayServer) -> list[str]:
    """An interrupted build: one row of its first, sealed shard has failed, two of its second are missing. Their
    prompts."""
    order = order_of(space)
    server.fault = failing(*(int(order[index].split()[1]) for index in (1, 6, 7)))
    with pytest.raises(CosmoError, match="in a row failed"):
        build(space, server, attempts=1, give_up_after=2, concurrency=1)
    server.calls.clear()
    return sorted([order[1], order[6], order[7]])


def test_a_failed_row_of_a_sealed_shard_is_asked_when_the_build_goes_on(tmp_path: Path, replay: ReplayServer) -> None:
    space = workspace(tmp_path, recipe(generation={"shard_rows": 4}))
    put_prompts(space, prompts(8))
    missing = sealed_with_a_failed_row(space, replay)
    replay.fault = None
    build(space, replay)
    assert sorted(asked(replay)) == missing
    assert {row["status"] for row in rows_of(space)} == {"ok"}


def test_a_shard_that_is_open_again_loses_nothing_when_the_build_ends_again(
    tmp_path: Path, replay: ReplayServer
) -> None:
    space = workspace(tmp_path, recipe(generation={"shard_rows": 4}))
    put_prompts(space, prompts(8))
    missing = sealed_with_a_failed_row(space, replay)
    for _ in range(2):
        with pytest.raises(CosmoError, match="in a row failed"):
            build(space, replay, attempts=1, give_up_after=1, concurrency=1)
        assert set(asked(replay)) <= set(missing)
        replay.calls.clear()
    replay.fault = None
    build(space, replay)
    assert sorted(asked(replay)) == missing


def test_rows_of_a_shard_that_is_open_again_are_taken_over_by_another_plan(
    tmp_path: Path, replay: ReplayServer
) -> None:
    space = workspace(tmp_path, recipe(generation={"shard_rows": 4}))
    put_prompts(space, prompts(8))
    missing = sealed_with_a_failed_row(space, replay)
    with pytest.raises(CosmoError, match="in a row failed"):
        build(space, replay, attempts=1, give_up_after=1, concurrency=1)
    replay.fault = None
    replay.calls.clear()
    space = workspace(tmp_path, recipe(generation={"shard_rows": 3}))
    build(space, replay)
    assert sorted(asked(replay)) == missing


def test_a_sealed_shard_without_failed_rows_stays_as_it_is(tmp_path: Path, replay: ReplayServer) -> None:
    space = workspace(tmp_path, recipe(generation={"shard_rows": 4}))
    put_prompts(space, prompts(12))
    interrupted(space, replay, answered=6)
    (folder,) = work_folders(space.store.place("generations", "b000"))
    before = ShardLedger(folder).parquet(0).stat()
    interrupted(space, replay, answered=1)
    assert ShardLedger(folder).parquet(0).stat() == before


def test_what_was_refused_is_asked_again_on_request_alone(tmp_path: Path) -> None:
    with replaying(fault=failing(1, 3, status=400)) as server:
        space = build_all(tmp_path, recipe(buckets=1), prompts(6), server)
        assert sorted(row["status"] for row in rows_of(space)) == ["ok"] * 4 + ["refused"] * 2
        server.fault = None
        server.calls.clear()
        build(space, server)
        assert server.calls == []
        generate(space, HerePool(server), "b000", retry_refused=True)
        assert sorted(asked(server)) == ["prompt 1", "prompt 3"]
        assert {row["status"] for row in rows_of(space)} == {"ok"}
        server.calls.clear()
        generate(space, HerePool(server), "b000", retry_refused=True)
        assert server.calls == []
