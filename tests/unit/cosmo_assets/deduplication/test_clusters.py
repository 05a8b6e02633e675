"""The stages of deduplication: who survives, over buckets, versions and corpora, and the account of it."""

import random
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from cosmo_assets.deduplication import clusters, embeddings, signatures, verdicts
from cosmo_resources.errors import CosmoError
from tests.unit.cosmo_assets.deduplication.corpus import Corpus, Document, deduplicate, verdicts_of
from tests.unit.cosmo_assets.deduplication.texts import changed, text
from tests.unit.cosmo_assets.deduplication.wordbag import WordBag

ALL_METHODS = {"methods": [{"method": name} for name in ("exact", "minhash", "passages")]}


def family(key: str, buckets: int) -> list[Document]:
    """A text, an exact copy, a near-duplicate, an excerpt of it, and a text of its own, over buckets."""
    draw = random.Random(key)
    one = text(key, 400)
    texts = [one, one.upper(), changed(one, 7), " ".join(one.split()[:200]), text(f"{key} own", 90)]
    return [Document(text, draw.randrange(buckets), template=f"template {draw.randrange(3)}") for text in texts]


def corpus(buckets: int) -> Corpus:
    documents = [document for number in range(12) for document in family(f"family {number}", buckets)]
    return Corpus(documents, buckets, deduplication=ALL_METHODS)


def test_methods_follow_one_another_and_the_best_of_all_stands_for_the_others(tmp_path: Path) -> None:
    one = text("one", 400)
    best, copied, near, excerpt, own = documents = [
        Document(one + " and more", name="d"),
        Document(one.upper() + " AND MORE", name="e"),
        Document(changed(one, 7), name="a"),
        Document(" ".join(one.split()[:200]), name="b"),
        Document(text("own"), name="c"),
    ]
    space, _ = Corpus(documents, deduplication=ALL_METHODS).build(tmp_path)
    assert verdicts_of(space) == {
        best.doc_id: (None, None),
        copied.doc_id: ("exact", "d"),
        near.doc_id: ("minhash", "d"),
        excerpt.doc_id: ("passages", "d"),
        own.doc_id: (None, None),
    }
    rows = space.store.open("duplicate_clusters").table().to_pylist()
    found = [(row["doc_id"], row["method"], row["survivor"], row["cluster_size"], row["duplicate_of"]) for row in rows]
    assert found == [
        ("a", "minhash", "d", 2, "d"),
        ("b", "passages", "d", 2, "d"),
        ("d", "exact", "d", 2, None),
        ("d", "minhash", "d", 2, None),
        ("d", "passages", "d", 2, None),
        ("e", "exact", "d", 2, "d"),
    ]


def test_what_one_method_keeps_and_the_next_one_drops_is_never_named(tmp_path: Path) -> None:
    one = text("one", 300)
    documents = [
        Document(one, name="small"),
        Document(one, name="smaller"),
        Document(changed(one, 3) + " with more at the end", name="longest"),
    ]
    space, _ = Corpus(documents).build(tmp_path)
    assert verdicts_of(space) == {
        "longest": (None, None),
        "small": ("minhash", "longest"),
        "smaller": ("exact", "longest"),
    }


@pytest.mark.parametrize(
    ("policy", "stays"),
    [(["quality", "words"], "whole"), (["words", "quality"], "long"), (["words"], "cut"), ([], "any")],
    ids=["quality", "words, quality", "words", "id"],
)
def test_the_policy_decides_which_one_is_kept(tmp_path: Path, policy: list[str], stays: str) -> None:
    one = text("one", 300)
    documents = [
        Document(one, name="whole", repetition=0.02),
        Document(changed(one, 9) + " longer by this", name="cut", finish_reason="length"),
        Document(changed(one, 5) + " longer by that", name="long", repetition=0.3),
        Document(changed(one, 1), name="any", repetition=0.2),
    ]
    space, _ = Corpus(documents, deduplication={"survivor": policy}).build(tmp_path)
    assert {name for name, (method, _) in verdicts_of(space).items() if method is None} == {stays}
    assert {other for _, other in verdicts_of(space).values()} == {None, stays}


def test_a_nuance_of_quality_does_not_decide_before_the_length(tmp_path: Path) -> None:
    one = text("one", 300)
    documents = [
        Document(one, name="a", repetition=0.01),
        Document(changed(one, 4) + " more", name="b", repetition=0.03),
    ]
    space, _ = Corpus(documents).build(tmp_path)
    assert verdicts_of(space)["a"] == ("minhash", "b")


def test_what_decontamination_dropped_is_no_reason_to_drop_another(tmp_path: Path) -> None:
    one = text("one", 300)
    documents = [Document(one + " and more", name="contaminated", keep=False), Document(one, name="clean")]
    space, _ = Corpus(documents).build(tmp_path)
    assert verdicts_of(space) == {"clean": (None, None)}


def test_buckets_make_no_difference(tmp_path: Path) -> None:
    found = []
    for buckets in (1, 2, 5):
        made = corpus(buckets)
        named = [replace(document, name=f"{number:032x}") for number, document in enumerate(made.documents)]
        space, _ = replace(made, documents=named).build(tmp_path / f"{buckets}")
        found.append(verdicts_of(space))
    assert found[0] == found[1] == found[2]
    assert {method for method, _ in found[0].values()} == {None, "exact", "minhash", "passages"}


def sign_bucket(folder: Path, bucket: str) -> str:
    return signatures.build(corpus(7).workspace(folder), bucket).version


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_any_number_of_workers_finds_the_same_clusters(tmp_path: Path, workers: int) -> None:
    """Versions too are those of one process that does all of it."""
    space, alone = corpus(7).build(tmp_path / "alone")
    apart = corpus(7).put(tmp_path / "apart")
    names = [f"b{number:03d}" for number in range(7)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        signed = list(pool.map(sign_bucket, [tmp_path / "apart"] * 7, reversed(names)))
    assert signed[::-1] == [manifest.version for manifest in alone[:7]]
    assert [manifest.version for manifest in deduplicate(apart)] == [manifest.version for manifest in alone]
    assert verdicts_of(apart) == verdicts_of(space)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.unit.cosmo_assets.deduplication.test_clusters import corpus
from cosmo_assets.deduplication import clusters, signatures, verdicts

space, left = corpus(2).workspace(Path(sys.argv[1])), int(sys.argv[2])
steps = [lambda b=b: signatures.build(space, b) for b in ("b000", "b001")]
steps += [lambda: clusters.build(space)]
steps += [lambda b=b: verdicts.build(space, b) for b in ("b000", "b001")]
for number, step in enumerate(steps):
    if number == left:
        from cosmo_resources.storage import writer
        writer.DatasetWriter.finish = lambda self, **_: os.kill(os.getpid(), signal.SIGKILL)
    step()
"""


def test_killed_between_and_within_all_stages_it_comes_out_the_same(tmp_path: Path) -> None:
    """Each run is killed in the next stage, when all its files are written and its manifest is not."""
    space, expected = corpus(2).build(tmp_path / "whole")
    killed = corpus(2).put(tmp_path / "killed")
    for left in range(5):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(left)]
        assert subprocess.run(command, timeout=300).returncode == -9
    assert [manifest.version for manifest in deduplicate(killed)] == [manifest.version for manifest in expected]
    assert verdicts_of(killed) == verdicts_of(space)


def test_new_documents_are_compared_with_old_ones_that_are_not_signed_again(tmp_path: Path) -> None:
    old, new = text("old", 300), text("new", 300)
    before = Corpus([Document(old, 0, name="b"), Document(text("other"), 1, name="c")], buckets=2)
    space, first = before.build(tmp_path)
    after = replace(
        before, documents=[*before.documents, Document(changed(old, 5), 1, name="d"), Document(new, 1, name="e")]
    )
    space, second = after.build(tmp_path)
    assert verdicts_of(space)["d"] == ("minhash", "b")
    assert (second[0].version, second[0].run) == (first[0].version, first[0].run)
    assert (second[1].run["computed_rows"], second[1].run["reused_rows"]) == (2, 1)
    _, fresh = after.build(tmp_path / "scratch")
    assert [manifest.version for manifest in second] == [manifest.version for manifest in fresh]


def test_another_policy_signs_nothing_again(tmp_path: Path) -> None:
    made = Corpus(family("one", 1))
    _, first = made.build(tmp_path)
    _, second = replace(made, deduplication={"survivor": ["words"]}).build(tmp_path)
    assert second[0].run == first[0].run
    assert second[1].version != first[1].version


def test_documents_of_another_corpus_stay_and_are_not_repeated(tmp_path: Path) -> None:
    one, other, own = text("one", 300), text("other", 300), text("own", 300)
    documents = [
        Document(one, name="old"),
        Document(changed(one, 3), name="old twin"),
        Document(other, 1, name="old other"),
    ]
    Corpus(documents, buckets=2, name="released").build(tmp_path)
    new = [
        Document(changed(one, 9) + " longer and so better", name="new"),
        Document(own, name="own"),
        Document(own, name="own twin"),
    ]
    space, made = Corpus(new, deduplication={"against": ["released"]}).build(tmp_path)
    assert verdicts_of(space) == {"new": ("minhash", "old"), "own": (None, None), "own twin": ("exact", "own")}
    rows = space.store.open("duplicate_clusters").table().to_pylist()
    assert {row["doc_id"]: row["corpus"] for row in rows} == {"new": "released", "own": None, "own twin": None}
    assert made[1].summary["documents_of_other_corpora"] == 2
    assert "released/deduplicated" in {ref.asset for ref in made[1].inputs}
    assert {"template": "blogpost", "of_template": "(another corpus)", "documents": 1} in made[1].summary["pairs"]


def test_a_corpus_that_is_signed_in_another_way_or_not_there_is_refused(tmp_path: Path) -> None:
    Corpus([Document(text("one"))], name="released", deduplication=ALL_METHODS).build(tmp_path)
    space = Corpus([Document(text("one"))], deduplication={"against": ["released"]}).put(tmp_path)
    signatures.build(space, "b000")
    with pytest.raises(CosmoError, match=r"signatures of released.*\n.*same methods"):
        clusters.build(space)
    missing = Corpus([Document(text("one"))], name="new", deduplication={"against": ["unknown"]}).put(tmp_path)
    signatures.build(missing, "b000")
    with pytest.raises(CosmoError, match="no corpus unknown"):
        clusters.build(missing)


def test_meanings_are_compared_where_the_recipe_says_so(tmp_path: Path) -> None:
    sentence = "The keeper of the lamp walks along the shore in the evening light."
    words = sentence.split()
    documents = [
        Document(sentence + " At last.", name="kept"),
        Document(" ".join(reversed(words)), name="same words"),
        Document(text("other", 40), name="other"),
    ]
    methods = [{"method": "exact"}, {"method": "semantic", "similarity": 0.9}]
    space = Corpus(documents, deduplication={"methods": methods}).put(tmp_path)
    signatures.build(space, "b000")
    with pytest.raises(CosmoError, match="text_embeddings of bucket b000 is not built yet"):
        clusters.build(space)
    embeddings.build(space, WordBag(), "b000")
    clusters.build(space)
    verdicts.build(space, "b000")
    assert verdicts_of(space) == {"kept": (None, None), "same words": ("semantic", "kept"), "other": (None, None)}


def test_an_embedded_document_is_not_embedded_again(tmp_path: Path) -> None:
    made = Corpus([Document(text(f"{number}")) for number in range(4)])
    space = made.put(tmp_path)
    assert embeddings.build(space, WordBag(), "b000").run["computed_rows"] == 4
    more = replace(made, documents=[Document(text("new")), *made.documents]).put(tmp_path)
    built = embeddings.build(more, WordBag(), "b000")
    assert (built.run["computed_rows"], built.run["reused_rows"]) == (1, 4)


def test_the_account_says_which_prompts_repeat_themselves(tmp_path: Path) -> None:
    one, other = text("one", 300), text("other", 300)
    documents = [
        Document(one + " longer", 0, source="pages", topic="lamps", template="story", name="a"),
        Document(one, 1, source="pages", topic="lamps", template="story", name="b"),
        Document(changed(one, 5), 1, source="books", topic=None, template="textbook", name="c"),
        Document(other + " longer", 0, source="books", topic="boats", template="textbook", name="d"),
        Document(other, 1, source="pages", topic="boats", template="story", name="e"),
        Document(text("own"), 1, source="books", topic="boats", template="wiki", name="f"),
    ]
    _, made = Corpus(documents, buckets=2).build(tmp_path)
    summary = made[2].summary
    assert {
        name: (row["documents"], row["removed"], row["share"])
        for row in summary["by_template"]
        for name in [row["template"]]
    } == {
        "story": (3, 2, 0.6667),
        "textbook": (2, 1, 0.5),
        "wiki": (1, 0, 0.0),
    }
    assert {row["source"]: row["removed"] for row in summary["by_source"]} == {"pages": 2, "books": 1}
    assert {row["topic"]: row["removed"] for row in summary["by_topic"]} == {"lamps": 1, None: 1, "boats": 1}
    assert {(row["template"], row["of_template"]): row["documents"] for row in summary["pairs"]} == {
        ("story", "story"): 1,
        ("textbook", "story"): 1,
        ("story", "textbook"): 1,
    }
    assert summary["sizes"] == [[2, 1], [3, 1]]
    assert summary["clusters"] == 2 and summary["in_clusters"] == 5
    assert summary["examples"][0] == {"method": "minhash", "survivor": "a", "size": 3, "documents": ["b", "c"]}
    tokens = sum(len(document.text.split()) for document in documents if document.name in "bce")
    assert [row["tokens"] for row in summary["methods"]] == [0, tokens]
    flows = [manifest.flow for manifest in made[3:]]
    assert sum(flow.dropped.get("duplicate_minhash", 0) for flow in flows) == 3
    assert all(flow.balanced for flow in flows)


def test_a_bucket_without_documents_is_no_obstacle(tmp_path: Path) -> None:
    space, made = Corpus([Document(text("one"), 1, name="a")], buckets=3, deduplication=ALL_METHODS).build(tmp_path)
    assert verdicts_of(space) == {"a": (None, None)}
    space, made = Corpus([], deduplication=ALL_METHODS).build(tmp_path / "none")
    assert made[1].rows == 0


def test_a_large_cluster_has_one_survivor(tmp_path: Path) -> None:
    texts = [f"{text('one', 60)} {number}" for number in range(3000)]
    documents = [Document(each, number % 3, name=f"{number:05d}") for number, each in enumerate(texts)]
    space, made = Corpus(documents, buckets=3).build(tmp_path)
    found = verdicts_of(space)
    assert [name for name, (method, _) in found.items() if method is None] == ["00000"]
    assert made[3].summary["sizes"] == [[3000, 1]]
