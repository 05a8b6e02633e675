"""Signals by transformers that were really trained: against plain sums, in any company, and in a corpus."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from cosmo_assets.proxy.models import ModelFolder
from cosmo_assets.signals.neural import Judges
from cosmo_resources.errors import CosmoError
from tests.corpora import ROOT, Corpus, seeds
from tests.doubles.replay_server import WORDS, replaying
from tests.engines import python_with_torch

pytestmark = pytest.mark.slow
EARLY, LATE, TOKENS = "10", "160", 100
VOCABULARY = {word: number for number, word in enumerate(["?", *sorted({form for w in WORDS for form in (
    w, w.capitalize(), f"{w}.", f"{w.capitalize()}.")})])}  # fmt: skip


def drawn(seed: int, lengths: list[int]) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(1, len(VOCABULARY), length).tolist() for length in lengths]


KNOWN, FRESH = drawn(1, [96] * 6), drawn(2, [0, 1, 2, 17, 63, 64, 99, 100, 120])


def texts_of(tokens: list[list[int]]) -> list[str]:
    words = list(VOCABULARY)
    return [" ".join(words[token] for token in text) for text in tokens]


def of_torch(program: str, *arguments: object) -> str:
    command = [python_with_torch(), str(ROOT / "tests" / "doubles" / program), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout


@pytest.fixture(scope="module")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of a training that ends by knowing `KNOWN` by heart, and a tokenizer of whole words."""
    folder = tmp_path_factory.mktemp("llamas")
    (folder / "texts.json").write_text(json.dumps({"texts": KNOWN, "vocabulary": len(VOCABULARY)}))
    of_torch("tiny_llamas.py", folder, EARLY, LATE)
    tokenizer = tokenizers.Tokenizer(models.WordLevel(VOCABULARY, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    for name in (EARLY, LATE):
        tokenizer.save(str(folder / name / "tokenizer.json"))
    return folder


def measured(llamas: Path, tokens: list[list[int]]) -> list[dict[str, float]]:
    judges = Judges(tuple(ModelFolder(llamas / name, "") for name in (EARLY, LATE)), TOKENS, python_with_torch())
    return judges.figures(pa.chunked_array([pa.array(texts_of(tokens), pa.string())])).to_pylist()


def test_figures_are_those_of_plain_sums_over_the_vocabulary(llamas: Path, tmp_path: Path) -> None:
    some = [*KNOWN[:1], *FRESH]
    (tmp_path / "texts.json").write_text(json.dumps([text[:TOKENS] for text in some]))
    said = of_torch("plain_transformer.py", tmp_path / "texts.json", llamas / EARLY, llamas / LATE)
    plain, found = json.loads(said.splitlines()[-1]), measured(llamas, some)
    assert [row["el2n"] is None for row in found] == [len(text) < 2 for text in some]
    for text, row, (nats, error, known) in zip(texts_of(some), found, plain, strict=True):
        if nats is not None:
            assert row["perplexity"] == pytest.approx(np.exp(nats), rel=1e-6, abs=6e-5)
            words = text.split()[:TOKENS]
            size = len(" ".join(words).encode()) - len(words[0].encode())
            bits = nats * (len(words) - 1) / np.log(2) / size
            assert row["bits_per_byte"] == pytest.approx(bits, abs=6e-5)
        assert row["el2n"] == (None if error is None else pytest.approx(error, abs=6e-5))
        assert row["memorization"] == (None if known is None else pytest.approx(known, abs=6e-5))


def test_a_text_that_was_learned_is_known_and_a_fresh_one_is_not(llamas: Path) -> None:
    found = measured(llamas, [*KNOWN, *drawn(3, [96] * 6)])
    known, fresh = found[: len(KNOWN)], found[len(KNOWN) :]
    assert min(row["memorization"] for row in known) > 0.9
    assert max(row["memorization"] for row in fresh) < 0.2
    assert max(row["perplexity"] for row in known) < 2
    assert min(row["perplexity"] for row in fresh) > len(VOCABULARY) / 2
    assert max(row["el2n"] for row in known) < min(row["el2n"] for row in fresh)


def test_figures_do_not_depend_on_the_company(llamas: Path) -> None:
    some = [*KNOWN[:2], *FRESH, *drawn(4, [5, 40, 70, 70, 90, 100])]
    together = measured(llamas, some)
    assert measured(llamas, some[::-1]) == together[::-1]
    halves = [measured(llamas, some[start::2]) for start in (0, 1)]
    assert [halves[place % 2][place // 2] for place in range(len(some))] == together
    assert measured(llamas, some[12:13]) == together[12:13]


def test_a_corpus_is_selected_by_them_and_only_what_is_new_is_measured(
    llamas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = python_with_torch()
    section: dict[str, Any] = {"models": [str(llamas / EARLY), str(llamas / LATE)], "tokens": TOKENS}
    corpus = Corpus(tmp_path, buckets=1, changes={"signals": ["neural"], "neural": section}).write(seeds(12))
    with replaying() as server:
        monkeypatch.setenv("COSMO_PROXY_PYTHON", sys.executable)
        with pytest.raises(CosmoError, match="No module named 'torch'") as refused:
            corpus.build(server.url)
        for said in ("COSMO_PROXY_PYTHON", "cosmo[proxy]"):
            assert said in refused.value.remedy
        monkeypatch.setenv("COSMO_PROXY_PYTHON", python)
        corpus.build(server.url)
        signals = corpus.rows("text_neural")
        bound = sorted(row["perplexity"] for row in signals.values())[len(signals) // 2]
        assert corpus.store.open("seed_neural").manifest.rows == 12

        monkeypatch.setenv("COSMO_PROXY_PYTHON", "absent-python")
        corpus.changes["selection"] = {"bounds": [{"signal": "neural.perplexity", "high": bound}]}
        corpus.write().build(server.url)
        kept = {key for key, row in signals.items() if row["perplexity"] <= bound}
        assert 0 < len(kept) < len(signals)
        assert set(corpus.store.open("mixture").table()["doc_id"].to_pylist()) == kept

        corpus.write(seeds(11)).build(server.url, ["seed_documents", "seed_neural"])
        manifest = corpus.store.open("seed_neural").manifest
        assert (manifest.rows, manifest.run["reused_rows"]) == (11, 11), "nothing is loaded where no text is new"
        corpus.write([*seeds(11), *seeds(1, tag="new")])
        with pytest.raises(CosmoError, match="absent-python"):
            corpus.build(server.url, ["seed_documents", "seed_neural"])
        monkeypatch.setenv("COSMO_PROXY_PYTHON", python)
        corpus.build(server.url, ["seed_neural"])
        manifest = corpus.store.open("seed_neural").manifest
        assert (manifest.rows, manifest.run["reused_rows"]) == (12, 11)

        section["models"] = [str(llamas / LATE)]
        corpus.write().build(server.url, ["seed_neural"])
        manifest = corpus.store.open("seed_neural").manifest
        assert (manifest.rows, manifest.run["reused_rows"]) == (12, 0), "other models, other figures"
