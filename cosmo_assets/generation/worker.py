"""A generation worker: claims shards of a job, asks the model, and seals them. Runs anywhere, without Dagster.

Belongs here: the loop from open shard to sealed shard. Does not belong here: what the job is (`plan`), how requests
are sent (`cosmo_resources.inference.client`), what one document asks (`rollouts`).

Usage: python -m cosmo_assets.generation.worker FOLDER (--endpoint URL ... | --leases FOLDER) [--concurrency N]
       [--per-endpoint N] [--timeout SECONDS] [--engine NAME] [--parent PID] [--leave] [--patient]
"""

import argparse
import dataclasses
import json
import os
import signal
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

from cosmo_assets.generation.marks import marks_of
from cosmo_assets.generation.plan import GenerationPlan, read_plan, reused_rows
from cosmo_assets.generation.rollouts import Document, Generate, find_rollout
from cosmo_assets.ids import request_seed
from cosmo_assets.schemas.generation import GENERATIONS
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import Answer, ClientOptions, CompletionClient, read_answer
from cosmo_resources.inference.endpoints import Endpoints, FixedEndpoints
from cosmo_resources.inference.leases import LeasedEndpoints
from cosmo_resources.pools.jobs import UNFINISHED
from cosmo_resources.pools.meters import Meter
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.ledger import RowLog, ShardLedger

WAIT_SECONDS = 0.2


@dataclass
class OpenShard:
    """A claimed shard: its documents in order, the rows that are finished, the logs that keep them and the turns of
    those that are not."""

    index: int
    documents: dict[str, dict[str, Any]]
    log: RowLog
    turns: RowLog
    claim: ExitStack
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    answered: dict[tuple[str, str], Answer] = field(default_factory=dict)
    """Answers within rows, by document and digest of what was asked."""

    @property
    def complete(self) -> bool:
        return len(self.rows) == len(self.documents)

    def close(self) -> None:
        self.log.close()
        self.turns.close()
        self.claim.close()


class Worker:
    """Works on one job until every shard of it is sealed, by this worker or by another; with `leave` until no shard can
    be claimed, so that nothing waits beside an idle server. What another has left meanwhile is claimed before that."""

    def __init__(self, folder: Path, client: CompletionClient, engine: str, *, leave: bool = False) -> None:
        self.engine = engine
        self.plan: GenerationPlan = read_plan(folder)
        self.ledger = ShardLedger(folder)
        self.client = client
        self._rollout = find_rollout(self.plan.rollout)
        self._leave = leave
        self._drained = False
        self._begun = 0
        self._prompts = self.plan.prompt_table()
        self._reused = reused_rows(folder)
        self._open: dict[int, OpenShard] = {}
        self._shard_of: dict[str, int] = {}

    def run(self) -> bool:
        """Claim, ask, seal; where others hold the last shards, wait for them, and take over what they leave.

        Returns: whether it came to its end, and was not told to stop (`drain`).
        """
        try:
            while not self._drained:
                begun = self._begun
                for key, result in self.client.rollouts(self._documents(), self._generate):
                    self._record(key, result)
                idle = self._begun == begun and not self._drained
                if (self._leave and idle) or not self.ledger.unsealed(self.plan.shards):
                    return True
                time.sleep(WAIT_SECONDS)
            return not self.ledger.unsealed(self.plan.shards)
        finally:
            for shard in self._open.values():
                shard.close()

    def drain(self) -> None:
        """Begin nothing new, finish what is in flight, end. Safe to be called by a signal."""
        self._drained = True
        self.client.drain()

    def _documents(self) -> Iterator[Document]:
        """The documents of all shards that can be claimed, one after another: the next shard is claimed when the last
        document of the one before is in flight, so that the servers never wait for a shard to end."""
        for index in range(self.plan.shards):
            if index in self._open or self.ledger.done(index):
                continue
            claim = ExitStack()
            if not claim.enter_context(self.ledger.claim(index)) or self.ledger.done(index):
                claim.close()
                continue
            yield from self._begin(index, claim)

    def _begin(self, index: int, claim: ExitStack) -> Iterator[Document]:
        first = index * self.plan.shard_rows
        listed = self.plan.documents(self._prompts, first, self.plan.shard_rows)
        documents = {document["doc_id"]: document for document in listed}
        shard = OpenShard(index, documents, self.ledger.open_log(index), self.ledger.open_turns(index), claim)
        self._open[index] = shard
        self._begun += 1
        logged = {row["doc_id"]: row for row in shard.log.read()}
        for turn in shard.turns.read():
            shard.answered[turn["doc_id"], turn["request"]] = read_answer(turn["answer"])
        for key in documents:
            self._shard_of[key] = index
            finished = self._reused.get(key) or logged.get(key)
            if finished is not None and finished["status"] not in self.plan.asked_again:
                shard.rows[key] = finished
        missing = [key for key in documents if key not in shard.rows]
        if not missing:
            self._seal(shard)
        for key in missing:
            found = documents[key]
            options = self.plan.rollout_options
            yield Document(key, found["prompt"], found["sampling"], request_seed(key), options)

    async def _generate(self, document: Document, ask: Generate) -> tuple[Answer, list[Answer]]:
        """One document through its rollout: the answer that is its text, and those that were given on the way. What a
        killed worker had been told is not asked again."""
        given: list[Answer] = []
        single = self.plan.rollout == "single"
        shard = self._open[self._shard_of[document.key]]

        async def generate(body: Mapping[str, Any]) -> Answer:
            request = "" if single else json_digest(body)
            answer = shard.answered.get((document.key, request))
            if answer is None:
                answer = await ask(body)
                if not single and answer.status == "ok":
                    turn = {"doc_id": document.key, "request": request, "answer": dataclasses.asdict(answer)}
                    shard.turns.append(turn)
            given.append(answer)
            return answer

        return await self._rollout(document, generate), given

    def _record(self, key: str, result: tuple[Answer, list[Answer]] | Exception) -> None:
        shard = self._open[self._shard_of[key]]
        document = shard.documents[key]
        if isinstance(result, CosmoError):  # of the disk, not of the row
            raise result
        if isinstance(result, Exception):
            error = f"the rollout {self.plan.rollout} failed: {type(result).__name__}: {result}"
            result = Answer(key, "refused", "", None, error, 0, 0, 0, 0.0), []
        answer, given = result
        earlier = [{"text": turn.text, "finish_reason": turn.finish_reason} for turn in given[:-1]]
        row = {
            "doc_id": key,
            "prompt_id": document["prompt_id"],
            "sample_index": document["sample_index"],
            "status": answer.status,
            "text": _encodable(answer.text),
            "reasoning": _encodable(answer.reasoning) if answer.reasoning else None,
            "finish_reason": answer.finish_reason,
            "earlier_turns": _encodable(json.dumps(earlier, ensure_ascii=False)) if earlier else None,
            "error": answer.error,
            "prompt_tokens": sum(turn.prompt_tokens for turn in given),
            "completion_tokens": sum(turn.completion_tokens for turn in given),
            "model": self.plan.model,
            "model_revision": self.plan.revision,
            "sampling": json_digest(self.plan.identity(document["sampling"]["max_tokens"])),
            "request_seed": request_seed(key),
            "engine": answer.engine or self.engine,
            "attempts": sum(turn.attempts for turn in given),
            "seconds": round(sum(turn.seconds for turn in given), 3),
        }
        shard.log.append(row)
        shard.rows[key] = row
        if shard.complete:
            self._seal(shard)

    def _seal(self, shard: OpenShard) -> None:
        rows = [_marked(shard.rows[key]) for key in shard.documents]
        counters: Counter[str] = Counter()
        for row in rows:
            counters[f"status_{row['status']}"] += 1
            counters[f"finish_{row['finish_reason'] or 'none'}"] += 1
            counters["prompt_tokens"] += row["prompt_tokens"]
            counters["completion_tokens"] += row["completion_tokens"]
            for mark in row["marks"]:
                counters[f"mark_{mark}"] += 1
        shard.log.close()
        shard.turns.close()
        self.ledger.seal(shard.index, pa.Table.from_pylist(rows, schema=GENERATIONS), counters)
        shard.claim.close()
        del self._open[shard.index]
        for key in shard.documents:
            del self._shard_of[key]


def _marked(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its marks, whoever logged it; only what was answered has any."""
    marks = marks_of(row["text"], row["finish_reason"]) if row["status"] == "ok" else []
    return {**row, "marks": marks}


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _gpus(client: CompletionClient, endpoints: Endpoints) -> int:
    """Devices of the servers that answer this worker now."""
    busy = {url for url, stats in client.stats().endpoints.items() if stats.running}
    return sum(endpoint.gpus for endpoint in endpoints.live() if endpoint.url in busy)


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
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--endpoint", action="append", help="base URL of a server; may be repeated")
    whom.add_argument("--leases", type=Path, help="folder in which servers announce themselves")
    parser.add_argument("--concurrency", type=int, default=32, help="requests in flight, over all servers")
    parser.add_argument("--per-endpoint", type=int, help="requests in flight on one server, at most")
    parser.add_argument("--timeout", type=float, default=ClientOptions.timeout, help="seconds for one request")
    parser.add_argument("--engine", default="", help="what serves the endpoints, recorded with each row")
    parser.add_argument("--parent", type=int, help="end when this process is gone")
    parser.add_argument("--leave", action="store_true", help="end when no shard can be claimed")
    parser.add_argument("--patient", action="store_true", help="wait for servers as long as it takes")
    options = parser.parse_args(arguments)
    if options.parent is not None:
        end_with(options.parent)
    try:
        plan = read_plan(options.folder)
        endpoints: Endpoints = (
            LeasedEndpoints(options.leases) if options.leases else FixedEndpoints(options.endpoint, options.engine)
        )
        chosen = ClientOptions(
            concurrency=options.concurrency,
            timeout=options.timeout,
            per_endpoint=options.per_endpoint,
            patience=None if options.patient else ClientOptions.patience,
            api_key=os.environ.get("COSMO_API_KEY", ""),
        )
        client = CompletionClient(endpoints, plan.model, chosen)
        worker = Worker(options.folder, client, options.engine, leave=options.leave)
        signal.signal(signal.SIGTERM, lambda number, frame: worker.drain())
        with Meter(options.folder, client, gpus=lambda: _gpus(client, endpoints)):
            return 0 if worker.run() else UNFINISHED
    except CosmoError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
