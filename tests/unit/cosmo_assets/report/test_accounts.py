"""The account: every token that was generated ends somewhere, and all device time is paid by somebody."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.mixture import stage as mixing
from cosmo_assets.report.accounts import (
    DIMENSIONS,
    KEPT,
    LEADING,
    SUMS,
    accounts,
    device_seconds,
    leading,
    section,
    shown,
)
from cosmo_assets.report.corpus import read_corpus
from cosmo_assets.stage import Workspace
from cosmo_assets.withdrawal import record
from cosmo_assets.withdrawal.keys import Item
from cosmo_resources.storage.store import CorpusStore

BUCKETS = ("b000", "b001")


@pytest.fixture
def timed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The corpus as if its buckets had taken 900 and 1,800 device seconds: no device is behind it."""
    monkeypatch.setattr(
        "cosmo_assets.report.accounts.device_seconds", lambda _, bucket: {"b000": 900.0, "b001": 1800.0}[bucket]
    )
    return workspace


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_what_is_kept_and_rejected_is_what_the_stages_say(timed: Workspace, dimension: str) -> None:
    rows = accounts(read_corpus(timed))[dimension]
    rejected: Counter[str] = Counter()
    for row in rows:
        rejected.update(row["rejected"])
        assert row["tokens"] == row["kept_tokens"] + sum(row["rejected"].values())
    wanted: Counter[str] = Counter()
    for bucket in BUCKETS:
        for asset in ("generation_quality", "decontaminated", "deduplicated"):
            tokens = timed.store.open(asset, bucket).manifest.flow.tokens
            assert tokens is not None
            wanted.update(tokens.dropped)
    mixture = timed.store.open("mixture").manifest.flow.tokens
    assert mixture is not None
    wanted.update(mixture.dropped)
    assert +rejected == +wanted
    assert sum(wanted.values()) > 0
    assert sum(row["kept_tokens"] for row in rows) == mixture.tokens_out
    assert sum(row["kept"] for row in rows) == timed.store.open("mixture").manifest.rows
    generated = [timed.store.open("generations", bucket).manifest for bucket in BUCKETS]
    assert sum(row["tokens"] for row in rows) == sum(found.summary["completion_tokens"] for found in generated)
    assert sum(row["answers"] for row in rows) == sum(found.rows for found in generated)
    assert sum(row["prompts"] for row in rows) == timed.store.open("prompt_table").manifest.rows
    assert KEPT not in rejected


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_all_device_time_is_shared_out_by_tokens(timed: Workspace, dimension: str) -> None:
    corpus = read_corpus(timed)
    rows = accounts(corpus)[dimension]
    assert sum(row["device_seconds"] for row in rows) == pytest.approx(2700)
    price = timed.recipe.budget.gpu_hour_price
    assert sum(row["cost"] for row in rows) == pytest.approx(2700 / 3600 * price)
    for row in rows:
        if row["kept_tokens"]:
            assert row["cost_per_million"] * row["kept_tokens"] / 1e6 == pytest.approx(row["cost"])
        else:
            assert row["cost_per_million"] is None


def test_a_source_pays_for_its_tokens_bucket_by_bucket(timed: Workspace) -> None:
    paid: Counter[str] = Counter()
    for bucket, seconds in (("b000", 900.0), ("b001", 1800.0)):
        answers = timed.store.open("generations", bucket).table().to_pylist()
        asked = timed.store.open("prompt_table").table(bucket=bucket).to_pylist()
        source = {row["prompt_id"]: row["source"] for row in asked}
        total = sum(row["completion_tokens"] for row in answers)
        for row in answers:
            paid[source[row["prompt_id"]]] += row["completion_tokens"] / total * seconds  # type: ignore[assignment]
    rows = accounts(read_corpus(timed))["source"]
    assert {row["name"]: row["device_seconds"] for row in rows} == pytest.approx(dict(paid))


def test_device_time_of_versions_that_were_taken_over_counts(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = read_corpus(workspace)
    found = workspace.store.versions("generations", "b000")
    run = {**found[0].manifest.run, "gpu_hours": 0.25}
    version = type(found[0])(found[0].folder, found[0].manifest.model_copy(update={"run": run}))
    monkeypatch.setattr(type(workspace.store), "versions", lambda *_: [version, version])
    assert device_seconds(corpus, "b000") == 1800


def test_what_was_withdrawn_is_told_from_what_was_not_drawn(timed: Workspace, tmp_path: Path) -> None:
    store = CorpusStore(tmp_path)
    for asset in timed.store.assets():
        shutil.copytree(timed.store.root / asset, store.root / asset)
    space = Workspace(store, timed.recipe)
    kept = store.open("mixture").table(["doc_id"])["doc_id"].to_pylist()[:3]
    record.withdraw(space, {Item("doc", name): record.Size() for name in kept}, record.Note("a test"))
    manifest = mixing.build(space)
    rejected: Counter[str] = Counter()
    for row in accounts(read_corpus(space))["template"]:
        rejected.update(row["rejected"])
    assert manifest.flow.tokens is not None
    assert rejected["withdrawn"] == manifest.flow.tokens.dropped["withdrawn"] > 0


def test_people_read_it(timed: Workspace) -> None:
    table = shown(accounts(read_corpus(timed))["source"], "source")
    assert {row["source"] for row in table} == {"pages", "maths"}
    assert all("duplicate" in row["rejected tokens"] or "," in row["rejected tokens"] for row in table)


def row_of(name: str, tokens: int) -> dict[str, Any]:
    """A row of an account, of which half is kept."""
    counts = {"prompts": 2, "answers": 3, "kept": 1, "kept_tokens": tokens // 2, "device_seconds": tokens / 10}
    cost = {"cost": tokens / 100, "cost_per_million": 0.01 * 2 * 1e6}
    return {"name": name, "tokens": tokens, **counts, **cost, "rejected": {"low_quality": tokens - tokens // 2}}


@pytest.mark.parametrize("count", [1, LEADING, LEADING + 1, LEADING + 2, 3 * LEADING])
def test_all_rows_of_a_table_are_the_whole_account(count: int) -> None:
    rows = [row_of(f"t{number}", 1000 - 2 * number) for number in range(count)]
    lines = leading(rows, "topic")
    assert [line["name"] for line in lines[:LEADING]] == [row["name"] for row in rows[:LEADING]]
    assert len(lines) == min(count, LEADING + 1)
    for column in (*SUMS, "cost"):
        assert sum(line[column] for line in lines) == pytest.approx(sum(row[column] for row in rows))
    assert sum(line["rejected"]["low_quality"] for line in lines) == sum(row["tokens"] / 2 for row in rows)
    if count > LEADING + 1:
        assert lines[-1]["name"] == f"({count - LEADING} other topics)"
        assert lines[-1]["cost_per_million"] == pytest.approx(20_000)
    assert leading(lines, "topic") == lines, "as they stand in a manifest"


@pytest.mark.parametrize(("known", "priced", "columns"), [(True, True, 3), (True, False, 1), (False, True, 0)], ids=str)
def test_what_is_not_known_is_no_column(known: bool, priced: bool, columns: int) -> None:
    found = {dimension: [row_of("pages", 1000)] for dimension in DIMENSIONS}
    part = section(found, timed=known, priced=priced)
    title, table = part.content["accounts"][0]
    assert title == "By source"
    assert len(table.headers) == 6 + columns
    assert ("GPU seconds" in table.headers, "Cost" in table.headers) == (columns > 0, columns > 1)
    assert ("seconds" in part.content["accounts_lead"], "cost" in part.content["accounts_lead"]) == (
        columns > 0,
        columns > 1,
    )
    assert part.figures["source.pages.kept_tokens"] == 500
