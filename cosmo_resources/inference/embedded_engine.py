"""The embedded engine: openvino-genai's continuous batching over one GGUF, run by one thread, on the CPU.

Belongs here: the queue in front of the pipeline, its steps, what becomes of requests that it cannot serve.
Does not belong here: the fields of requests (`embedded_requests`), HTTP and the process (`embedded_server`).
"""

import itertools
import json
import logging
import re
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import openvino as ov
import openvino_genai as og
from openvino_genai.py_openvino_genai import GenerationHandle, GenerationOutput

from cosmo_resources.inference.embedded_requests import ApiError, Sampling

HANDOVER = 0.001
"""Seconds that the engine's thread sleeps after each step. A step holds the interpreter's lock throughout (16
ms alone, 130 ms at 64 sequences), so this is when requests are read and answers are sent."""

BATCHED_TOKENS = 512
VERDICTS_KEPT = 4096
OBJECT = {"type", "properties", "required", "additionalProperties"}
LIST_ITEMS = 16

log = logging.getLogger(__name__)


class Choice(NamedTuple):
    text: str
    tokens: int
    finish_reason: Literal["stop", "length"]


@dataclass(eq=False)
class Job:
    """One request on its way through the engine. `future` is cancelled when the client is gone."""

    tokens: list[int]
    config: og.GenerationConfig
    constraint: dict[str, str]
    future: Future[list[Choice]]

    def settle(self, result: list[Choice] | ApiError) -> None:
        if self.future.done() or not self.future.set_running_or_notify_cancel():
            return
        if isinstance(result, ApiError):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Engine:
    """The pipeline, and the one thread that runs it. At most `max_num_seqs` sequences run at once, the rest
    wait here. `cache_gb` bounds the key-value cache; memory is taken as it is used (13 KB per token for
    SmolLM2-135M). `on_failure` is called from the thread when the engine fails for good."""

    def __init__(self, model: Path, max_num_seqs: int, cache_gb: int, on_failure: Callable[[], None]) -> None:
        scheduler = og.SchedulerConfig()
        scheduler.max_num_seqs = max_num_seqs
        scheduler.max_num_batched_tokens = BATCHED_TOKENS
        scheduler.cache_size = cache_gb
        # A prompt whose beginning is cached is computed in other shapes, and then a seed gives another text.
        scheduler.enable_prefix_caching = False
        self._pipe = og.ContinuousBatchingPipeline(model, scheduler, "CPU", {}, {})
        self.tokenizer = self._pipe.get_tokenizer()
        self.max_num_seqs = max_num_seqs
        self.counts: Counter[str] = Counter()
        end_of_text = self.encode("<|endoftext|>")
        self._eos: int = self.tokenizer.get_eos_token_id()
        self._ends = {self._eos, *(end_of_text if len(end_of_text) == 1 else [])}
        self._on_failure = on_failure
        self._ids = itertools.count()
        self._waiting: deque[Job] = deque()
        self._running: dict[Job, GenerationHandle] = {}
        self._verdicts: dict[str, str] = {}  # a constraint's key to what is wrong with it, "" for nothing
        self._stopping = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._stopping

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).input_ids.data[0].tolist()
        return ids

    def submit(self, tokens: list[int], body: Sampling, max_tokens: int) -> Future[list[Choice]]:
        """Queue a prompt. The result has `body.n` choices.

        Raises:
            ApiError: here when the engine has stopped, or from the future.
        """
        config = og.GenerationConfig(max_new_tokens=max_tokens, apply_chat_template=False)
        config.eos_token_id, config.stop_token_ids, config.ignore_eos = self._eos, self._ends, body.ignore_eos
        config.stop_strings = set(body.stop)
        config.repetition_penalty = body.repetition_penalty
        config.presence_penalty, config.frequency_penalty = body.presence_penalty, body.frequency_penalty
        if body.temperature > 0:
            config.do_sample, config.num_return_sequences = True, body.n
            config.temperature, config.top_p, config.min_p = body.temperature, body.top_p, body.min_p
            if body.top_k > 0:
                config.top_k = body.top_k
            config.rng_seed = secrets.randbits(32) if body.seed is None else body.seed
        constraint = body.constraint()
        if constraint:
            config.structured_output_config = _structured(constraint)
        job = Job(tokens, config, constraint, Future())
        with self._wake:
            if not self.alive:
                raise ApiError(503, "the engine has stopped")
            self._waiting.append(job)
            self._wake.notify()
        return job.future

    def stop(self) -> None:
        """End the thread after the step it is in. What is unanswered gets status 503."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        end = ApiError(503, "the server stopped before the answer was complete")
        try:
            while True:
                with self._wake:
                    self._wake.wait_for(lambda: self._stopping or self._waiting or self._running)
                if self._stopping:
                    break
                self._admit()
                if self._running:
                    self._step()
                time.sleep(HANDOVER)
        except Exception as error:  # the thread's last act: whatever it was, it is told and the process ends
            log.exception("the engine failed with %d requests running; the server exits", len(self._running))
            end = ApiError(500, f"the engine failed: {error}", code="engine_failure")
        with self._wake:
            self._stopping = True
        for handle in self._running.values():
            handle.cancel()
        for job in (*self._running, *self._waiting):
            job.settle(end)
        if end.status == 500:
            self._on_failure()

    def _admit(self) -> None:
        free = self.max_num_seqs - sum(job.config.num_return_sequences for job in self._running)
        while self._waiting and self._waiting[0].config.num_return_sequences <= free:
            job = self._waiting.popleft()
            if job.future.cancelled():
                self.counts["cancelled"] += 1
            elif problem := self._verdicts.get(repr(job.constraint)):
                self._refuse(job, problem)
            else:
                try:
                    self._running[job] = self._add(job.tokens, job.config)
                except RuntimeError as error:
                    self._refuse(job, _last_line(error))
                else:
                    free -= job.config.num_return_sequences

    def _add(self, tokens: list[int], config: og.GenerationConfig) -> GenerationHandle:
        return self._pipe.add_request(next(self._ids), ov.Tensor(np.array([tokens], dtype=np.int64)), config)

    def _step(self) -> None:
        for job, handle in self._running.items():
            if job.future.cancelled():
                handle.cancel()
        try:
            self._pipe.step()
        except RuntimeError as error:
            self._recover(error)
            return
        for job, handle in list(self._running.items()):
            if handle.get_status() != og.GenerationStatus.RUNNING:
                del self._running[job]
                self._finish(job, handle)

    def _finish(self, job: Job, handle: GenerationHandle) -> None:
        status = handle.get_status()
        ignored = status == og.GenerationStatus.IGNORED
        if status == og.GenerationStatus.CANCEL or (ignored and job.future.cancelled()):
            self.counts["cancelled"] += 1  # ignored: the engine's word where all that ran was cancelled
        elif ignored:
            self.counts["failed"] += 1
            job.settle(ApiError(500, "the key-value cache cannot hold the request: raise --cache-gb"))
        else:
            choices = [self._choice(job, output) for output in handle.read_all()]
            # the engine leaves out a sequence of which a stop string at its very beginning left nothing
            choices += [Choice("", 0, "stop")] * (job.config.num_return_sequences - len(choices))
            self.counts["prompt_tokens"] += len(job.tokens)
            self.counts["generation_tokens"] += sum(choice.tokens for choice in choices)
            self.counts["answered"] += 1
            job.settle(choices)

    def _choice(self, job: Job, output: GenerationOutput) -> Choice:
        ids: list[int] = output.generated_ids
        text: str = self.tokenizer.decode(ids)
        if output.finish_reason == og.GenerationFinishReason.LENGTH:
            return Choice(text, len(ids), "length")
        if ids[-1:] != [self._eos]:
            text = _without_stop(text, job.config.stop_strings)
        return Choice(text, len(ids), "stop")

    def _recover(self, error: RuntimeError) -> None:
        """A schema, regex or grammar that does not compile makes a whole step fail. All requests are taken
        out, each constraint is tried by itself, and the requests with sound ones start again.

        Raises `error` when no constraint is to blame."""
        jobs = list(self._running)
        self._clear(self._running.values())
        if len(self._verdicts) > VERDICTS_KEPT:
            self._verdicts.clear()
        guilty = 0
        for job in jobs:
            key = repr(job.constraint)
            if job.constraint and key not in self._verdicts:
                self._verdicts[key] = self._trial(job.constraint)
            if problem := self._verdicts.get(key):
                self._refuse(job, problem)
                guilty += 1
        if not guilty:
            raise error
        self._running.clear()
        log.warning("refused %d requests whose constraint does not compile, restarted the others", guilty)
        self._waiting.extendleft(job for job in reversed(jobs) if not job.future.done())

    def _trial(self, constraint: dict[str, str]) -> str:
        """What is wrong with a constraint, "" for nothing: one token is generated under it alone."""
        config = og.GenerationConfig(max_new_tokens=1, apply_chat_template=False)
        config.structured_output_config = _structured(constraint)
        handles = []
        try:
            handles.append(self._add([self._eos], config))
            while self._pipe.has_non_finished_requests():
                self._pipe.step()
        except RuntimeError as error:
            self._clear(handles)
            return _last_line(error)
        return ""

    def _clear(self, handles: Iterable[GenerationHandle]) -> None:
        for handle in handles:
            handle.cancel()
        self._pipe.step()

    def _refuse(self, job: Job, problem: str) -> None:
        self.counts["refused"] += 1
        param = "response_format" if job.constraint else None
        job.settle(ApiError(400, f"the engine refuses the request: {problem}", param))


def _structured(constraint: dict[str, str]) -> og.StructuredOutputConfig:
    """The engine's form of a constraint. JSON is written on one line wherever the schema allows: left to
    choose its whitespace, a small model often does nothing else until its tokens are used up."""
    schema = constraint.get("json_schema", "")
    if not schema or '"$ref"' in schema:
        return og.StructuredOutputConfig(**constraint)
    return og.StructuredOutputConfig(structural_tags_config=_one_line(json.loads(schema)))


def _one_line(schema: Any) -> Any:
    """A schema as a tag of the engine. In objects and in lists of a fixed length the brackets, names and
    commas are literal, and optional properties are always written; any other schema is passed on as it is."""
    keywords = set(schema) - {"title", "description"} if isinstance(schema, dict) else set()
    if {"type", "properties"} <= keywords <= OBJECT and schema["type"] == "object":
        properties, required = schema["properties"], schema.get("required", [])
        named = isinstance(properties, dict) and isinstance(required, list) and len(properties) > 0
        if named and all(name in [*properties] for name in required):
            parts = [(f"{json.dumps(name)}: ", value) for name, value in properties.items()]
            return _joined("{", parts, "}")
    if keywords == {"type", "items", "minItems", "maxItems"} and schema["type"] == "array":
        length = schema["minItems"]
        if length == schema["maxItems"] and isinstance(length, int) and 0 < length <= LIST_ITEMS:
            return _joined("[", [("", schema["items"])] * length, "]")
    return og.StructuredOutputConfig.JSONSchema(json.dumps(schema))


def _joined(begin: str, parts: Sequence[tuple[str, Any]], end: str) -> Any:
    literal = og.StructuredOutputConfig.ConstString
    tags: list[Any] = []
    for name, schema in parts:
        tags += [literal(f"{', ' if tags else begin}{name}"), _one_line(schema)]
    return og.StructuredOutputConfig.Concat([*tags, literal(end)])


def _last_line(error: RuntimeError) -> str:
    """An engine's message without the place in its sources that precedes it."""
    return re.sub(r"^.*\.(?:cc|cpp|hpp|h):\d+:\s*", "", str(error), flags=re.DOTALL).strip()


def _without_stop(text: str, stops: set[str]) -> str:
    """The text up to its stop string. The engine drops the token that completes the string and leaves what
    came before it, so the string may stand at the end in part."""
    whole = [text.find(stop) for stop in stops if stop in text]
    part = [len(text) - size for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size])]
    return text[: min(whole or part, default=len(text))]
