"""The language model: probabilities are those of their definition, sum to 1, and are read back as they were written."""

from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.signals.arpa import read_arpa, write_arpa
from cosmo_assets.signals.kneser_ney import train
from cosmo_assets.signals.language_model import SPECIAL, LanguageModel
from cosmo_resources.errors import CosmoError
from tests.doubles.plain_kneser_ney import PlainModel, backed_off, grams_of

HAND = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-2\t<unk>
-99\t<s>\t-0.3
-0.5\ta\t-0.2
-0.6\tb\t-0.1
-0.2\t</s>

\\2-grams:
-0.2\t<s> a
-0.4\ta b
-0.7\ta </s>

\\end\\
"""

sentences = st.lists(st.lists(st.sampled_from("abcde"), max_size=12), min_size=1, max_size=25).filter(any)


def zipfian(count: int, words: int, seed: int = 0) -> list[str]:
    """Texts of which each word follows from the one before, often."""
    random, shares = np.random.default_rng(seed), 1 / np.arange(1, 201)
    drawn = random.choice(200, (count, words), p=shares / shares.sum())
    drawn[:, 1::2] = np.where(
        random.random(drawn[:, 1::2].shape) < 0.7, (drawn[:, :-1:2] * 7 + 1) % 200, drawn[:, 1::2]
    )
    return [" ".join(f"w{number}" for number in row) for row in drawn]


def written(folder: Path, text: str = HAND) -> Path:
    path = folder / "model.arpa"
    path.write_text(text, encoding="utf-8")
    return path


def same(one: LanguageModel, other: LanguageModel) -> bool:
    arrays = ("contexts", "last", "logs", "backoffs")
    return (one.words, one.sizes) == (other.words, other.sizes) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


def test_the_perplexity_of_a_model_written_by_hand(tmp_path: Path) -> None:
    found = read_arpa(written(tmp_path)).score(pa.array(["A, b!", "b a", "a zebra", ""]))
    logs = [-0.2 - 0.4 - 0.1 - 0.2, -0.3 - 0.6 - 0.1 - 0.5 - 0.7, -0.2 - 0.2 - 2.0 - 0.2, -0.3 - 0.2]
    assert found.nll == pytest.approx(-np.log(10) * np.array(logs), rel=1e-6)
    assert found.perplexity[0] == pytest.approx(1.99526, abs=1e-5)
    assert found.words.tolist() == [3, 3, 3, 1]
    assert found.unknown.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("count", [2, 10, 1000])
def test_the_perplexity_of_a_uniform_model_is_its_number_of_words(tmp_path: Path, count: int) -> None:
    names = ["</s>", *(f"w{number}" for number in range(count - 1))]
    rows = "".join(f"{-np.log10(count):.9g}\t{name}\n" for name in names)
    model = read_arpa(written(tmp_path, f"\\data\\\nngram 1={count}\n\n\\1-grams:\n{rows}\n\\end\\\n"))
    assert model.score(pa.array(["w0 w0 w0", ""])).perplexity == pytest.approx(count, rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(sentences, st.integers(1, 4))
def test_probabilities_are_those_of_the_definition(rows: list[list[str]], order: int) -> None:
    plain, model = PlainModel(rows, order), train([" ".join(row) for row in rows], order)
    probes = [*rows, ["a"], ["z", "a", "a", "e"], ["e", "d", "z", "z"], []]
    found = model.score(pa.array([" ".join(row) for row in probes]))
    for row, nll in zip(probes, found.nll, strict=True):
        known = [word if word in plain.words else "<unk>" for word in row]
        whole = ["<s>", *known, "</s>"]
        expected = sum(
            np.log(plain.probability(tuple(whole[max(0, at - order + 1) : at]), whole[at]))
            for at in range(1, len(whole))
        )
        assert nll == pytest.approx(-expected, rel=1e-5)


@settings(deadline=None, max_examples=25)
@given(sentences, st.integers(1, 3), st.lists(st.integers(1, 4), max_size=3))
def test_after_every_context_probabilities_sum_to_one(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], order: int, least: list[int]
) -> None:
    model = train([" ".join(row) for row in rows], order, sorted(least)[:order])
    path = tmp_path_factory.mktemp("models") / "model.arpa"
    write_arpa(model, path)
    predicted = [word for word in model.words if word != "<s>"]
    for size in range(order):
        for context in list(product(model.words, repeat=size))[:60]:
            assert sum(10 ** backed_off(path, context, word) for word in predicted) == pytest.approx(1, abs=1e-5)


def test_discounts_of_counts_are_used_where_there_are_enough() -> None:
    rows = [text.split() for text in zipfian(60, 40)]
    plain = PlainModel(rows, 3)
    assert all(found != [0, 0.5, 1.0, 1.5] for found in plain.discounts.values()), "else only the fallback is seen"
    model = train([" ".join(row) for row in rows])
    row = rows[7]
    whole = ["<s>", *row, "</s>"]
    expected = sum(
        np.log(plain.probability(tuple(whole[max(0, at - 2) : at]), whole[at])) for at in range(1, len(whole))
    )
    assert model.score(pa.array([" ".join(row)])).nll[0] == pytest.approx(-expected, rel=1e-5)


@pytest.mark.parametrize("least", [(1, 1, 1), (1, 2, 3), (2, 2, 4), (1, 10**6, 10**6)])
def test_pruning_keeps_the_ngrams_that_occur_often_enough(least: tuple[int, ...]) -> None:
    texts = zipfian(40, 30)
    model = train(texts, 3, least)
    counts = grams_of([text.split() for text in texts], 3)
    if least[0] == 1:
        often = [sum(count >= limit for count in counts[size].values()) for size, limit in enumerate(least, 1)]
        assert model.sizes == (often[0] + 2, *often[1:]), "<s> and <unk> are words, too"
    else:
        rare = [gram[0] for gram, count in counts[1].items() if count < least[0]]
        assert set(rare)
        assert not set(rare) & set(model.words)
        assert model.score(pa.array([rare[0]])).unknown.tolist() == [1]


def test_a_model_does_not_depend_on_the_order_of_its_texts() -> None:
    texts = zipfian(40, 30)
    assert same(train(texts), train(reversed(texts)))


def test_the_reference_is_less_surprising_than_other_text() -> None:
    model = train(zipfian(300, 40, 0))
    near, far = (
        model.score(pa.array(zipfian(50, 40, 1))),
        model.score(pa.array([text[::-1] for text in zipfian(50, 40, 1)])),
    )
    assert near.per_word.max() < far.per_word.min()
    shuffled = [" ".join(sorted(text.split())) for text in zipfian(50, 40, 1)]
    assert (model.score(pa.array(shuffled)).nll > near.nll).mean() > 0.9, "the order of words counts"


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_a_written_model_is_read_as_it_was(tmp_path: Path, order: int) -> None:
    model = train([*zipfian(40, 30), "Ünïcode ß 漢字 ١٢٣"], order)
    write_arpa(model, tmp_path / "model.arpa")
    assert same(read_arpa(tmp_path / "model.arpa"), model)
    lines = (tmp_path / "model.arpa").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("-99\t<s>") for line in lines), "what is never predicted"


def test_a_file_in_another_order_and_without_unknown_is_read(tmp_path: Path) -> None:
    lines = HAND.replace("ngram 1=5", "ngram 1=4").replace("-2\t<unk>\n", "").replace("\t", "  ")
    swapped = lines.replace("-0.2  <s> a\n-0.4  a b\n", "-0.4  a b\n-0.2  <s> a\n")
    model = read_arpa(written(tmp_path, swapped))
    assert model.words[:3] == SPECIAL
    found = model.score(pa.array(["a b", "zebra"]))
    assert found.perplexity[0] == pytest.approx(1.99526, abs=1e-5)
    assert found.nll[1] == pytest.approx(100.5 * np.log(10), rel=1e-6), "-0.3 - 100 - 0.2"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-0.4\ta b", "-0.4\ta z", "line 14: 'a z': 'z' was not among the shorter n-grams"),
        ("-0.4\ta b", "-0.4x\ta b", "line 14: '-0.4x' or 'b' is no number"),
        ("-0.4\ta b", "-0.4\ta b\t-0.1\t7", "line 14: 5 fields are not those of 2 words"),
        ("-0.4\ta b", "-0.4\ta", "line 14: 2 fields are not those of 2 words"),
        ("-0.4\ta b\n", "", r"announces n-grams by order \{1: 5, 2: 3\}, it has \{1: 5, 2: 2\}"),
        ("\\end\\\n", "", "no whole ARPA file"),
        (HAND, "", "no whole ARPA file"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_the_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(CosmoError, match=message):
        read_arpa(written(tmp_path, HAND.replace(old, new)))


def test_a_context_that_is_missing_is_named(tmp_path: Path) -> None:
    text = HAND.replace("ngram 2=3\n", "ngram 2=3\nngram 3=1\n").replace(
        "\\end\\", "\\3-grams:\n-0.1\tb a b\n\n\\end\\"
    )
    with pytest.raises(CosmoError, match="'b a b': 'b a' was not among the shorter n-grams"):
        read_arpa(written(tmp_path, text))
    with pytest.raises(CosmoError, match=r"absent.arpa cannot be read"):
        read_arpa(tmp_path / "absent.arpa")


@pytest.mark.parametrize("least", [(2, 1), (0,), (1, 1, 1, 1)])
def test_counts_that_do_not_fit_are_an_error(least: tuple[int, ...]) -> None:
    with pytest.raises(CosmoError, match="does not fit order 3"):
        train(["a b"], 3, least)
    with pytest.raises(CosmoError, match="have no words"):
        train(["", "..."])
