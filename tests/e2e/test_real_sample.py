"""The same factory on real text: FineWeb-Edu, 20 Newsgroups, Wikipedia, OpenStax, a course catalogue."""

from collections import Counter
from pathlib import Path

import pytest

from cosmo_assets.automation import materialize, plan_runs
from cosmo_assets.build import ON_REQUEST, assets_of, name_of
from cosmo_assets.recipe.recipe import Recipe, load_recipe
from cosmo_resources.deployments import settings
from cosmo_resources.storage.store import CorpusStore
from tests.corpora import Corpus
from tests.doubles.replay_server import replaying
from tests.e2e.shares import check_few_near_duplicates, check_shares, drawn_shares, stored_shares, wanted_shares
from tests.similar_pairs import check_recall, compared_texts

pytestmark = pytest.mark.samples


def asked_in_chat(recipe: Recipe) -> Recipe:
    """The recipe for a model that answers questions, as the replay server does; the embedded one continues texts."""
    outlines = recipe.prompts.outlines
    assert outlines is not None
    topics = recipe.topics.model_copy(update={"labelling": recipe.topics.labelling.model_copy(update={"form": "chat"})})
    prompts = recipe.prompts.model_copy(update={"outlines": outlines.model_copy(update={"form": "chat"})})
    return recipe.model_copy(update={"topics": topics, "prompts": prompts})


@pytest.fixture(scope="module")
def sample(samples_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> CorpusStore:
    import dagster as dg

    corpus = Corpus(tmp_path_factory.mktemp("real"))
    with pytest.MonkeyPatch.context() as patch, replaying() as server, dg.DagsterInstance.ephemeral() as instance:
        server.topic = lambda prompt: prompt.split("fits them best from: ")[1].split(". ")[0].split(";")[0]
        patch.setenv("COSMO_SAMPLES", str(samples_folder))
        recipe = asked_in_chat(load_recipe("real-sample"))
        chosen = settings({**corpus.environment(server.url, workers=2, concurrency=16), "COSMO_RECIPE": "real-sample"})
        materialize(recipe, chosen, instance, plan_runs(recipe))
    return CorpusStore(corpus.data / "real-sample")


def test_every_real_source_gives_seeds(sample: CorpusStore) -> None:
    manifest = sample.open("seed_documents").manifest
    kept = {name: part["kept"] for name, part in manifest.summary["funnel"].items()}
    assert kept["fineweb_edu"] > 90
    assert kept["newsgroups"] > 120
    assert kept["wikipedia"] > 90
    assert kept["openstax"] > 80
    assert kept["uiuc_courses"] > 80
    assert kept["pile"] > 60
    assert kept["web_archives"] > 20
    assert kept["stackoverflow"] > 90
    assert kept["khan"] > 60
    assert kept["self_instruct"] > 60
    assert manifest.flow.balanced


def test_a_topic_is_named_for_nearly_every_seed(sample: CorpusStore) -> None:
    labels = sample.open("topic_labels").table().to_pylist()
    assert all(label["status"] == "ok" for label in labels)
    topics = Counter(row["topic"] for row in sample.open("seed_topics").manifest.summary["clusters"])
    assert len(topics) >= 8


def test_real_prompts_become_a_traceable_corpus(sample: CorpusStore) -> None:
    prompts = sample.open("prompt_table").manifest
    assert 60 <= prompts.summary["prompts"] <= 400
    lineage = sample.open("token_lineage")
    assert lineage.manifest.summary["documents"] > 50
    assert {row["licence"] for row in lineage.table(["licence"]).to_pylist()} >= {
        "ODC-By-1.0",
        "CC-BY-SA-4.0",
        "CC-BY-4.0",
    }


def test_prompts_have_the_shares_of_the_recipe_and_few_say_the_same(sample: CorpusStore) -> None:
    recipe = load_recipe("real-sample")
    wanted = wanted_shares(sample, recipe)
    check_shares(wanted, drawn_shares(sample, recipe))
    check_shares(wanted, stored_shares(sample))
    check_few_near_duplicates(sample)


def test_every_stage_conserves_rows_and_tokens(sample: CorpusStore) -> None:
    looked_at = set()
    for asset in sample.assets():
        for bucket in sample.buckets(asset):
            dataset = sample.current(asset, bucket)
            assert dataset is not None
            assert dataset.manifest.flow.balanced, (asset, bucket)
            looked_at.add(asset)
    assert looked_at == {name_of(asset) for asset in assets_of(load_recipe("real-sample"))} - set(ON_REQUEST)


def test_similar_texts_are_found_as_often_as_promised(sample: CorpusStore) -> None:
    texts = compared_texts(sample)
    seeds = [row["text"] for row in sample.open("seed_documents").table(["text"]).to_pylist()]
    check_recall([*texts, *seeds])
    planted = check_recall([*texts, *seeds], [f"{seed} Once more." for seed in seeds])
    assert planted > len(seeds) / 2
