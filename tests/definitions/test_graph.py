"""The asset graph: a golden file that is reviewed as a diff, and what every asset must have."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from cosmo_assets.build import ASSETS, STEPS, assets_of, build_defs, on_request_of, steps_of
from cosmo_assets.recipe.deduplication import Deduplication, SemanticMethod
from cosmo_assets.recipe.diversity import Diversity
from cosmo_assets.recipe.proof import Proof
from cosmo_assets.recipe.recipe import Recipe, load_recipe
from cosmo_assets.recipe.selection import KeepD4, Selection, SignalBound
from cosmo_assets.recipe.signals import Educational
from cosmo_assets.recipe.sources import RealData, RealSource
from cosmo_assets.recipe.sweep import Sweep, SweptSignal
from cosmo_assets.recipe.topics import TopicTree
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.signals.catalogue import CATALOGUE
from cosmo_resources.deployments import deployment, settings
from tests.corpora import ROOT

GOLDEN = Path(__file__).parent / "graph.json"
GOLDEN_TOPIC_FIRST = Path(__file__).parent / "graph_topic_first.json"
"""What differs in the graph of a recipe with a topic tree."""
GOLDEN_SELECTION = Path(__file__).parent / "graph_selection.json"
"""What differs in the graph of a recipe with signals and a selection."""
GOLDEN_PRUNED = Path(__file__).parent / "graph_pruned.json"
"""What differs in the graph of a recipe with a selection that compares embeddings."""
GOLDEN_REAL = Path(__file__).parent / "graph_real.json"
"""What differs in the graph of a recipe with real text."""

DEMO = load_recipe("demo")
TOPIC_FIRST = DEMO.model_copy(update={"topics": DEMO.topics.model_copy(update={"tree": TopicTree(path="general")})})
LETTERS = RealSource(name="letters", reader="parquet", path="letters/*.parquet", licence="CC0-1.0")
MIXED = DEMO.model_copy(update={"real": RealData(sources=(LETTERS,))})
SELECTING = DEMO.model_copy(
    update={
        "signals": ("statistics", "perplexity", "educational"),
        "selection": Selection(sets=("gopher_quality",), bounds=(SignalBound(signal="quality.repetition", high=0.2),)),
    }
)
PRUNED = DEMO.model_copy(update={"selection": Selection(keep=KeepD4(rule="d4", keep_atypical=0.8))})
COMPARING = TOPIC_FIRST.model_copy(
    update={
        "deduplication": Deduplication(methods=(SemanticMethod(),)),
        "real": MIXED.real,
        "signals": tuple(CATALOGUE),
        "selection": SELECTING.selection,
        "diversity": Diversity(),
        "proof": Proof(items="items.jsonl"),
        "sweep": Sweep(signals=(SweptSignal(signal="statistics.words"),)),
    }
)
ALL_ASSETS = assets_of(COMPARING)


def picture(recipe: Recipe = DEMO) -> dict[str, Any]:
    """Everything about the graph that a reviewer wants to see change."""
    definitions = build_defs(recipe, deployment(settings({}), recipe.name))
    graph = definitions.resolve_asset_graph()
    assets = {}
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        partitions = node.partitions_def
        assets[key.to_user_string()] = {
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "group": node.group_name,
            "owners": list(node.owners),
            "kinds": sorted(node.kinds),
            "code_version": node.code_version,
            "partitions": list(partitions.get_partition_keys()) if partitions else None,
            "checks": sorted(
                f"{check.name}{' (blocking)' if graph.get_check_spec(check).blocking else ''}"
                for check in node.check_keys
            ),
            "pools": sorted(node.pools or ()),
            "materializable": node.is_materializable,
        }
    return {"assets": assets, "jobs": sorted(job.name for job in definitions.jobs or [])}


def test_the_graph_is_the_golden_one() -> None:
    found = json.dumps(picture(), indent=1, sort_keys=True) + "\n"
    if os.environ.get("COSMO_UPDATE_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8"), "look at the diff; COSMO_UPDATE_GOLDEN=1 accepts it"


@pytest.mark.parametrize(
    ("recipe", "golden"),
    [(TOPIC_FIRST, GOLDEN_TOPIC_FIRST), (MIXED, GOLDEN_REAL), (SELECTING, GOLDEN_SELECTION), (PRUNED, GOLDEN_PRUNED)],
    ids=["topic tree", "real text", "selection", "selection by embeddings"],
)
def test_what_a_part_of_a_recipe_changes_in_the_graph_is_golden_too(recipe: Recipe, golden: Path) -> None:
    before, after = picture()["assets"], picture(recipe)["assets"]
    assert before.keys() < after.keys()
    changed = {key: entry for key, entry in after.items() if before.get(key) != entry}
    found = json.dumps(changed, indent=1, sort_keys=True) + "\n"
    if os.environ.get("COSMO_UPDATE_GOLDEN"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8"), "look at the diff; COSMO_UPDATE_GOLDEN=1 accepts it"


def test_what_scores_by_embeddings_reads_the_embedding_model() -> None:
    """And nothing else of the graph changes; labels are asked for as ever."""
    both = SELECTING.model_copy(update={"real": MIXED.real})
    by_embeddings = both.model_copy(update={"educational": Educational(features="embeddings")})
    before, after = (picture(found)["assets"] for found in (both, by_embeddings))
    changed = {key for key in after if before.get(key) != after[key]}
    assert changed == {"quality_classifier", "seed_educational", "text_educational", "real_educational"}
    for key in changed:
        assert set(after[key]["deps"]) - set(before[key]["deps"]) == {"models/all-MiniLM-L6-v2"}
        assert {**after[key], "deps": before[key]["deps"]} == before[key]


def test_every_asset_has_a_table_and_a_place_in_the_order_of_runs() -> None:
    assert [asset.key.to_user_string() for asset in ALL_ASSETS] == list(TABLES)
    plain = DEMO.model_copy(update={"prompts": DEMO.prompts.model_copy(update={"outlines": None})})
    assert (assets_of(plain), steps_of(plain)) == (ASSETS, STEPS)
    for recipe in (DEMO, TOPIC_FIRST, MIXED, SELECTING, PRUNED, COMPARING, plain):
        names = [asset.key.to_user_string() for asset in assets_of(recipe)]
        placed = [name for step, _ in steps_of(recipe) for name in step]
        assert sorted([*placed, *on_request_of(recipe)]) == sorted(names)


def test_an_asset_waits_in_a_run_for_all_that_it_reads() -> None:
    """What the spec alone names is no input of the step: it orders nothing, and its checks hold nothing back."""
    definitions = build_defs(COMPARING, deployment(settings({}), COMPARING.name))
    made = [asset for asset in definitions.assets or [] if isinstance(asset, dg.AssetsDefinition)]
    assert {asset.key for asset in made} == {asset.key for asset in ALL_ASSETS}
    for asset in made:
        (spec,) = asset.specs
        assert {dep.asset_key for dep in spec.deps} == set(asset.keys_by_input_name.values()), asset.key


@pytest.mark.parametrize("asset", ALL_ASSETS, ids=lambda asset: asset.key.to_user_string())
def test_every_asset_says_what_it_is(asset: dg.AssetsDefinition) -> None:
    (spec,) = asset.specs
    assert spec.description
    assert spec.owners
    assert spec.kinds
    assert spec.code_version
    assert spec.group_name != "default"
    columns = spec.metadata["dagster/column_schema"].columns
    assert columns
    assert all(column.description for column in columns)
    assert list(asset.check_specs)


def test_column_lineage_names_columns_that_exist() -> None:
    derived = 0
    for asset in ALL_ASSETS:
        (spec,) = asset.specs
        for column, origins in spec.metadata["dagster/column_lineage"].deps_by_column.items():
            assert column in TABLES[spec.key.to_user_string()].names
            for origin in origins:
                assert origin.column_name in TABLES[origin.asset_key.to_user_string()].names
                derived += 1
    assert derived > 60


def test_every_asset_that_reads_another_has_column_lineage() -> None:
    for asset in ALL_ASSETS:
        (spec,) = asset.specs
        if not spec.deps:
            continue
        assert spec.metadata["dagster/column_lineage"].deps_by_column, spec.key


def test_dg_checks_the_definitions(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "COSMO_STATE": str(tmp_path),
        "COSMO_DATA": str(tmp_path),
        "DG_CLI_CONFIG": "/dev/null",
    }
    command = [str(Path(sys.executable).with_name("dg")), "check", "defs", "--no-check-yaml"]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_workspace_and_the_instance_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSMO_STATE", str(tmp_path))
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(ROOT))) as instance:
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1
    from dagster._core.workspace.load import location_origins_from_yaml_paths

    (origin,) = location_origins_from_yaml_paths([str(ROOT / "workspace.yaml")])
    assert origin.loadable_target_origin.module_name == "cosmo_assets.definitions"
