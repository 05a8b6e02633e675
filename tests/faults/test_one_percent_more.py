"""One percent more seeds: how many rows each asset computes, counted by the builds themselves and at the server."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from cosmo_assets.schemas.tables import TABLES
from tests.corpora import Corpus, check_against_scratch, seeds
from tests.doubles.replay_server import ReplayServer

SEEDS = 200
NEW = 2

ROW_BY_ROW = (
    "seed_embeddings",
    "prompt_table",
    "generations",
    "generation_quality",
    "decontaminated",
    "text_signatures",
    "tokenized_shards",
)
"""The assets whose cost is in computing rows: each makes its rows of one seed, prompt or document."""


@dataclass(frozen=True)
class Work:
    """What the versions that a build added say about their run."""

    rows: int = 0
    computed: int = 0
    reused: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.rows + other.rows, self.computed + other.computed, self.reused + other.reused)


def work_of(corpus: Corpus, before: set[str]) -> dict[str, Work]:
    """The work of all assets in building the current versions that did not exist before."""
    found: dict[str, Work] = {}
    for place, version in corpus.versions_of_everything().items():
        asset, bucket = place.split("/")
        manifest = corpus.store.open(asset, bucket).manifest
        run = manifest.run if version not in before else {}
        work = Work(manifest.rows, run.get("computed_rows", 0), run.get("reused_rows", 0))
        found[asset] = found.get(asset, Work()) + work
    return {asset: found[asset] for asset in TABLES if asset in found}


def table(full: dict[str, Work], more: dict[str, Work]) -> str:
    lines = [f"{'asset':22} {'rows':>6} {'computed in full':>17} {'computed on +1 %':>17} {'taken over':>11}"]
    for asset, work in more.items():
        lines.append(f"{asset:22} {work.rows:6} {full[asset].computed:17} {work.computed:17} {work.reused:11}")
    return "\n".join(lines)


def test_one_percent_more_seeds_compute_one_percent_of_the_rows(
    tmp_path: Path, replay: ReplayServer, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = seeds(SEEDS)
    corpus = Corpus(tmp_path / "corpus", per_seed=2).write(documents)
    corpus.build(replay.url)
    before = corpus.versions_of_everything()
    full = work_of(corpus, set())
    prompts = full["prompt_table"].rows
    replay.calls.clear()

    corpus.write([*seeds(NEW, tag="added"), *documents]).build(replay.url)

    more = work_of(corpus, set(before.values()))
    with capsys.disabled():
        print(f"\n{table(full, more)}\n{len(replay.generation_calls)} requests")
    new = more["prompt_table"].rows - prompts
    assert new == 2 * NEW, "each new seed has two prompts"
    assert len(replay.generation_calls) == new
    assert replay.label_calls == []
    for asset in ROW_BY_ROW:
        assert full[asset].computed == full[asset].rows >= SEEDS, asset
        assert more[asset].computed == (NEW if asset == "seed_embeddings" else new), asset
        assert more[asset].reused == full[asset].rows, f"{asset}: a bucket without a new row would hide what it does"
    check_against_scratch(corpus, tmp_path / "scratch")
