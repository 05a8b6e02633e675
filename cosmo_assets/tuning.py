"""Tuning: which server options give the most tokens per second on the prompts of a corpus.

Belongs here: the grid, one trial, and the search. Does not belong here: the deployment file that the winner is written
to (`cosmo_resources.deployment_file`), or starting a server (`cosmo_resources.inference`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmo_assets.ids import bucket_name, request_seed
from cosmo_assets.recipe import Recipe
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import ClientOptions, CompletionClient, Request
from cosmo_resources.inference.server_process import ModelServer
from cosmo_resources.inference.server_spec import ServerSpec
from cosmo_resources.storage.store import CorpusStore

Arguments = Mapping[str, Any]

GRIDS: Mapping[str, Sequence[tuple[str, Sequence[Any]]]] = {
    "vllm": (
        ("max-num-seqs", (256, 512, 1024, 2048)),
        ("max-num-batched-tokens", (8192, 16384, 32768)),
        ("gpu-memory-utilization", (0.9, 0.95)),
        (
            "speculative-config",
            (None, '{"method": "ngram", "num_speculative_tokens": 6, "prompt_lookup_max": 4}'),
        ),
        ("enable-prefix-caching", (None, False)),
    ),
    "embedded": (("max-num-seqs", (8, 16, 32, 64, 128)),),
}
"""Options of an engine in the order of what they usually bring (after the FinePhrase throughput study: batch sizes are
the most consistent lever, n-gram speculation pays for small models that rephrase). None leaves an option out; false
says its opposite."""


@dataclass(frozen=True)
class Trial:
    """One start of the server with some arguments: `tokens_per_second` over the whole batch of prompts, its tail
    included, or why there is no figure."""

    arguments: Arguments
    tokens_per_second: float
    seconds: float
    completion_tokens: int
    failed: int
    error: str | None = None


def tune(
    spec: ServerSpec,
    requests: Sequence[Request],
    folder: Path,
    *,
    grid: Sequence[tuple[str, Sequence[Any]]] | None = None,
    concurrency: int = 1024,
    told: Callable[[Trial], None] = lambda trial: None,
) -> Trial:
    """The best trial of a search that goes through the options one by one, keeping the best value of each before the
    next: a sum of the values, where a full grid is their product.

    Raises:
        CosmoError: the server does not even work as it is.
    """
    best = run_trial(spec, spec.arguments, requests, folder / "trial-00", concurrency)
    told(best)
    if best.error is not None:
        raise CosmoError(
            f"the server does not work with the arguments of the file: {best.error}", remedy="mend these first"
        )
    number = 0
    for option, values in GRIDS.get(spec.engine, ()) if grid is None else grid:
        for arguments in _variants(best.arguments, option, values):
            number += 1
            trial = run_trial(spec, arguments, requests, folder / f"trial-{number:02d}", concurrency)
            told(trial)
            if trial.error is None and trial.tokens_per_second > best.tokens_per_second:
                best = trial
    return best


def run_trial(
    spec: ServerSpec, arguments: Arguments, requests: Sequence[Request], folder: Path, concurrency: int
) -> Trial:
    """Start a server, ask it everything at once, stop it. The start and the warm-up are not counted."""
    server = ModelServer(spec.model_copy(update={"arguments": dict(arguments)}), folder)
    try:
        endpoints = server.start()
        client = CompletionClient(endpoints, spec.name, ClientOptions(concurrency=concurrency, attempts=1))
        started = time.monotonic()
        answers = list(client.answers(requests))
        seconds = time.monotonic() - started
    except CosmoError as error:
        return Trial(arguments, 0.0, 0.0, 0, len(requests), error.message.splitlines()[0])
    finally:
        server.stop()
    tokens = sum(answer.completion_tokens for answer in answers)
    failed = sum(answer.status != "ok" for answer in answers)
    lost = f"{failed} of {len(answers)} requests came to nothing" if failed * 10 > len(answers) else None
    return Trial(arguments, round(tokens / seconds, 1), round(seconds, 2), tokens, failed, lost)


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


def _variants(arguments: Arguments, option: str, values: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The arguments with each other value of one option."""
    for value in values:
        others = {name: one for name, one in arguments.items() if name != option}
        changed = others if value is None else {**others, option: value}
        if changed != dict(arguments):
            yield changed
