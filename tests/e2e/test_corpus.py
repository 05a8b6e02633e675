"""A whole corpus, from seeds to shards, with the replay server."""

import json
import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from click.testing import CliRunner
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from cosmo_assets.build import ASSETS, ON_REQUEST, build_defs
from cosmo_assets.cli.main import main
from cosmo_assets.generation.plan import documents_of
from cosmo_assets.operations.adopt import adopt
from cosmo_resources.deployments import deployment
from cosmo_resources.storage.store import CorpusStore
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import ReplayServer, replaying


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file under a folder: its size, time of change, and content."""
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def statuses(corpus: Corpus, url: str, instance: dg.DagsterInstance) -> dict[str, StaleStatus]:
    recipe = corpus.recipe
    graph = build_defs(recipe, deployment(corpus.settings(url), recipe.name)).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    found = {}
    for asset in (asset for asset in ASSETS if asset.key.to_user_string() not in ON_REQUEST):
        partitions = graph.get(asset.key).partitions_def
        for key in partitions.get_partition_keys() if partitions else [None]:
            found[f"{asset.key.to_user_string()}/{key}"] = resolver.get_status(asset.key, key)
    return found


def test_materializing_again_changes_no_file_and_leaves_everything_fresh(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = Corpus(tmp_path).write(seeds(30))
    with dg.DagsterInstance.ephemeral() as instance:
        corpus.build(replay.url, instance=instance)
        assert set(statuses(corpus, replay.url, instance).values()) == {StaleStatus.FRESH}
        before, versions, calls = snapshot(corpus.data), corpus.versions_of_everything(), len(replay.calls)
        corpus.build(replay.url, instance=instance)
        assert snapshot(corpus.data) == before
        assert corpus.versions_of_everything() == versions
        assert len(replay.calls) == calls
        assert set(statuses(corpus, replay.url, instance).values()) == {StaleStatus.FRESH}
        corpus.build(replay.url, ["seed_documents", "cluster_model"], instance=instance)
        assert set(statuses(corpus, replay.url, instance).values()) == {StaleStatus.FRESH}
        corpus.write(seeds(31)).build(replay.url, ["seed_documents"], instance=instance)
        after = statuses(corpus, replay.url, instance)
        assert after["seed_documents/None"] == StaleStatus.FRESH
        assert after["seed_embeddings/None"] == StaleStatus.STALE


def test_the_data_version_of_every_materialization_is_its_manifest(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = Corpus(tmp_path).write(seeds(20))
    with dg.DagsterInstance.ephemeral() as instance:
        corpus.build(replay.url, instance=instance)
        for asset in (asset for asset in ASSETS if asset.key.to_user_string() not in ON_REQUEST):
            records = instance.fetch_materializations(asset.key, limit=10).records
            assert records
            for record in records:
                materialization = record.asset_materialization
                assert materialization is not None
                bucket = materialization.partition or "all"
                manifest = corpus.store.open(asset.key.to_user_string(), bucket).manifest
                assert (materialization.tags or {})["dagster/data_version"] == manifest.version


def test_two_places_and_any_number_of_workers_give_identical_versions(tmp_path: Path) -> None:
    found = []
    for number, (workers, concurrency) in enumerate(((1, 1), (2, 8), (3, 3))):
        corpus = Corpus(tmp_path / f"place-{number}", shard_rows=4).write(seeds(30))
        with replaying(delay=0.002) as server:
            corpus.build(server.url, workers=workers, concurrency=concurrency)
        found.append(corpus.versions_of_everything())
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == len(ASSETS) - len(ON_REQUEST) - 5 + 5 * 2


def test_a_fresh_instance_adopts_what_lies_on_disk(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = Corpus(tmp_path).write(seeds(20))
    corpus.build(replay.url)
    with dg.DagsterInstance.ephemeral() as instance:
        adopted, damaged = adopt(corpus.recipe, corpus.store, instance)
        assert len(adopted) == len(corpus.versions_of_everything())
        assert damaged == []
        assert instance.get_materialized_partitions(dg.AssetKey("generations")) == {"b000", "b001"}
        assert set(statuses(corpus, replay.url, instance).values()) == {StaleStatus.FRESH}
        assert adopt(corpus.recipe, corpus.store, instance) == ([], [])
    victim = next(iter(corpus.store.open("generations", "b001").paths()))
    victim.unlink()
    with dg.DagsterInstance.ephemeral() as instance:
        adopted, damaged = adopt(corpus.recipe, corpus.store, instance)
        assert len(damaged) == 1
        assert "generations" in damaged[0].message
        assert "cosmo run --asset generations --bucket b001" in damaged[0].remedy


def test_the_plan_says_what_a_change_would_ask_before_it_is_asked(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = Corpus(tmp_path, per_seed=2).write(seeds(30))
    corpus.build(replay.url)
    corpus.write(seeds(36)).build(
        replay.url,
        [
            "seed_documents",
            "seed_embeddings",
            "cluster_model",
            "seed_clusters",
            "topic_labels",
            "seed_topics",
            "seed_extracts",
            "prompt_table",
        ],
    )
    buckets = [documents_of(corpus.recipe, corpus.store, name) for name in ("b000", "b001")]
    assert sum(wanted for wanted, _ in buckets) == 72
    assert sum(wanted - there for wanted, there in buckets) == 12
    replay.calls.clear()
    corpus.build(replay.url)
    assert len(replay.generation_calls) == 12


def test_trace_of_random_tokens_returns_what_decodes_there(tmp_path: Path, replay: ReplayServer) -> None:
    from cosmo_assets.lineage.trace import tokens, trace

    corpus = Corpus(tmp_path, per_seed=2).write(seeds(40))
    corpus.build(replay.url)
    shards = dict(corpus.store.open("tokenized_shards").manifest.summary["shards"])
    assert len(shards) > 2
    draw = np.random.default_rng(7)
    documents, prompts = corpus.rows(), corpus.store.open("prompt_table").table().to_pylist()
    prompt_of = {row["prompt_id"]: row for row in prompts}
    names = list(shards)
    for _ in range(100):
        shard = names[draw.integers(len(names))]
        token = int(draw.integers(shards[shard]))
        found = trace(corpus.store, shard, token)
        row = documents[found.span["doc_id"]]
        assert found.span["start"] <= token < found.span["end"]
        assert found.token_text == row["text"] == found.document["text"]
        assert found.prompt["prompt"] == prompt_of[row["prompt_id"]]["prompt"]
        assert found.seed["text"][:80] in found.prompt["prompt"]
        assert (found.span["model"], found.span["sampling"]) == (row["model"], row["sampling"])
        assert found.span["topic"]
    one = found.span
    for key in ("prompt_id", "seed_id", "doc_id", "topic", "template", "source"):
        spans = tokens(corpus.store, {key: one[key]}).frame()  # type: ignore[dict-item]
        assert one["doc_id"] in spans["doc_id"].to_list()
    assert tokens(corpus.store, {"prompt_id": "0" * 32}).frame().height == 0
    everything = tokens(corpus.store, {"source": "pages"})
    spans = everything.frame()
    assert int((spans["end"] - spans["start"]).sum()) == sum(shards.values()) == everything.totals.tokens


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    corpus = Corpus(tmp_path_factory.mktemp("built")).write(seeds(20))
    with replaying() as server:
        corpus.build(server.url)
    return corpus


@pytest.fixture
def built(shared: Corpus, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """A built corpus that the environment points at, for tests that change nothing in it."""
    for name, value in shared.environment("http://127.0.0.1:9/v1").items():
        monkeypatch.setenv(name, value)
    return shared


def test_the_commands_answer(built: Corpus) -> None:
    command = CliRunner()
    found = command.invoke(main, ["trace", "--shard", "0", "--token", "10", "--json"])
    assert found.exit_code == 0, found.output
    chain = json.loads(found.output)
    assert chain["document"]["doc_id"] == chain["span"]["doc_id"]
    by_prompt = command.invoke(main, ["tokens", "--prompt", chain["span"]["prompt_id"][:10]])
    assert by_prompt.exit_code == 0
    assert f"{chain['span']['end'] - chain['span']['start']} tokens in 1 spans" in " ".join(by_prompt.output.split())
    by_doc = command.invoke(main, ["trace", "--doc", chain["span"]["doc_id"][:12], "--json"])
    assert json.loads(by_doc.output)["document"] == chain["document"]
    by_text = command.invoke(main, ["trace", "--text", "-", "--json"], input=chain["document"]["text"])
    assert [found["doc_id"] for found in json.loads(by_text.output)["found"]["matches"]] == [chain["span"]["doc_id"]]
    assert json.loads(by_text.output)["seed"] == chain["seed"]
    nowhere = command.invoke(main, ["trace", "--text", "words that nobody has ever written here"])
    assert (nowhere.exit_code, "No document of the corpus" in nowhere.output) == (0, True)
    both = command.invoke(main, ["tokens", "--source", "pages", "--seed", chain["seed"]["seed_id"], "--json"])
    selected = json.loads(both.output)
    assert chain["span"]["doc_id"] in {span["doc_id"] for span in selected["spans"]}
    assert selected["totals"]["tokens"] == sum(span["end"] - span["start"] for span in selected["spans"])
    for wrong in (["trace"], ["trace", "--shard", "0"], ["trace", "--doc", "a", "--text", "b"], ["tokens"]):
        assert command.invoke(main, wrong).exit_code == 2
    assert "there already" in command.invoke(main, ["plan"]).output
    assert "20" in command.invoke(main, ["plan"]).output
    doctor = command.invoke(main, ["doctor", "--deep"])
    assert doctor.exit_code == 0, doctor.output
    assert "checksums compared" in doctor.output


def test_the_doctor_finds_a_flipped_byte_and_names_the_mend(
    built: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(built.data, tmp_path / "data")
    monkeypatch.setenv("COSMO_DATA", str(tmp_path / "data"))
    path = CorpusStore(tmp_path / "data" / "tiny").open("prompt_table").paths()[0]
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(bytes(damaged))
    found = CliRunner().invoke(main, ["doctor", "--deep"])
    assert found.exit_code == 1
    assert "prompt_table" in found.output
    assert "cosmo run --asset prompt_table" in " ".join(found.output.split())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trace", "--shard", "99", "--token", "0"], "no token 0 in shard-00099.ds"),
        (["trace", "--shard", "0", "--token", "999999"], "no token 999999"),
        (["--recipe", "nothing", "plan"], "no recipe 'nothing'"),
        (["run", "--asset", "seed_docs"], "no asset 'seed_docs'"),
        (["run", "--bucket", "b999"], "no bucket 'b999'"),
    ],
)
def test_a_mistake_is_answered_with_its_remedy(built: Corpus, arguments: list[str], expected: str) -> None:
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 1
    output = " ".join(found.output.split())
    assert expected in output
    assert "remedy" in output
    assert "Traceback" not in output


def test_lineage_in_dagster_is_what_was_really_read(shared: Corpus) -> None:
    recipe = shared.recipe
    graph = build_defs(recipe, deployment(shared.settings("http://127.0.0.1:9/v1"), recipe.name)).resolve_asset_graph()
    for asset in (asset for asset in ASSETS if asset.key.to_user_string() not in ON_REQUEST):
        bucket = "b000" if graph.get(asset.key).is_partitioned else "all"
        read = {ref.asset for ref in shared.store.open(asset.key.to_user_string(), bucket).manifest.inputs}
        declared = {key.to_user_string() for key in graph.get(asset.key).parent_keys}
        models = {key for key in declared if key.startswith("models/")}
        assert read == declared - models, asset.key
