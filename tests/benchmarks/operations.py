"""A year of operation in one instance: how fast definitions load and pages answer, and what pruning gives back.

    python -m tests.benchmarks.operations [--nights 365] [--keep FOLDER]

A small corpus is built for real, one bucket of it by a run like those of the schedule `nightly`. That run's rows in
SQLite's files are then written again under other ids, buckets and times: eight runs a night. The nightly ticks are
written through the instance. Pages are opened in a headless browser, and what is timed is every GraphQL request that
they send.
"""

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus

from cosmo_assets.automation import materialize, open_instance, plan_runs
from cosmo_assets.build import PER_BUCKET, build_defs
from cosmo_assets.operations.adopt import prune
from cosmo_resources.deployments import deployment
from tests.corpora import ROOT, Corpus, seeds
from tests.doubles.replay_server import replaying
from tests.e2e.test_daemon import REPOSITORY, START_SCHEDULE, Services

BUCKETS, A_NIGHT, TICKS = 256, 8, 40
DAY = 86_400.0
PAGES = ("/assets", "/asset-groups", "/assets/generations?view=overview", "/assets/generations?view=partitions",
         "/assets/generations?view=events", "/assets/generations?view=checks", "/assets/operations/corpus", "/runs",
         "/automation")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--keep", type=Path, help="Work here, and leave it.")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="cosmo-year-"))
    try:
        measure(folder, options.nights)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, nights: int) -> None:
    corpus = Corpus(folder / "corpus", buckets=BUCKETS).write(seeds(300))
    state = folder / "state"
    with replaying() as server:
        environment = {**corpus.environment(server.url), "COSMO_STATE": str(state)}
        os.environ.update(environment)
        chosen = corpus.settings(server.url)
        object.__setattr__(chosen, "state", state)
        recipe = corpus.recipe
        with open_instance(chosen, logs=True) as instance:
            materialize(recipe, chosen, instance, plan_runs(recipe, ["seed_documents", "seed_embeddings",
                "cluster_model", "seed_clusters", "topic_labels", "seed_topics", "seed_extracts", "prompt_table",
                "benchmark_index", "contaminated_seeds"]))  # fmt: skip
            first = next(entry.bucket for entry in corpus.store.open("prompt_table").manifest.files if entry.rows)
            materialize(recipe, chosen, instance, plan_runs(recipe, PER_BUCKET, [first]))
            (run,) = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": first}))
        began = time.perf_counter()
        with webserver(environment, folder) as services:
            services.ask(START_SCHEDULE, {"selector": {**REPOSITORY, "scheduleName": "nightly"}})
        copies = a_year_of_runs(state, run.run_id, first, nights)
        with open_instance(chosen, logs=True) as instance:
            ticks = a_year_of_ticks(instance, nights)
            told("written", seconds=time.perf_counter() - began, runs=copies, ticks=ticks)
            told("definitions", **loading(environment, corpus))
            report(environment, folder, state, instance, "before")
            checks = build_defs(recipe, deployment(chosen, recipe.name)).resolve_asset_graph().asset_check_keys
            green = {str(key): instance.get_materialized_partitions(key) for key in instance.all_asset_keys()}
            began = time.perf_counter()
            pruned = prune(instance, state, sorted(checks))
            told("prune", seconds=time.perf_counter() - began, removed=pruned.runs, kept=pruned.kept)
            after = {str(key): instance.get_materialized_partitions(key) for key in instance.all_asset_keys()}
            assert after == green, "a bucket has turned grey"
            report(environment, folder, state, instance, "after")


def report(environment: dict[str, str], folder: Path, state: Path, instance: dg.DagsterInstance, when: str) -> None:
    size = sum(path.stat().st_size for path in state.rglob("*") if path.is_file())
    runs = instance.get_runs_count()
    told(f"state {when}", megabytes=size / 1e6, runs=runs, load=os.getloadavg()[0])
    for page, requests in pages(environment, folder).items():
        slowest = max(requests.values(), default=0.0)
        told(f"page {when}", page=page, requests=len(requests), slowest_seconds=slowest / 1000)


def told(what: str, **figures: Any) -> None:
    shown = {name: round(value, 2) if isinstance(value, float) else value for name, value in figures.items()}
    print(json.dumps({"what": what, **shown}), flush=True)


def loading(environment: dict[str, str], corpus: Corpus) -> dict[str, float]:
    """CPU seconds until the definitions are there, imports included, and without them."""
    program = (
        "import time; import cosmo_assets.definitions; t=time.process_time();"
        "cosmo_assets.definitions.defs().get_repository_def().validate_loadable(); print(t, time.process_time()-t)"
    )
    out = subprocess.run([sys.executable, "-c", program], env={**os.environ, **environment}, cwd=ROOT,
                         capture_output=True, text=True, check=True).stdout  # fmt: skip
    imports, rest = map(float, out.split())
    return {"import_cpu_seconds": imports, "definitions_cpu_seconds": rest}


def a_year_of_runs(state: Path, run_id: str, first: str, nights: int) -> int:
    """Write the rows of a run on the bucket `first` again, as runs on the others of so many nights before today, the
    oldest first."""
    others = [name for index in range(BUCKETS) if (name := f"b{index:03d}") != first]
    history = state / "history"
    now = time.time()
    count = 0
    with (
        closing(sqlite3.connect(history / "runs.db")) as runs,
        closing(sqlite3.connect(history / "runs" / "index.db")) as index,
    ):
        for night in range(nights, 0, -1):
            for number in range(A_NIGHT):
                change = Change(run_id, str(uuid.uuid4()), first, others[count % len(others)])
                copy_run(history, runs, index, change, now - night * DAY + number * 3600)
                count += 1
            runs.commit()
            index.commit()
    return count


@dataclass(frozen=True)
class Change:
    """Another run's id and bucket in the place of the first one's."""

    run: str
    new_run: str
    bucket: str
    new_bucket: str

    def __call__(self, value: Any) -> Any:
        if value == self.bucket:
            return self.new_bucket
        if not isinstance(value, str):
            return value
        return value.replace(self.run, self.new_run).replace(f'"{self.bucket}"', f'"{self.new_bucket}"')


def copy_run(history: Path, runs: sqlite3.Connection, index: sqlite3.Connection, change: Change, at: float) -> None:
    stamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    def rows(database: sqlite3.Connection, table: str) -> Iterator[tuple[int, dict[str, Any]]]:
        found = database.execute(f"select * from {table} where run_id = ?", (change.run,))
        names = [column[0] for column in found.description]
        for row in found.fetchall():
            fields = {name: change(value) for name, value in zip(names, row, strict=True)}
            number = fields.pop("id")
            fields.update(
                {name: stamp for name in ("timestamp", "create_timestamp", "update_timestamp") if name in fields}
            )
            fields.update({name: at for name in ("start_time", "end_time") if name in fields})
            yield number, fields

    def insert(database: sqlite3.Connection, table: str, fields: dict[str, Any]) -> int:
        marks = ", ".join("?" for _ in fields)
        made = database.execute(f"insert into {table} ({', '.join(fields)}) values ({marks})", tuple(fields.values()))
        return int(made.lastrowid or 0)

    for table in ("runs", "run_tags"):
        for _, fields in rows(runs, table):
            insert(runs, table, fields)
    for number, fields in rows(index, "event_logs"):
        made = insert(index, "event_logs", fields)
        index.execute(
            "insert into asset_event_tags (event_id, asset_key, key, value, event_timestamp)"
            " select ?, asset_key, key, value, event_timestamp from asset_event_tags where event_id = ?",
            (made, number),
        )
    for _, fields in rows(index, "asset_check_executions"):
        insert(index, "asset_check_executions", fields)
    shard_path = history / "runs" / f"{change.new_run}.db"
    shutil.copyfile(history / "runs" / f"{change.run}.db", shard_path)
    with closing(sqlite3.connect(shard_path)) as shard, shard:
        shard.execute(
            "update event_logs set run_id = ?, timestamp = ?, event = replace(replace(event, ?, ?), ?, ?)",
            (change.new_run, stamp, change.run, change.new_run, f'"{change.bucket}"', f'"{change.new_bucket}"'),
        )


def a_year_of_ticks(instance: dg.DagsterInstance, nights: int) -> int:
    """The ticks of `nightly`, which is switched on; most of them begin nothing."""
    (state,) = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    begin = datetime.now(UTC) - timedelta(days=nights)
    for night in range(nights):
        for number in range(TICKS):
            at = (begin + timedelta(days=night, minutes=15 * number)).timestamp()
            status = TickStatus.SUCCESS if number < A_NIGHT else TickStatus.SKIPPED
            instance.create_tick(
                TickData(
                    state.instigator_origin_id,
                    "nightly",
                    InstigatorType.SCHEDULE,
                    status,
                    at,
                    run_ids=[],
                    selector_id=state.selector_id,
                )
            )
    return nights * TICKS


@contextmanager
def webserver(environment: dict[str, str], folder: Path) -> Iterator[Services]:
    found = Services(environment, folder)
    found.start("webserver")
    try:
        found.until("the webserver", lambda: found.runs() is not None, 300)
        yield found
    finally:
        found.kill("webserver")


def pages(environment: dict[str, str], folder: Path) -> dict[str, dict[str, float]]:
    """Milliseconds of each GraphQL request that a page sends until it is quiet, the second time it is opened."""
    from tests.ui.browser import chromium

    found: dict[str, dict[str, float]] = {}
    with webserver(environment, folder) as services, chromium(folder / f"profile-{uuid.uuid4().hex}") as browser:
        browser.execute_cdp_cmd("Network.enable", {})
        for _ in range(2):
            for page in PAGES:
                browser.get(f"http://127.0.0.1:{services.port}{page}")
                time.sleep(6)
                entries = browser.execute_script(
                    "return performance.getEntriesByType('resource').filter(e => e.name.includes('/graphql'))"
                    ".map(e => [e.name, e.responseEnd - e.requestStart])"
                )
                found[page] = {f"{name}#{number}": float(taken) for number, (name, taken) in enumerate(entries)}
    return found


if __name__ == "__main__":
    main()
