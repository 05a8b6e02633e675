"""Six changes that resuming systems get wrong, each counted at the server and compared with a build from scratch."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from cosmo_assets.build import UP_TO_PROMPTS
from cosmo_resources.storage.manifest import Manifest
from tests.corpora import (
    ONE_TEMPLATE,
    TEMPLATES,
    Corpus,
    check_against_scratch,
    contents,
    kill_group,
    seeds,
    wait_until,
)
from tests.doubles.replay_server import ReplayServer, replaying

IN_FLIGHT = 4

BEFORE_SIGNALS = (
    "generations",
    "generation_quality",
    "decontaminated",
    "text_signatures",
    "duplicate_clusters",
    "deduplicated",
)
SIGNALS = {
    "signals": ["statistics", "toxicity", "perplexity"],
    "selection": {
        "bounds": [{"signal": "toxicity.score", "high": 0.9}],
        "keep": {"rule": "ranks", "signal": "perplexity.perplexity", "low": 0.0, "high": 0.8},
    },
    "sweep": {"signals": [{"signal": "statistics.mean_word_length"}], "sample": 8, "block": 4},
    "diversity": {"block": 4},
}
KILLED_IN = (
    ("language_model", "all"),
    ("text_perplexity", "b000"),
    ("text_statistics", "b001"),
    ("filtering_costs", "all"),
    ("selection", "all"),
    ("corpus_diversity", "all"),
)
"""In the order of the run."""
SLOW_DISK = """
import os, time
fsync = os.fsync
def slow(descriptor):
    time.sleep(0.05)
    fsync(descriptor)
os.fsync = slow
"""
"""What Python runs as it starts: a stage of a few rows takes long enough to be killed inside it."""


def asked(replay: ReplayServer) -> list[str]:
    return [call["messages"][0]["content"] for call in replay.generation_calls]


def test_s1_killed_and_run_again_asks_again_only_what_was_in_flight(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus").write(seeds(60))
    with replaying(delay=0.05) as server:
        kills = 0
        for wanted in (7, 25, 48):
            process = corpus.command(server.url, "run", concurrency=IN_FLIGHT)
            wait_until(lambda count=wanted: len(server.generation_calls) >= count, process=process)
            kill_group(process)
            kills += 1
        process = corpus.command(server.url, "run", concurrency=IN_FLIGHT)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        calls = len(server.generation_calls)
    assert len(corpus.rows()) == 60
    assert 60 <= calls <= 60 + kills * IN_FLIGHT
    check_against_scratch(corpus, tmp_path / "scratch")


def test_s2_changed_content_under_the_same_id_redoes_exactly_its_prompts(tmp_path: Path, replay: ReplayServer) -> None:
    documents = seeds(30)
    corpus = Corpus(tmp_path / "corpus", per_seed=2).write(documents)
    corpus.build(replay.url)
    before = contents(corpus)
    replay.calls.clear()
    documents[11] = {**documents[11], "text": documents[11]["text"] + " One more sentence was added to this page."}
    corpus.write(documents).build(replay.url)
    assert len(asked(replay)) == 2, "two prompts come from the changed seed"
    after = contents(corpus)
    assert len(after) == 60
    assert len(after.keys() - before.keys()) == 2
    assert replay.label_calls == []
    check_against_scratch(corpus, tmp_path / "scratch")


def test_s3_changed_template_redoes_exactly_its_prompts(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = Corpus(tmp_path / "corpus").write(seeds(40))
    corpus.build(replay.url)
    before = contents(corpus)
    prompts = corpus.store.open("prompt_table").table().to_pylist()
    stories = sum(row["template"] == "story" for row in prompts)
    assert 0 < stories < 40
    replay.calls.clear()
    corpus.templates = {**TEMPLATES, "story": "Invent a story around this:\n{{ extract }}"}
    corpus.versions = {"story": "2"}
    corpus.write().build(replay.url)
    assert len(asked(replay)) == stories
    assert all(prompt.startswith("Invent a story") for prompt in asked(replay))
    after = contents(corpus)
    assert len(after) == 40
    assert len(after.keys() & before.keys()) == 40 - stories
    check_against_scratch(corpus, tmp_path / "scratch")


def test_s4_one_appended_row_is_one_call(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = Corpus(tmp_path / "corpus", templates=ONE_TEMPLATE).write(seeds(30))
    corpus.build(replay.url)
    before = contents(corpus)
    replay.calls.clear()
    corpus.write(seeds(31)).build(replay.url)
    assert len(asked(replay)) == 1
    after = contents(corpus)
    assert len(after) == 31
    assert before.items() <= after.items()
    check_against_scratch(corpus, tmp_path / "scratch")


def test_s5_rows_prepended_in_mid_run_lose_and_double_nothing(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus", templates=ONE_TEMPLATE).write(seeds(50))
    with replaying(delay=0.05) as server:
        process = corpus.command(server.url, "run", concurrency=IN_FLIGHT)
        wait_until(lambda: len(server.generation_calls) >= 20, process=process)
        kill_group(process)
        corpus.write([*seeds(10, tag="new"), *seeds(50)])
        process = corpus.command(server.url, "run", concurrency=IN_FLIGHT)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        calls = len(server.generation_calls)
    assert len(corpus.rows()) == 60
    assert 60 <= calls <= 60 + IN_FLIGHT
    check_against_scratch(corpus, tmp_path / "scratch")


def test_s6_other_shard_size_or_bucket_count_asks_nothing(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = Corpus(tmp_path / "corpus", buckets=4, shard_rows=8).write(seeds(40))
    corpus.build(replay.url)
    before = contents(corpus)
    replay.calls.clear()
    for buckets, shard_rows in ((4, 3), (6, 3), (1, 100), (4, 8)):
        corpus.buckets, corpus.shard_rows = buckets, shard_rows
        corpus.write().build(replay.url)
        assert replay.calls == []
        assert contents(corpus) == before
    check_against_scratch(corpus, tmp_path / "scratch")


def test_s6_other_shard_size_in_mid_run_keeps_what_was_finished(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus", shard_rows=5).write(seeds(50))
    with replaying(delay=0.05) as server:
        process = corpus.command(server.url, "run", concurrency=IN_FLIGHT)
        wait_until(lambda: len(server.generation_calls) >= 22, process=process)
        kill_group(process)
        corpus.shard_rows = 7
        corpus.write()
        process = corpus.command(server.url, "run", concurrency=IN_FLIGHT)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        assert 50 <= len(server.generation_calls) <= 50 + IN_FLIGHT
    assert len(corpus.rows()) == 50


def test_killed_at_random_moments_of_the_whole_run_ends_the_same(tmp_path: Path) -> None:
    draw = random.Random(20)
    corpus = Corpus(tmp_path / "corpus").write(seeds(40))
    with replaying(delay=0.05) as server:
        for _ in range(5):
            process = corpus.command(server.url, "run", concurrency=IN_FLIGHT, workers=2)
            try:
                process.wait(timeout=draw.uniform(1.5, 7.0))
            except subprocess.TimeoutExpired:
                kill_group(process)
        process = corpus.command(server.url, "run", concurrency=IN_FLIGHT, workers=2)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        prompts = asked(server)
    assert len(corpus.rows()) == 40
    assert len(set(prompts)) == 40, "a prompt was never asked"
    assert len(prompts) <= 40 + 5 * 2 * IN_FLIGHT, "more was asked again than was in flight"
    check_against_scratch(corpus, tmp_path / "scratch")


@pytest.mark.slow
def test_killed_inside_each_stage_of_signals_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_DISK, encoding="utf-8")
    corpus = Corpus(tmp_path / "corpus", changes=SIGNALS).write(seeds(40))
    stages = {asset for asset, _ in KILLED_IN} | {"text_toxicity", "withdrawals", "mixture"}
    arguments = [option for asset in sorted(stages) for option in ("--asset", asset)]
    with replaying() as server:
        corpus.build(server.url, [*UP_TO_PROMPTS, *BEFORE_SIGNALS])
        calls, finished = len(server.calls), built(corpus)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
        for place in KILLED_IN:
            process = corpus.command(server.url, "run", *arguments)
            work = corpus.store.work(*place)
            wait_until(lambda work=work: any(work.glob("build-*")), process=process, seconds=120)
            kill_group(process)
            assert any(work.glob("build-*")), "it was over before it was killed"
            assert place not in built(corpus)
            assert finished.items() <= built(corpus).items(), "what was finished was made again"
            finished = built(corpus)
        corpus.build(server.url)
        assert len(server.calls) == calls, "nothing is asked again"
    assert finished.items() <= built(corpus).items()
    assert {("text_perplexity", "b000"), ("text_statistics", "b000"), ("mixture", "all")} <= finished.keys()
    assert not list(corpus.data.rglob("build-*")), "what was begun is swept away"
    check_against_scratch(corpus, tmp_path / "scratch")
    assert checksums(corpus) == checksums(Corpus(tmp_path / "scratch"))


def built(corpus: Corpus) -> dict[tuple[str, str], int]:
    """When something was last written in the working folder of each dataset that there is: making one again that comes
    out the same leaves no other trace."""
    return {place: corpus.store.work(*place).stat().st_mtime_ns for place in manifests(corpus)}


def checksums(corpus: Corpus) -> dict[tuple[str, str], list[str]]:
    """Of the bytes of all files of each dataset; those of generations hold when each answer came."""
    return {
        place: [entry.checksum for entry in manifest.files]
        for place, manifest in manifests(corpus).items()
        if place[0] != "generations"
    }


def manifests(corpus: Corpus) -> dict[tuple[str, str], Manifest]:
    store = corpus.store
    places = [(asset, bucket) for asset in store.assets() for bucket in store.buckets(asset)]
    found = {place: store.current(*place) for place in places}
    return {place: dataset.manifest for place, dataset in found.items() if dataset is not None}
