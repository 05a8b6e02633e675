"""The demo recipe on the real embedded engine, with fewer prompts than `make demo` renders."""

import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import yaml

from cosmo_assets.build import PER_BUCKET
from cosmo_assets.recipe.recipe import SHIPPED, load_recipe
from cosmo_assets.tokenization.shards import map_shard
from cosmo_resources.storage.store import CorpusStore
from tests.corpora import ROOT, Corpus
from tests.doubles.replay_server import replaying
from tests.e2e.pages import Reader, commands_of
from tests.e2e.services import services
from tests.e2e.shares import check_few_near_duplicates, check_shares, drawn_shares, wanted_shares
from tests.similar_pairs import check_recall, compared_texts
from tests.unit.test_documents import FENCE, text_of

EMBEDDED = {"engine": "embedded", "model": "smollm2-135m-instruct"}
TEMPLATES = ROOT / "cosmo_assets" / "prompts" / "templates"
RECIPES = SHIPPED.relative_to(ROOT)
LOW_VALUE = ("advertising", "gossip", "obituaries")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The demo corpus with a third of its prompts, built as a user would build it."""
    folder = tmp_path_factory.mktemp("demo")
    fields = yaml.safe_load((SHIPPED / "demo.yaml").read_text(encoding="utf-8"))
    shutil.copytree(SHIPPED / "demo", folder / RECIPES / "demo")
    for entry in (*fields["sources"], *fields["decontamination"]["benchmarks"]):
        entry["path"] = str(RECIPES / entry["path"])
    for mix in fields["prompts"]["mixes"].values():
        for use in mix["templates"]:
            use["per_seed"] /= 3
    fields["generation"]["max_tokens"] = 160
    corpus = Corpus(folder)
    corpus.recipe_path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    cosmo(corpus, "run")
    return corpus


@pytest.fixture(scope="module")
def demo(built: Corpus) -> CorpusStore:
    return CorpusStore(built.data / "demo")


def cosmo(corpus: Corpus, *arguments: str) -> str:
    process = corpus.command("", *arguments, deployment="laptop", concurrency=32)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def seed_rows(store: CorpusStore) -> dict[str, dict[str, object]]:
    return {row["seed_id"]: row for row in store.open("seed_documents").table().to_pylist()}


def test_every_kind_of_source_gives_seeds_and_what_was_planted_is_found(demo: CorpusStore) -> None:
    manifest = demo.open("seed_documents").manifest
    assert manifest.rows >= 300
    assert all(part["kept"] for part in manifest.summary["funnel"].values())
    assert len(manifest.summary["funnel"]) == 8
    dropped, failed = manifest.flow.dropped, manifest.flow.failed
    assert dropped["exact_duplicate"] == 1
    assert dropped["near_duplicate"] >= 4
    assert dropped["language"] == 2
    assert dropped["boilerplate"] == 1
    assert failed == {"invalid_json": 1, "missing_field": 1}
    masked = {row["native_id"]: row["masked"] for row in seed_rows(demo).values() if row["masked"]}
    assert {f"mixed-pii-{number}" for number in range(1, 6)} <= set(masked)
    texts = " ".join(str(row["text"]) for row in seed_rows(demo).values())
    assert not re.search(r"[\w.]+@[\w.]+\.example", texts)


def test_the_topic_filter_drops_advertising_gossip_and_obituaries_and_little_else(demo: CorpusStore) -> None:
    seeds = seed_rows(demo)
    rejected = demo.open("prompt_table").rejected()
    assert rejected is not None
    gone = {row["place"] for row in rejected.to_pylist() if row["reason"] == "heading_denied"}
    kinds: Counter[tuple[bool, bool]] = Counter()
    for identity, row in seeds.items():
        if row["source"] == "web_pages":
            kinds[str(row["native_id"]).startswith(LOW_VALUE), identity in gone] += 1
    assert kinds[True, True] >= 0.9 * (kinds[True, True] + kinds[True, False])
    assert kinds[False, True] <= 0.05 * (kinds[False, True] + kinds[False, False])
    labels = demo.open("topic_labels").table().to_pylist()
    assert all(label["status"] == "ok" for label in labels)
    assert len({label["topic"] for label in labels}) >= 8


def test_the_contaminated_page_cannot_reach_the_corpus(demo: CorpusStore) -> None:
    """Its prompts hold the item. What the model makes of them is dropped for it, or was before for its quality."""
    (seed,) = [key for key, row in seed_rows(demo).items() if row["native_id"] == "mixed-contaminated-1"]
    (marked,) = demo.open("contaminated_seeds").table().to_pylist()
    assert (marked["seed_id"], marked["items"]) == (seed, ["reading_qa:reading-007"])
    prompts = {row["prompt_id"] for row in demo.open("prompt_table").table().to_pylist() if row["seed_id"] == seed}
    assert prompts

    def rows(asset: str) -> list[dict[str, Any]]:
        return [row for bucket in demo.buckets(asset) for row in demo.open(asset, bucket).table().to_pylist()]

    documents = {row["doc_id"] for row in rows("generations") if row["prompt_id"] in prompts}
    bad = {row["doc_id"] for row in rows("generation_quality") if not row["keep"]}
    found = [row for row in rows("decontaminated") if not row["keep"]]
    assert {row["doc_id"] for row in found} == documents - bad
    assert all((row["benchmark"], row["item"]) == ("reading_qa", "reading-007") for row in found)
    lineage = demo.open("token_lineage").table().to_pylist()
    assert seed not in {row["seed_id"] for row in lineage}


def test_the_corpus_is_whole(demo: CorpusStore) -> None:
    lineage = demo.open("token_lineage").manifest
    shards = demo.open("tokenized_shards").manifest
    assert lineage.summary["tokens"] == shards.summary["tokens"] > 2000
    page = (demo.open("corpus_report").folder / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert not re.search(r"(?:src|href)=[\"']https?:", page)


def test_datasets_opens_the_export(demo: CorpusStore) -> None:
    export = demo.open("corpus_export")
    found = datasets.load_dataset(str(export.folder), split="train")
    assert found.num_rows == demo.open("mixture").manifest.rows
    assert set(found["seed_data"]) <= set(demo.open("prompt_table").table()["source"].to_pylist())


def test_prompts_have_the_shares_of_the_recipe_and_few_say_the_same(demo: CorpusStore) -> None:
    recipe = load_recipe("demo")
    check_shares(wanted_shares(demo, recipe), drawn_shares(demo, recipe))
    check_few_near_duplicates(demo)


def test_similar_texts_are_found_as_often_as_promised(demo: CorpusStore) -> None:
    texts = compared_texts(demo)
    seeds = [row["text"] for row in demo.open("seed_documents").table(["text"]).to_pylist()]
    check_recall([*texts, *seeds])
    planted = check_recall([*texts, *seeds], [f"{seed} Once more." for seed in seeds])
    assert planted > len(seeds) / 2


def test_a_source_is_withdrawn_and_nothing_of_it_is_left_on_disk(built: Corpus, tmp_path: Path) -> None:
    shutil.copytree(built.folder, tmp_path / "copy", copy_function=os.link)  # files of a corpus are never written again
    corpus = Corpus(tmp_path / "copy")
    store = CorpusStore(corpus.data / "demo")
    sources = {row["prompt_id"]: row["source"] for row in store.open("prompt_table").table().to_pylist()}
    before, versions = tokens_of(store), store_versions(store)
    gone = {doc for doc, (prompt, _) in before.items() if sources[prompt] == "openstax"}
    assert 0 < len(gone) < len(before)
    cosmo(corpus, "purge", "--source", "openstax", "--apply", "--why", "the publisher asked", "--who", "A. Editor")
    cosmo(corpus, "run")
    assert tokens_of(store) == {doc: found for doc, found in before.items() if doc not in gone}
    now = store_versions(store)
    made = {"withdrawals", "mixture", "tokenized_shards", "token_lineage", "corpus_report", "corpus_export"}
    assert {name for name in versions if now[name] != versions[name]} == made
    shards = set(store.root.rglob("*.ds"))
    cosmo(corpus, "gc", "--delete")
    left = set(store.root.rglob("*.ds"))
    assert left < shards, "the earlier version of the shards went"
    assert left == {store.open("tokenized_shards").folder / name for name in {path.name for path in left}}
    everything = b"".join(path.read_bytes() for path in sorted(left))
    assert not any(copy in everything for doc in gone for copy in before[doc][1])
    assert store_versions(store) == now
    cosmo(corpus, "purge", "--source", "openstax", "--restore", "--apply", "--why", "they agreed")
    cosmo(corpus, "run")
    assert tokens_of(store) == before, "what was collected can be made again"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("launched", ["in the UI", "by the schedule"])
def test_all_buckets_by_the_daemon_that_is_killed_in_the_middle(built: Corpus, tmp_path: Path, launched: str) -> None:
    """Rows that were sealed before the kill are these very files in the end, and every document stands there once. Its
    words may be others: a model answers by what else is asked at the time."""
    shutil.copytree(built.folder, tmp_path / "copy", copy_function=os.link)
    corpus = Corpus(tmp_path / "copy")
    store = CorpusStore(corpus.data / "demo")
    buckets = store.buckets("generations")
    wanted = documents_by_bucket(store)
    assert len(buckets) == len(wanted) == 4
    for asset in PER_BUCKET:
        shutil.rmtree(store.root / asset)
    site = tmp_path / "site.yaml"
    night = {"window": "00:00-00:00", "every_minutes": 1, "buckets": len(buckets), "at_once": len(buckets)}
    site.write_text(yaml.safe_dump({"server": EMBEDDED, "nightly": night}), encoding="utf-8")
    corpus.state.mkdir(parents=True, exist_ok=True)
    with services(corpus.environment("", concurrency=32, deployment=str(site)), tmp_path) as dagster:
        backfill = ""
        if launched == "in the UI":
            backfill = dagster.backfill(PER_BUCKET, buckets)
        else:
            dagster.start_schedule("nightly")
        place = store.root / "generations"
        dagster.until("a sealed shard", lambda: list(place.glob("*/.work/*/shard-*.done.json")))
        dagster.kill("daemon")
        sealed = {path.stat().st_ino for path in place.glob("*/.work/*/shard-*.parquet") if _sealed(path)}
        assert sealed
        dagster.start("daemon")
        if backfill:
            assert dagster.end_of(backfill) == "COMPLETED_SUCCESS"
        dagster.until("the last bucket", lambda: set(buckets) <= dagster.succeeded())
        killed = [run for run in dagster.runs() if run["status"] == "FAILURE"]
        assert 1 <= len(killed) <= 2, "what was killed is ended, and repeated; two runs at most go on at a time"
    assert documents_by_bucket(store) == wanted
    for bucket in buckets:
        made_of = {ref.asset: ref.version for ref in store.open("text_signatures", bucket).manifest.inputs}
        assert made_of["generations"] == store.current_version("generations", bucket)
    parts = {path.stat().st_ino for bucket in buckets for path in store.open("generations", bucket).paths()}
    assert sealed <= parts, "nothing was made twice"


READ_ON_THE_DEMO = (
    "README.md",
    "docs/tutorial.md",
    "docs/lineage.md",
    "docs/withdrawal.md",
    "docs/mixture.md",
    "docs/operating.md",
    "docs/prompts.md",
    "docs/recipes.md",
    "docs/generation.md",
)
OF_OTHER_TESTS = {
    "make ": "Makefile",
    "my-cluster.yaml": "tests/slurm",
    "cosmo doctor --slurm": "tests/slurm",
    "cosmo tune": "tests/slurm",
    "vllm serve": "tests/engines.py",
    "/path/to/samples": "tests/e2e/test_real_sample.py",
    "--recipe real-sample": "tests/e2e/test_real_sample.py",
}
"""What of these pages needs a cluster, a GPU or sample data, and which tests run it; verbs have their recipe in the
Makefile."""


@pytest.mark.timeout(1500)
def test_the_commands_of_these_pages_run_as_they_stand(built: Corpus, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(built.data, project / ".cosmo" / "data", copy_function=os.link)
    shutil.copytree(SHIPPED / "demo", project / RECIPES / "demo")
    shutil.copy(built.recipe_path, project / "recipe.yaml")
    shutil.copy(built.recipe_path, project / "my-corpus.yaml")
    (project / "drafts").mkdir()
    shutil.copy(TEMPLATES / "story_morality.md", project / "drafts")
    store = CorpusStore(project / ".cosmo" / "data" / "demo")
    row = store.open("token_lineage").table().to_pylist()[0]
    piece = " ".join(document_text(store, row["doc_id"]).split()[:12])
    (project / "piece.txt").write_text(piece, encoding="utf-8")
    with replaying() as model:
        means = {
            "3f2a9c": row["doc_id"][:10],
            "75473dfb": row["prompt_id"][:10],
            "9b01": row["seed_id"][:10],
            "a piece of text, pasted": piece,
            "http://gpu-1:8000/v1,http://gpu-2:8000/v1": model.url,
            "http://127.0.0.1:8000/v1": model.url,
            "--model other-model": "--model replay",
        }
        for page in READ_ON_THE_DEMO:
            environment = {
                **built.environment(model.url, deployment="laptop"),
                "COSMO_RECIPE": str(project / "recipe.yaml"),
                "COSMO_DATA": str(project / ".cosmo" / "data"),
                "COSMO_STATE": str(project / ".cosmo" / "state"),
            }
            reader = Reader.at(project, environment, means)
            blocks = [body for language, body in FENCE.findall(text_of(ROOT / page)) if language == "bash"]
            commands = [command for block in blocks for command in commands_of(block)]
            assert commands
            for command in commands:
                if not any(part in command for part in OF_OTHER_TESTS):
                    reader.type(command)
    assert all((ROOT / place).exists() for place in OF_OTHER_TESTS.values())


def document_text(store: CorpusStore, name: str) -> str:
    rows = (
        row for bucket in store.buckets("generations") for row in store.open("generations", bucket).table().to_pylist()
    )
    return next(str(row["text"]) for row in rows if row["doc_id"] == name)


def documents_by_bucket(store: CorpusStore) -> dict[str, list[tuple[str, str]]]:
    """The documents of each bucket with their prompts, sorted."""
    return {
        bucket: sorted(
            (row["doc_id"], row["prompt_id"]) for row in store.open("generations", bucket).table().to_pylist()
        )
        for bucket in store.buckets("generations")
    }


def _sealed(parquet: Path) -> bool:
    return parquet.with_suffix(".done.json").is_file()


def tokens_of(store: CorpusStore) -> dict[str, tuple[str, list[bytes]]]:
    """The prompt of every document of the shards, and the tokens of each of its copies."""
    shards = store.open("tokenized_shards")
    found: dict[str, tuple[str, list[bytes]]] = {}
    prompts = {
        row["doc_id"]: row["prompt_id"]
        for bucket in store.buckets("generations")
        for row in store.open("generations", bucket).table(["doc_id", "prompt_id"]).to_pylist()
    }
    for row in shards.table().to_pylist():
        ids = map_shard(shards.folder / row["shard"])[row["start"] : row["end"]]
        found.setdefault(row["doc_id"], (prompts[row["doc_id"]], []))[1].append(np.asarray(ids).tobytes())
    return found


def store_versions(store: CorpusStore) -> dict[str, object]:
    """The current version of every asset, of those in buckets that of each."""
    return {
        asset: [store.current_version(asset, bucket) for bucket in ("all", *store.buckets(asset))]
        for asset in store.assets()
    }
