"""`cosmo tune` with a real vLLM on the CPU, and a bucket generated as it has written."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from cosmo_assets.build import UP_TO_PROMPTS
from cosmo_resources.deployment_file import read_deployment
from cosmo_resources.inference.gguf_export import export_gguf
from cosmo_resources.inference.models import EMBEDDED, find_model
from tests.corpora import ONE_TEMPLATE, ROOT, Corpus, seeds
from tests.doubles.replay_server import replaying
from tests.engines import vllm_on_the_cpu

MAX_TOKENS = 12
PROMPTS = 12

SITE = """# a machine without a GPU
way: local
concurrency: 3   # at once
server:
  engine: vllm
  model: /models/old   # another one
  served_name: old
  python: {python}
  # the batch is a guess
  arguments:
    max-num-seqs: 1   # one by one
    block-size: 32
{arguments}
  ready_within: 240
"""


def cosmo(corpus: Corpus, site: Path, *arguments: str) -> str:
    environment = {**corpus.environment("", deployment=str(site)), "COSMO_CONCURRENCY": "", "COLUMNS": "80"}
    command = [sys.executable, "-m", "cosmo_assets.cli.main", *arguments]
    ended = subprocess.run(
        command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_tune_writes_is_faster_and_generates_a_bucket(tmp_path: Path) -> None:
    spec = vllm_on_the_cpu()
    generation: dict[str, Any] = {
        "model": {"name": EMBEDDED, "revision": "1", "licence": "Apache-2.0"},
        "max_tokens": MAX_TOKENS,
        "shard_rows": 8,
    }
    corpus = Corpus(tmp_path / "corpus", buckets=1, templates=ONE_TEMPLATE, changes={"generation": generation})
    corpus.write(seeds(PROMPTS))
    with replaying(model=EMBEDDED) as server:
        corpus.build(server.url, [asset for asset in UP_TO_PROMPTS if asset != "topic_map"])
    others = {name: value for name, value in spec.arguments.items() if name != "max-num-seqs"}
    lines = "".join(f"    {yaml.safe_dump([{name: value}], width=999)[2:]}" for name, value in others.items())
    site = tmp_path / "site.yaml"
    text = SITE.format(python=spec.python, arguments=lines.rstrip())
    site.write_text(text, encoding="utf-8")
    before = read_deployment(site)

    model = export_gguf(find_model(EMBEDDED), tmp_path / EMBEDDED)

    tries = ["--try", "max-num-seqs=12", "--try", "made-up=1"]
    said = cosmo(corpus, site, "tune", "--model", str(model), "--n", str(PROMPTS), *tries)
    print(said)
    table, _, written = said.partition("written to ")
    assert max(map(len, table.splitlines())) <= 80
    trials = re.findall(r"^(as in the file|max-num-seqs 12|the best so far) +(\d+) ", table, re.MULTILINE)
    assert [name for name, _ in trials] == ["as in the file", "max-num-seqs 12", "the best so far", "max-num-seqs 12"]
    slow, fast, slow_again, fast_again = (int(rate) for _, rate in trials)
    assert min(fast, fast_again) > max(slow, slow_again), table
    assert "does not accept its options: unrecognized arguments: --made-up" in " ".join(table.split()), table

    after = read_deployment(site)
    assert after.server.arguments == {**before.server.arguments, "max-num-seqs": 12}
    assert (after.server.name, after.concurrency) == (EMBEDDED, 15)
    remark = written.partition("yaml: ")[2].strip()
    tuned = text.replace("max-num-seqs: 1 ", "max-num-seqs: 12 ").replace("concurrency: 3 ", "concurrency: 15 ")
    tuned = tuned.replace("/models/old ", f"{model} ").replace("served_name: old", "served_name: ''")
    assert site.read_text(encoding="utf-8") == tuned.replace("  arguments:", f"  # tuned: {remark}\n  arguments:")

    cosmo(corpus, site, "run", "--asset", "generations", "--bucket", "b000")
    assert Counter((row["status"], row["engine"]) for row in corpus.rows().values()) == {("ok", "vllm"): PROMPTS}
    run = corpus.store.open("generations", "b000").manifest.run
    assert 0 < run["prefix_hits"] < 1, "all prompts begin alike, and end in their own words"
