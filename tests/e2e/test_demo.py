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

from cosmo_assets.recipe.recipe import SHIPPED, load_recipe
from cosmo_assets.tokenization.shards import map_shard
from cosmo_resources.storage.store import CorpusStore
from tests.corpora import Corpus
from tests.e2e.shares import check_few_near_duplicates, check_shares, drawn_shares, wanted_shares
from tests.similar_pairs import check_recall, compared_texts

LOW_VALUE = ("advertising", "gossip", "obituaries")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The demo corpus with a third of its prompts, built as a user would build it."""
    folder = tmp_path_factory.mktemp("demo")
    fields = yaml.safe_load((SHIPPED / "demo.yaml").read_text(encoding="utf-8"))
    for source in fields["sources"]:
        source["path"] = str(SHIPPED / source["path"])
    for benchmark in fields["decontamination"]["benchmarks"]:
        benchmark["path"] = str(SHIPPED / benchmark["path"])
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
