"""Tokens per second of one device through the whole platform, against raw vLLM on the same server.

Belongs here: the same prompts, the same server, asked by `vllm bench serve` and by a build of the asset `generations`.
Does not belong here: the client alone (`client_efficiency`).

    make bench-gpu ARGS='--model /models/my-model --rows 4000'
    COSMO_VLLM_PYTHON=... python -m tests.benchmarks.gpu [--model FOLDER] [--rows 4000] [--tokens 256] [--write]

Without a GPU it says so and measures nothing, unless `--cpu` asks for vLLM on the CPU, to try the program itself. The
model is the packaged one unless a folder is given. `--write` adds the figures to docs/throughput.md, with the card's
name.
"""

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cosmo_assets.build import UP_TO_PROMPTS
from cosmo_resources.inference.models import EMBEDDED
from cosmo_resources.inference.server_spec import ServerSpec
from cosmo_resources.inference.servers import make_server
from tests.benchmarks.client_efficiency import vllm_bench
from tests.corpora import ONE_TEMPLATE, ROOT, Corpus, seeds
from tests.doubles.replay_server import replaying

PAGE = ROOT / "docs" / "throughput.md"


def card() -> str:
    """The name of the first GPU; nothing where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else ""


def corpus_of(folder: Path, model: str, rows: int, tokens: int) -> Corpus:
    """A corpus of one bucket with so many prompts, each answered by exactly so many tokens."""
    generation: dict[str, Any] = {
        "model": {"name": model, "revision": "1", "licence": "unknown"},
        "sampling": {"temperature": 0.0, "top_p": None, "top_k": None, "repetition_penalty": None},
        "max_tokens": tokens,
    }
    corpus = Corpus(folder, buckets=1, templates=ONE_TEMPLATE, changes={"generation": generation}).write(seeds(rows))
    with replaying(model=model) as server:
        corpus.build(server.url, [asset for asset in UP_TO_PROMPTS if asset != "topic_map"])
    return corpus


def through_the_platform(corpus: Corpus, url: str, in_flight: int) -> float:
    """Output tokens per second of a build of `generations`: claims, logs, seals and all, until the shards are whole."""
    corpus.build(url, ["generations"], concurrency=in_flight)
    run = corpus.store.open("generations", "b000").manifest.run
    return float(run["generated_tokens"]) / float(run["generation_seconds"])


def measure(
    spec: ServerSpec, folder: Path, tokenizer: str, rows: int, tokens: int, in_flight: int
) -> tuple[float, float]:
    """Raw and platform, in this order, on one server. Each has prompts of its own: caches do not help the other."""
    corpus = corpus_of(folder / "corpus", spec.name, rows, tokens)
    other = corpus_of(folder / "other", spec.name, rows, tokens)
    asked = [f"Once more: {text}" for text in other.store.open("prompt_table").table(["prompt"])["prompt"].to_pylist()]
    server = make_server(spec, folder / "server")
    try:
        (url,) = server.start()
        tokenizer = tokenizer or str(next((folder / "server" / "model").glob("*")))
        raw = vllm_bench(url.removesuffix("/v1"), spec.name, tokenizer, asked, in_flight, tokens)
        return raw, through_the_platform(corpus, url, in_flight)
    finally:
        server.stop()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default=EMBEDDED)
    arguments.add_argument("--tokenizer", help="default: the model's folder")
    arguments.add_argument("--rows", type=int, default=4000)
    arguments.add_argument("--tokens", type=int, default=256)
    arguments.add_argument("--in-flight", type=int, default=1024)
    arguments.add_argument("--cpu", action="store_true")
    arguments.add_argument("--write", action="store_true")
    chosen = arguments.parse_args()
    device = "CPU" if chosen.cpu else card()
    if not device:
        print("no GPU here: nothing was measured (--cpu tries the program itself with vLLM on the CPU)")
        return
    python = os.environ.get("COSMO_VLLM_PYTHON") or str(ROOT / ".venv-vllm" / "bin" / "python")
    if not Path(python).is_file():
        sys.exit(f"no vLLM at {python}: set COSMO_VLLM_PYTHON to the interpreter of its environment")
    os.environ["COSMO_VLLM_PYTHON"] = python
    options: dict[str, Any] = {"max-model-len": 2048, "max-num-seqs": min(chosen.in_flight, 1024)}
    if chosen.cpu:
        options |= {"enforce-eager": None, "max-num-seqs": 16, "kv-cache-memory-bytes": 1 << 29}
    spec = ServerSpec(engine="vllm", model=chosen.model, python=python, arguments=options, gpus=0 if chosen.cpu else 1)
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        tokenizer = chosen.tokenizer or (chosen.model if Path(chosen.model).is_dir() else "")
        raw, ours = measure(spec, Path(folder), tokenizer, chosen.rows, chosen.tokens, chosen.in_flight)
    print(f"{device}, {spec.name}, {chosen.rows} prompts, up to {chosen.tokens} tokens each")
    print(f"vllm bench serve  {raw:10.1f} tokens/s\nthrough Cosmo     {ours:10.1f} tokens/s  {ours / raw:.1%}")
    if chosen.write:
        today = datetime.datetime.now(tz=datetime.UTC).date()
        cells = [
            device,
            f"`{spec.name}`",
            f"`{json.dumps(options)}`",
            f"{raw:,.0f}",
            f"{ours:,.0f}",
            f"{ours / raw:.1%}",
        ]
        with PAGE.open("a", encoding="utf-8") as page:
            page.write(f"| {' | '.join([*cells, str(today)])} |\n")


if __name__ == "__main__":
    main()
