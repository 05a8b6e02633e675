"""Tuning: which server options give the most tokens per second on the prompts of a corpus.

Belongs here: the grid, one trial, and the search. Does not belong here: the deployment file that the winner is written
to (`cosmo_resources.deployment_file`), or starting a server (`cosmo_resources.inference`).
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic
import yaml

from cosmo_assets.ids import bucket_name, request_seed
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import Answer, ClientOptions, CompletionClient, Request
from cosmo_resources.inference.server_process import ModelServer, ServerError
from cosmo_resources.inference.server_spec import ServerSpec
from cosmo_resources.storage.store import CorpusStore

Arguments = Mapping[str, Any]
Grid = Sequence[tuple[str, Sequence[Any]]]
Told = Callable[["Trial", str], None]

BATCH = "max-num-seqs"
GPU_MEMORY = "gpu-memory-utilization"

GRIDS: Mapping[str, Grid] = {
    "vllm": (
        (BATCH, (64, 128, 256, 512, 1024, 2048)),
        ("max-num-batched-tokens", (8192, 16384, 32768)),
        (GPU_MEMORY, (0.9, 0.95)),
        (
            "speculative-config",
            (None, '{"method": "ngram", "num_speculative_tokens": 6, "prompt_lookup_max": 4}'),
        ),
        ("enable-prefix-caching", (None, False)),
    ),
    "embedded": ((BATCH, (8, 16, 32, 64, 128)),),
}
"""Options of an engine in the order of what they usually bring (after the FinePhrase throughput study: batch sizes are
the most consistent lever, n-gram speculation pays for small models that rephrase). None leaves an option out; false
says its opposite."""

MARGIN = 0.03
"""By how much the runs of a value must be faster than the fastest of the best so far: less comes and goes by itself."""

WARM_UP = 8
WARM_UP_TOKENS = 16
"""Each server first answers so many prompts, so briefly: what an engine compiles on first use is not counted."""

PATIENCE = 10.0
"""Seconds without a word from a server, after which it is given up: nobody starts it again."""


@dataclass(frozen=True)
class Trial:
    """One start of the server; `tried` says what is new about its arguments. `tokens_per_second` over the whole batch
    of prompts, its tail included, or why there is no figure."""

    tried: str
    arguments: Arguments
    tokens_per_second: float = 0.0
    seconds: float = 0.0
    completion_tokens: int = 0
    failed: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Tuned:
    """What a search came to. Rates in tokens per second, each the mean of all starts: with the best arguments, and with
    those that it began with."""

    arguments: Arguments
    rate: float
    rate_before: float


@dataclass
class Bench:
    """What all trials of a search have in common. `requests` are split once: the warm-up's are not measured, so that a
    cache of prefixes holds only what prompts share. Trials share `folder`, and with it what is converted and
    compiled; each log stays in it as trial-NN.log. `concurrency` is for servers whose batch is not known."""

    spec: ServerSpec
    requests: Sequence[Request]
    folder: Path
    concurrency: int = ClientOptions.concurrency
    timeout: float = ClientOptions.timeout
    started: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        count = min(WARM_UP, len(self.requests) // 4)
        short = self.requests[len(self.requests) - count :]
        self.requests = self.requests[: len(self.requests) - count]
        self.warm_up = [Request(one.key, {**one.body, "max_tokens": WARM_UP_TOKENS}) for one in short]

    def run(self, tried: str, arguments: Arguments) -> Trial:
        """Start a server, warm it up, ask it everything, stop it."""
        log = self.folder / f"trial-{self.started:02d}.log"
        self.started += 1
        try:
            spec = ServerSpec.model_validate({**self.spec.model_dump(), "arguments": dict(arguments)})
        except pydantic.ValidationError as wrong:
            return Trial(tried, arguments, error=wrong.errors()[0]["msg"].removeprefix("Value error, "))
        server = ModelServer(spec, self.folder)
        concurrency = in_flight(arguments) or self.concurrency
        options = ClientOptions(concurrency=concurrency, attempts=1, timeout=self.timeout, patience=PATIENCE)
        try:
            client = CompletionClient(server.start(), spec.name, options)
            list(client.answers(self.warm_up))
            begun = time.monotonic()
            answers = list(client.answers(self.requests))
            seconds = time.monotonic() - begun
            error = _lost(answers, server)
        except CosmoError as failure:
            return Trial(tried, arguments, error=_reason(failure, server))
        finally:
            server.stop()
            with suppress(FileNotFoundError):
                server.log.replace(log)
        tokens = sum(answer.completion_tokens for answer in answers)
        failed = sum(answer.status != "ok" for answer in answers)
        return Trial(tried, arguments, round(tokens / seconds, 1), round(seconds, 2), tokens, failed, error)


def tune(bench: Bench, grid: Grid | None = None, told: Told = lambda *_: None) -> Tuned:
    """The best of a search that goes through the options one by one, keeping the best value of each before the next: a
    sum of the values, where a full grid is their product. A value that looks faster is started again, after another
    start of the best so far, and kept if both its runs are faster by `MARGIN` than all runs of that: neither luck nor a
    machine that is busier at one time than at another changes anything.

    `told` hears of each trial, and what came of it.

    Raises:
        CosmoError: the server does not even work as it is, or there is no prompt.
    """
    if not bench.requests:
        raise CosmoError("there is no prompt to measure with", remedy="cosmo run --asset prompt_table")
    for log in bench.folder.glob("trial-*.log"):
        log.unlink()
    first = _as_it_is(bench, told)
    best = first
    for option, values in grid_of(bench.spec) if grid is None else grid:
        unfilled = _unfilled(values, best[0].arguments.get(BATCH), len(bench.requests)) if option == BATCH else []
        for tried, arguments in _variants(best[0].arguments, option, [one for one in values if one not in unfilled]):
            best = _better(bench, best, tried, arguments, told)
        if unfilled:
            tried = f"{option} {', '.join(map(str, unfilled))}"
            told(Trial(tried, {}), f"not tried: {len(bench.requests)} prompts do not fill them (--n)")
    return Tuned(best[0].arguments, _mean(best), _mean(first))


def read_grid(tries: Sequence[str]) -> Grid:
    """A grid from OPTION=VALUE,...; values are written as in a deployment file, or as JSON.

    Raises:
        CosmoError: one of them is no such text.
    """
    grid = []
    for text in tries:
        option, _, values = (part.strip() for part in text.partition("="))
        try:
            found = [json.dumps(one) if isinstance(one, dict) else one for one in yaml.safe_load(f"[{values}]")]
        except yaml.YAMLError:
            found = []
        if not option or not found or not all(isinstance(one, bool | int | float | str | None) for one in found):
            raise CosmoError(
                f"--try {text!r} is not OPTION=VALUE,...",
                remedy="write it like --try max-num-seqs=256,512",
            )
        grid.append((option, found))
    return grid


def grid_of(spec: ServerSpec) -> Grid:
    """What is tried with a server where nobody says what."""
    return [one for one in GRIDS.get(spec.engine, ()) if spec.gpus or one[0] != GPU_MEMORY]


def in_flight(arguments: Arguments) -> int | None:
    """How many requests a server with these arguments is to be sent at once: somewhat more than it computes at once, so
    that its queue never runs dry; not many more, since the time that a request waits there counts for its timeout.
    None, where they do not say."""
    batch = arguments.get(BATCH)
    return batch + -(-batch // 4) if isinstance(batch, int) else None


def sample_requests(store: CorpusStore, recipe: Recipe, count: int) -> list[Request]:
    """The first prompts of the corpus by id, an unbiased sample, as generation would send them.

    Raises:
        CosmoError: there is no prompt table.
    """
    prompts = store.open("prompt_table")
    requests: list[Request] = []
    for index in range(recipe.buckets):
        for row in prompts.table(["prompt_id", "prompt", "max_tokens"], bucket=bucket_name(index)).to_pylist():
            messages = [{"role": "user", "content": row["prompt"]}]
            sampling = {**recipe.generation.sampling.given, "max_tokens": row["max_tokens"]}
            seed = request_seed(row["prompt_id"])
            requests.append(Request(row["prompt_id"], {"messages": messages, **sampling, "seed": seed}))
            if len(requests) == count:
                return requests
    return requests


def _as_it_is(bench: Bench, told: Told) -> list[Trial]:
    trial = bench.run("as in the file", bench.spec.arguments)
    told(trial, trial.error or "")
    if trial.error is not None:
        raise CosmoError(
            f"the server does not work with the arguments of the file: {trial.error}",
            remedy=f"mend these first; its log is in {bench.folder}",
        )
    return [trial]


def _better(bench: Bench, best: list[Trial], tried: str, arguments: Arguments, told: Told) -> list[Trial]:
    """The runs of these arguments, if they are better; else those of the best so far, to which one may have come."""
    runs = [bench.run(tried, arguments)]
    if not _faster(runs, best):
        told(runs[0], runs[0].error or f"{_change(runs, best)}, passed over")
        return best
    told(runs[0], f"{_change(runs, best)}, to be seen again")
    again = bench.run("the best so far", best[0].arguments)
    told(again, again.error or "again")
    if again.error is None:
        best.append(again)
    runs.append(bench.run(tried, arguments))
    kept = _faster(runs, best)
    told(runs[1], runs[1].error or f"{_change(runs, best)} in all, {'kept' if kept else 'passed over'}")
    return runs if kept else best


def _variants(arguments: Arguments, option: str, values: Sequence[Any]) -> Iterator[tuple[str, Arguments]]:
    """The arguments with each other value of one option, and how that is called."""
    others = {name: one for name, one in arguments.items() if name not in (option, f"no-{option}")}
    for value in values:
        changed = others if value is None else {**others, option: value}
        if changed != dict(arguments):
            word = str(value).lower() if isinstance(value, bool) else str(value)
            yield (f"without {option}" if value is None else f"{option} {word}"), changed


def _unfilled(values: Sequence[Any], present: Any, prompts: int) -> list[int]:
    """The batch sizes that so many prompts cannot tell from one another: all that they do not fill, but for the
    smallest of these where they fill the present one."""
    unfilled = sorted(value for value in values if isinstance(value, int) and value >= prompts)
    return unfilled if isinstance(present, int) and present >= prompts else unfilled[1:]


def _faster(runs: Sequence[Trial], best: Sequence[Trial]) -> bool:
    """Whether the slowest of the runs is faster than the fastest of the best so far; one that failed has no speed."""
    fastest = max(one.tokens_per_second for one in best)
    return all(run.error is None and run.tokens_per_second > fastest * (1 + MARGIN) for run in runs)


def _mean(trials: Sequence[Trial]) -> float:
    return sum(trial.tokens_per_second for trial in trials) / len(trials)


def _change(trials: Sequence[Trial], best: Sequence[Trial]) -> str:
    return f"{100 * (_mean(trials) / _mean(best) - 1):+.0f} %"


def _lost(answers: Sequence[Answer], server: ModelServer) -> str | None:
    """Why a trial is void in which more than a tenth of the requests came to nothing."""
    errors = Counter(answer.error or answer.status for answer in answers if answer.status != "ok")
    if errors.total() * 10 <= len(answers):
        return None
    if _crashed(server):
        return server.failure("ended while it answered").brief
    return f"{errors.total()} of {len(answers)} requests came to nothing: {errors.most_common(1)[0][0]}"


def _reason(failure: CosmoError, server: ModelServer) -> str:
    """A failure in a line: the server's own reason, where it is the server that failed."""
    if _crashed(server):
        failure = server.failure("ended while it answered")
    return failure.brief if isinstance(failure, ServerError) else failure.message.splitlines()[0]


def _crashed(server: ModelServer) -> bool:
    """Whether a server that was ready is gone; its connections break a moment before its process has ended."""
    ends = time.monotonic() + 5.0
    while server.alive() and not server.healthy() and time.monotonic() < ends:
        time.sleep(0.1)
    return server.pid is not None and not server.alive()
