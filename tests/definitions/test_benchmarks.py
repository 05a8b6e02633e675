"""External assets of benchmarks: what the graph says of them, and which version a build of the index has read."""

import json
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from cosmo_assets.build import build_defs, external_specs
from cosmo_assets.decontamination.assets import benchmark_index
from cosmo_assets.decontamination.benchmarks import sources
from cosmo_assets.recipe.decontamination import Benchmark, Decontamination
from cosmo_assets.recipe.recipe import Recipe, load_recipe
from cosmo_resources.deployments import deployment, settings
from cosmo_resources.storage.store import CorpusStore

DEMO = load_recipe("demo")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """The demo's, with a known benchmark of two files instead of its own, and one that is nobody else's."""
    for number in range(2):
        row = {"id": f"{number}", "question": "_ is what?", "choices": ["This", "That"], "answer": "That"}
        (tmp_path / f"mmlu-{number}.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (tmp_path / "own.jsonl").write_text(json.dumps({"question": "?", "answer": ""}), encoding="utf-8")
    known = Benchmark(name="mmlu", path=str(tmp_path / "mmlu-*.jsonl"))
    own = Benchmark(name="own", path=str(tmp_path / "own.jsonl"), licence="LicenseRef-own", homepage="own.example")
    return DEMO.model_copy(update={"decontamination": Decontamination(benchmarks=(known, own))})


def test_the_graph_tells_licence_path_and_parts_of_a_benchmark(recipe: Recipe) -> None:
    known, own = external_specs(recipe)["benchmark_index"]
    assert known.key == dg.AssetKey(["benchmarks", "mmlu"])
    assert known.metadata["licence"] == "MIT"
    assert known.metadata["parts"].startswith("question_answer, long_question")
    assert own.metadata["licence"] == "LicenseRef-own"
    assert (own.metadata["path"], own.metadata["parts"]) == (
        recipe.decontamination.benchmarks[1].path,
        "question_answer",
    )
    assert build_defs(recipe, deployment(settings({}), recipe.name)).resolve_asset_graph().get(known.key).is_external


def test_a_build_of_the_index_observes_the_version_of_every_benchmark(recipe: Recipe, tmp_path: Path) -> None:
    given = settings({"COSMO_DATA": str(tmp_path / "data")})
    resources = {**deployment(given, recipe.name), "recipe": recipe}
    with dg.DagsterInstance.ephemeral() as instance:
        definitions = build_defs(recipe, deployment(given, recipe.name))
        graph, assets = definitions.resolve_asset_graph(), [*(definitions.assets or ())]
        for _ in range(2):
            assert dg.materialize(
                assets, selection=[benchmark_index.key], resources=resources, instance=instance
            ).success
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        assert resolver.get_status(benchmark_index.key) == StaleStatus.FRESH
        known, own = sources(recipe)
        seen = {}
        for source in (known, own):
            key = dg.AssetKey(["benchmarks", source.benchmark.name])
            record, _ = instance.fetch_observations(key, limit=5).records
            assert record.asset_observation is not None
            seen[source.benchmark.name] = {k: v.value for k, v in record.asset_observation.metadata.items()}
    parts = ", ".join(known.benchmark.parts)
    counted = {"files": 2, "items": 2, "texts": 12, "unchecked": 0}
    assert seen["mmlu"] == {"version": known.version, "licence": "MIT", "parts": parts, **counted}
    assert (seen["own"]["unchecked"], seen["own"]["items"]) == (1, 1)
    manifest = CorpusStore(tmp_path / "data" / recipe.name).open("benchmark_index").manifest
    versions = {ref.asset: ref.version for ref in manifest.inputs}
    assert versions == {"benchmarks/mmlu": known.version, "benchmarks/own": own.version}
    assert manifest.summary["unchecked"] == [{"benchmark": "own", "item": "1", "part": "question_answer"}]
    assert manifest.flow.rows_in == 3
