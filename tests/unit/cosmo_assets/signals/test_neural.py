"""Signals by transformers, without any: texts as tokens, figures of scores, and which models a recipe may name."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.signals import Neural
from cosmo_assets.signals import neural
from cosmo_resources.errors import CosmoError
from cosmo_resources.tokenizers import NamedTokenizer
from tests.corpora import Corpus

WORDS = {word: number for number, word in enumerate(["?", "the", "sea", "größer", "is"])}


def whole_words(vocabulary: dict[str, int] = WORDS) -> NamedTokenizer:
    found = tokenizers.Tokenizer(models.WordLevel(dict(vocabulary), unk_token="?"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return NamedTokenizer("words", "", found)


def model_in(folder: Path, vocabulary: dict[str, int] = WORDS, weights: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 100}))
    (folder / "model.safetensors").write_text(weights)
    whole_words(vocabulary).tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def naming(folder: Path, section: Neural | None) -> Recipe:
    return Corpus(folder).write().recipe.model_copy(update={"neural": section})


def test_sizes_are_the_bytes_of_all_tokens_but_the_first() -> None:
    found = neural.encoded(whole_words(), ["the sea  is größer", "", "größer", "the größer the sea is"], 4)
    assert found.tokens.tolist() == [1, 2, 4, 3, 3, 1, 3, 1, 2]
    assert found.ends.tolist() == [4, 4, 5, 9]
    assert found.lengths.tolist() == [4, 0, 1, 4]
    assert found.sizes.tolist() == [len("  is größer sea".encode()), 0, 0, len(" größer the sea".encode())]


@pytest.mark.parametrize("vocabulary", [2, 10, 50_000])
def test_perplexity_of_a_uniform_model_is_its_vocabulary(vocabulary: int) -> None:
    said = neural.Encoded(np.arange(5), np.array([5]), np.array([6]))
    nats = np.array([4 * np.log(vocabulary)])
    found = neural.figures_of(said, nats, np.array([[0.5], [0.25]]), np.full((1, 32), -1)).to_pylist()
    assert found == [
        {
            "perplexity": vocabulary,
            "bits_per_byte": round(4 * np.log2(vocabulary) / 6, 4),
            "el2n": 0.375,
            "memorization": None,
        }
    ]


def test_figures_are_null_where_there_is_nothing_to_score_and_memorization_below_64_tokens() -> None:
    lengths = np.array([0, 1, 2, 63, 64, 80, 70])
    tokens = np.concatenate([np.arange(length) for length in lengths])
    said = neural.Encoded(tokens, np.cumsum(lengths), lengths)
    continued = np.tile(np.arange(32, 64), (7, 1))
    continued[5, ::2] = 0
    continued[6] = continued[6] + 1
    found = neural.figures_of(said, np.zeros(7), np.zeros((1, 7)), continued)
    assert found["memorization"].to_pylist() == [None, None, None, None, 1, 0.5, 0]
    for name in ("perplexity", "bits_per_byte", "el2n"):
        assert found[name].is_null().to_pylist() == [True, True, *[False] * 5]


def test_params_are_the_models_in_their_order_and_the_tokens(tmp_path: Path) -> None:
    for name, weights in (("one", "1"), ("other", "2"), ("copy", "1")):
        model_in(tmp_path / name, weights=weights)
    found = {
        names: neural.params(naming(tmp_path, Neural(models=names, tokens=100)))["models"]
        for names in (("one", "other"), ("other", "one"), ("copy", "other"))
    }
    assert found["one", "other"] == found["copy", "other"] == found["other", "one"][::-1]
    assert len({*found["one", "other"]}) == 2
    assert neural.params(naming(tmp_path, Neural(models=("one",), tokens=64)))["tokens"] == 64


@pytest.mark.parametrize(
    ("spoil", "section", "said"),
    [
        (lambda folder: None, None, "no section neural"),
        (lambda folder: (folder / "model.safetensors").unlink(), {}, r"neural.models.1: .*other has no \*.safetensors"),
        (lambda folder: None, {"tokens": 512}, "neural.tokens: 512, but the context of .*one is 100"),
        (
            lambda folder: whole_words({**WORDS, "more": 9}).tokenizer.save(str(folder / "tokenizer.json")),
            {},
            "different tokenizers",
        ),
    ],
)
def test_what_is_wrong_with_models_is_said(
    spoil: Callable[[Path], None], section: dict[str, int] | None, said: str, tmp_path: Path
) -> None:
    model_in(tmp_path / "one")
    spoil(model_in(tmp_path / "other"))
    asked = None if section is None else Neural(**{"models": ("one", "other"), "tokens": 100, **section})
    with pytest.raises(CosmoError, match=said) as error:
        neural.models_of(naming(tmp_path, asked))
    assert error.value.remedy


def test_a_recipe_with_the_family_needs_the_section(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, changes={"signals": ["neural"]}).write()
    with pytest.raises(CosmoError, match=r"neural: \{models: \[FOLDER\]\}"):
        _ = corpus.recipe
    corpus.changes["neural"] = {"models": ["somewhere"]}
    assert corpus.write().recipe.neural == Neural(models=("somewhere",), tokens=512)
