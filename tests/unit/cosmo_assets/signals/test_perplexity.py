"""Perplexity of a corpus's texts: by whom each is judged, what is drawn into the reference, and when models change."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.ids import seed_id
from cosmo_assets.recipe.selection import KeepRanks
from cosmo_assets.selection.keeping import within_ranks
from cosmo_assets.signals import perplexity, stage
from cosmo_assets.signals.checks import MODEL_CHECKS
from cosmo_assets.signals.kneser_ney import train
from cosmo_assets.signals.perplexity import Judges, halves, sample
from cosmo_assets.stage import Workspace
from cosmo_resources.embedding.minilm import pipeline_embedder
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import put, recipe

TEXTS = [prose(f"text/{number}", 40) for number in range(60)]
WORDS = [60, 20, 0, 40, 80]

texts = st.lists(st.sampled_from("abcde"), min_size=1, max_size=12).map(" ".join)


def workspace_in(folder: Path, written: Sequence[str] = TEXTS, *, version: str = "1", **fields: Any) -> Workspace:
    """Seeds of these texts, in this order."""
    workspace = Workspace(CorpusStore(folder), recipe(signals=["perplexity"], perplexity=fields))
    rows = [{"seed_id": seed_id("pages", text, text), "text": text} for text in written]
    put(workspace, "seed_documents", {None: rows}, version=version)
    return workspace


def judged(folder: Path, written: Sequence[str], **fields: Any) -> dict[str, dict[str, Any]]:
    """The figures of seeds, by their text."""
    workspace = workspace_in(folder, written, **fields)
    perplexity.fit(workspace)
    stage.build_seeds(workspace, "perplexity", pipeline_embedder)
    rows = workspace.store.open("seed_perplexity").table().to_pylist()
    return {text: next(row for row in rows if row["seed_id"] == seed_id("pages", text, text)) for text in written}


def judges(reference: Sequence[str]) -> Judges:
    """Models of the halves of a reference, and of one text more each, so that none is empty."""
    side = halves(pa.array([*reference], pa.string())).tolist()
    first, second = (
        train([f"w{half} a b c d e", *(text for text, of in zip(reference, side, strict=True) if of == half)])
        for half in (0, 1)
    )
    return Judges((first, second))


@settings(deadline=None, max_examples=30)
@given(st.lists(texts, max_size=8), texts)
def test_a_text_is_judged_the_same_whether_or_not_the_reference_has_it(reference: list[str], text: str) -> None:
    shown = pa.chunked_array([[text, text.upper() + "!"]])
    without, with_it = (judges(part).figures(shown).to_pylist() for part in (reference, [*reference, text, text]))
    assert without == with_it
    assert without[0]["perplexity"] == without[1]["perplexity"], "case and punctuation decide nothing"


def test_a_model_that_has_read_a_text_finds_it_far_less_surprising() -> None:
    """What the halves are for."""
    shown = pa.array(TEXTS)
    found, side = judges(TEXTS), halves(shown)
    honest = found.score(shown).perplexity
    own = np.where(side == 0, found.models[0].score(shown).perplexity, found.models[1].score(shown).perplexity)
    assert 20 < side.sum() < 40
    assert (own < honest / 3).all()


def test_figures_are_those_of_their_definitions(tmp_path: Path) -> None:
    rows = judged(tmp_path, [*TEXTS, "the zebra", "…"])
    workspace = workspace_in(tmp_path, TEXTS)
    found = Judges.load(workspace.store.open("language_model"))
    shown = pa.array(["the zebra"])
    other = found.models[1 - int(halves(shown)[0])].score(shown)
    row = rows["the zebra"]
    assert row["perplexity"] == pytest.approx(np.exp(other.nll[0] / 3), abs=1e-4)
    assert row["bits_per_byte"] == pytest.approx(other.nll[0] / np.log(2) / len("the zebra"), abs=1e-4)
    assert row["unknown_word_share"] == 0.5
    assert rows["…"]["unknown_word_share"] == 0


def test_gibberish_is_more_perplexing_than_sentences_and_boilerplate_less(tmp_path: Path) -> None:
    """Why the middle is kept: what stands on every page surprises least."""
    draw = random.Random(1)
    letters = [" ".join("".join(draw.choices("abcdefghijkl", k=5)) for _ in range(40)) for _ in range(20)]
    notice = "Please accept all cookies and read our terms of use."
    notices = [f"{notice} {text.split('.')[0]}. {notice}" for text in TEXTS[:20]]
    pages = [f"{prose(f'other/{number}', 40)} {notice}" for number in range(200)]
    workspace = workspace_in(tmp_path, pages)
    perplexity.fit(workspace)
    found = Judges.load(workspace.store.open("language_model"))
    by_kind = [found.figures(pa.chunked_array([kind]))["perplexity"].to_numpy() for kind in (notices, TEXTS, letters)]
    assert by_kind[0].max() < by_kind[1].min()
    assert by_kind[1].max() < by_kind[2].min()
    scores = np.concatenate(by_kind)
    ids = pa.array([f"{number:032x}" for number in range(len(scores))])
    rule = KeepRanks(rule="ranks", signal="perplexity.perplexity", low=0.25, high=0.75)
    kept = within_ranks(scores, ids, rule.low, rule.high)
    assert not kept[:20].any()
    assert not kept[-20:].any()
    assert kept.sum() == 50


@settings(deadline=None)
@given(st.permutations(list(enumerate(WORDS))), st.integers(1, 250), st.integers(1, 3))
def test_the_sample_has_enough_words_and_not_one_text_more_in_any_order(
    order: list[tuple[int, int]], words: int, size: int
) -> None:
    rows = [{"id": f"seed-{number}", "text": " ".join(["word"] * count)} for number, count in order]
    parts = [pa.Table.from_pylist(rows[start : start + size]) for start in range(0, len(rows), size)]
    found = sample(parts, words)
    assert found == sample([pa.Table.from_pylist(sorted(rows, key=lambda row: row["id"]))], words)
    counted = [text.words for text in found]
    assert counted == [WORDS[int(text.id.removeprefix("seed-"))] for text in found]
    if len(found) < len(WORDS):
        assert sum(counted[:-1]) < words <= sum(counted)
        assert {text.id for text in found} == {text.id for text in sample(parts, 10_000)[: len(found)]}


def fit(workspace: Workspace, *, refit: bool = False) -> Manifest:
    return perplexity.fit(workspace, refit=refit)


def test_new_seeds_leave_the_model_until_somebody_refits(tmp_path: Path) -> None:
    first = fit(workspace_in(tmp_path, TEXTS[:50]))
    more = workspace_in(tmp_path, TEXTS, version="2")
    assert fit(more).version == first.version
    refitted = fit(more, refit=True)
    assert refitted.version != first.version
    assert refitted.summary["words"] == 60 * 40
    longer = fit(workspace_in(tmp_path, TEXTS, version="2", order=2))
    assert longer.version != refitted.version
    assert workspace_in(tmp_path, TEXTS, version="2").store.open("language_model").table()["order"].to_pylist() == [
        1, 2, 1, 2
    ]  # fmt: skip


def test_the_model_is_the_same_whatever_the_order_of_the_seeds(tmp_path: Path) -> None:
    one, other = (
        fit(workspace_in(tmp_path / name, written, words=900))
        for name, written in (("one", TEXTS), ("other", TEXTS[::-1]))
    )
    assert [(entry.name, entry.content) for entry in one.files] == [
        (entry.name, entry.content) for entry in other.files
    ]
    assert one.flow.rows_out == 23
    assert one.flow.dropped == {"not_drawn": 37}
    assert one.flow.balanced


def test_the_facts_of_the_model_are_those_of_its_files(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path)
    manifest = fit(workspace)
    dataset = workspace.store.open("language_model")
    found = Judges.load(dataset)
    rows = [(row["half"], row["order"], row["ngrams"]) for row in dataset.table().to_pylist()]
    sizes = [found.models[half].sizes for half in (0, 1)]
    assert rows == [(half, order, sizes[half][order - 1]) for half in (0, 1) for order in (1, 2, 3)]
    assert sum(half["texts"] for half in manifest.summary["halves"]) == 60
    verdicts = {check.name: check.test(manifest, workspace.recipe)[0] for check in MODEL_CHECKS}
    assert verdicts == {"enough_text": True, "halves_alike": True}


def test_a_reference_that_says_little_is_warned_of(tmp_path: Path) -> None:
    draw = random.Random(1)
    strange = [" ".join("".join(draw.choices("abcdefghijkl", k=5)) for _ in range(40)) for _ in range(20)]
    workspace = workspace_in(tmp_path, strange)
    manifest = fit(workspace)
    assert manifest.summary["unknown_word_share"] > 0.9
    verdicts = {check.name: check.test(manifest, workspace.recipe)[0] for check in MODEL_CHECKS}
    assert verdicts["enough_text"] is False
    uneven = manifest.model_copy(update={"summary": {**manifest.summary, "halves": [{"words": 9}, {"words": 1}]}})
    assert not MODEL_CHECKS[1].test(uneven, workspace.recipe)[0]


def test_a_reference_of_one_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="one has no words"):
        fit(workspace_in(tmp_path, TEXTS[:1]))
