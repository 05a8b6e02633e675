"""Six changes that resuming systems get wrong, each counted at the server and compared with a build from scratch."""

import random
import subprocess
from pathlib import Path

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
