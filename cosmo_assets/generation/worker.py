"""A generation worker: claims shards of a job, asks the model, and seals them. Runs anywhere, without Dagster.

Belongs here: the loop from open shard to sealed shard. Does not belong here: what the job is (`plan`), how requests
are sent (`cosmo_resources.inference.client`).

Usage: python -m cosmo_assets.generation.worker FOLDER --endpoint URL [--endpoint URL] [--concurrency N]
       [--engine NAME] [--parent PID]
"""

import argparse
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from cosmo_assets.generation.plan import GenerationPlan, read_plan, reused_rows
from cosmo_assets.ids import request_seed
from cosmo_assets.schemas import GENERATIONS
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import Answer, ClientOptions, CompletionClient, Request
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.ledger import RowLog, ShardLedger, read_log

WAIT_SECONDS = 0.2


@dataclass
class OpenShard:
    """A claimed shard: its documents in order, the rows that are finished, the log that keeps them."""

    index: int
    documents: dict[str, dict[str, Any]]
    log: RowLog
    claim: ExitStack
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.rows) == len(self.documents)


class Worker:
    """Works on one job until every shard of it is sealed, by this worker or by another."""

    def __init__(self, folder: Path, client: CompletionClient, engine: str) -> None:
        self.engine = engine
        self.plan: GenerationPlan = read_plan(folder)
        self.ledger = ShardLedger(folder)
        self.client = client
        self._prompts = self.plan.prompt_table()
        self._reused = reused_rows(folder)
        self._open: dict[int, OpenShard] = {}
        self._shard_of: dict[str, int] = {}

    def run(self) -> None:
        """Claim, ask, seal; where others hold the last shards, wait for them, and take over what they leave."""
        try:
            while True:
                for answer in self.client.answers(self._requests()):
                    self._record(answer)
                if all(self.ledger.done(index) for index in range(self.plan.shards)):
                    return
                time.sleep(WAIT_SECONDS)
        finally:
            for shard in self._open.values():
                shard.log.close()
                shard.claim.close()

    def _requests(self) -> Iterator[Request]:
        """Requests of all shards that can be claimed, one after another: the next shard is claimed when the last
        request of the one before is in flight, so that the servers never wait for a shard to end."""
        for index in range(self.plan.shards):
            if index in self._open or self.ledger.done(index):
                continue
            claim = ExitStack()
            if not claim.enter_context(self.ledger.claim(index)) or self.ledger.done(index):
                claim.close()
                continue
            yield from self._begin(index, claim)

    def _begin(self, index: int, claim: ExitStack) -> Iterator[Request]:
        first = index * self.plan.shard_rows
        listed = self.plan.documents(self._prompts, first, self.plan.shard_rows)
        documents = {document["doc_id"]: document for document in listed}
        log = self.ledger.open_log(index)
        shard = OpenShard(index, documents, log, claim)
        self._open[index] = shard
        logged = {row["doc_id"]: row for row in read_log(log.path)} if log.path.is_file() else {}
        for key in documents:
            self._shard_of[key] = index
            finished = self._reused.get(key) or logged.get(key)
            if finished is not None and finished["status"] != "failed":
                shard.rows[key] = finished
        missing = [key for key in documents if key not in shard.rows]
        if not missing:
            self._seal(shard)
        for key in missing:
            messages = [{"role": "user", "content": documents[key]["prompt"]}]
            yield Request(key, {"messages": messages, **documents[key]["sampling"], "seed": request_seed(key)})

    def _record(self, answer: Answer) -> None:
        shard = self._open[self._shard_of[answer.key]]
        document = shard.documents[answer.key]
        row = {
            "doc_id": answer.key,
            "prompt_id": document["prompt_id"],
            "sample_index": document["sample_index"],
            "status": answer.status,
            "text": answer.text.encode("utf-8", "replace").decode("utf-8"),
            "finish_reason": answer.finish_reason,
            "error": answer.error,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "model": self.plan.model,
            "model_revision": self.plan.revision,
            "sampling": json_digest(document["sampling"]),
            "request_seed": request_seed(answer.key),
            "engine": self.engine,
            "attempts": answer.attempts,
            "seconds": answer.seconds,
        }
        shard.log.append(row)
        shard.rows[answer.key] = row
        if shard.complete:
            self._seal(shard)

    def _seal(self, shard: OpenShard) -> None:
        rows = [shard.rows[key] for key in shard.documents]
        counters: Counter[str] = Counter()
        for row in rows:
            counters[f"status_{row['status']}"] += 1
            counters[f"finish_{row['finish_reason'] or 'none'}"] += 1
            counters["prompt_tokens"] += row["prompt_tokens"]
            counters["completion_tokens"] += row["completion_tokens"]
        shard.log.close()
        self.ledger.seal(shard.index, pa.Table.from_pylist(rows, schema=GENERATIONS), counters)
        shard.claim.close()
        del self._open[shard.index]
        for key in shard.documents:
            del self._shard_of[key]


def end_with(parent: int) -> None:
    """End this process soon after its parent is gone: work that nobody waits for must not go on beside its heir."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WAIT_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cosmo_assets.generation.worker", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--endpoint", action="append", required=True)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--engine", default="", help="what serves the endpoints, recorded with each row")
    parser.add_argument("--parent", type=int, help="end when this process is gone")
    options = parser.parse_args(arguments)
    if options.parent is not None:
        end_with(options.parent)
    try:
        plan = read_plan(options.folder)
        client = CompletionClient(options.endpoint, plan.model, ClientOptions(concurrency=options.concurrency))
        Worker(options.folder, client, options.engine).run()
    except CosmoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
