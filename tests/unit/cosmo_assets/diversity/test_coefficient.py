"""The diversity coefficient's arithmetic: worked values, what holds for all, and whether its interval is one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import t

from cosmo_assets.diversity.coefficient import expected_distance, task2vec_distance
from cosmo_assets.diversity.probing import Probe
from cosmo_assets.recipe.diversity import Coefficient, Diversity
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.errors import CosmoError
from tests.corpora import Corpus

INFORMATION = arrays(float, 6, elements=st.floats(1e-3, 1e3))


def table(embeddings: np.ndarray) -> np.ndarray:
    return np.array([[task2vec_distance(one, other) for other in embeddings] for one in embeddings])


def test_the_distance_is_that_of_the_paper() -> None:
    found = task2vec_distance(np.array([3.0, 1.0]), np.array([1.0, 1.0]))  # cosine of (.75, .5) and (.25, .5)
    assert found == pytest.approx(1 - 0.4375 / np.sqrt(0.8125 * 0.3125), abs=1e-7)
    assert task2vec_distance(np.array([1.0, 0.0]), np.array([0.0, 5.0])) == pytest.approx(1)


@given(INFORMATION, INFORMATION, arrays(float, 6, elements=st.floats(0.1, 10)))
def test_a_distance_is_symmetric_zero_of_equals_and_blind_to_the_units_of_parameters(
    one: np.ndarray, other: np.ndarray, units: np.ndarray
) -> None:
    found = task2vec_distance(one, other)
    assert 0 <= found <= 1
    assert task2vec_distance(other, one) == pytest.approx(found, abs=1e-12)
    assert task2vec_distance(one, one) == pytest.approx(0, abs=1e-12)
    assert task2vec_distance(one * units, other * units) == pytest.approx(found, abs=1e-4)


def test_the_coefficient_is_the_mean_over_pairs_and_its_error_the_jackknifes() -> None:
    value, error = expected_distance(np.array([[0, 0.1, 0.2], [0.1, 0, 0.6], [0.2, 0.6, 0]]))
    assert value == pytest.approx(0.3)
    assert error == pytest.approx(np.sqrt(2 / 3 * (0.3**2 + 0.1**2 + 0.2**2)))


def test_the_interval_holds_the_expected_distance_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    found = [expected_distance(table(random.gamma(1.0, size=(12, 5)))) for _ in range(300)]
    truth, half = np.mean([value for value, _ in found]), t.ppf(0.975, 11)
    held = np.mean([abs(value - truth) <= half * error for value, error in found])
    assert 0.91 <= held <= 0.985
    naive = np.mean([error for _, error in found]) / np.std([value for value, _ in found])
    assert 0.85 < naive < 1.3, "the error is about what the values spread by"


def probe_in(folder: Path, **missing: bool) -> Path:
    folder.mkdir()
    for name, said in (
        ("config.json", '{"max_position_embeddings": 64}'),
        ("tokenizer.json", ""),
        ("m.safetensors", ""),
    ):
        if name.partition(".")[0] not in missing:
            (folder / name).write_text(said, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("make", "section", "said"),
    [
        (lambda at: probe_in(at, tokenizer=True), {}, r"model: .* has no tokenizer\.json"),
        (lambda at: probe_in(at, m=True), {}, r"model: .* has no \*\.safetensors"),
        (probe_in, {"tokens": 65}, r"tokens: 65, but the context of .* is 64"),
        (lambda at: at, {}, r"model: no file matches"),
    ],
    ids=["no tokenizer", "no weights", "a short context", "nothing"],
)
def test_a_probe_that_is_none_is_refused_with_its_field(
    tmp_path: Path, make: Callable[[Path], Path], section: dict[str, Any], said: str
) -> None:
    folder = make(tmp_path / "probe")
    section = {"tokens": 64, **section}
    with pytest.raises(CosmoError, match=r"diversity\.coefficient\." + said):
        Probe.of(Corpus(tmp_path).write().recipe, Coefficient(model=str(folder), **section))


def test_a_probe_is_its_files_and_not_their_place(tmp_path: Path) -> None:
    recipe: Recipe = Corpus(tmp_path).write().recipe
    one, same = (Probe.of(recipe, Coefficient(model=str(probe_in(tmp_path / at)), tokens=64)) for at in ("a", "b"))
    assert one.digest == same.digest
    (tmp_path / "b" / "m.safetensors").write_text("other", encoding="utf-8")
    assert Probe.of(recipe, Coefficient(model=str(tmp_path / "b"), tokens=64)).digest != one.digest


def test_two_batches_have_no_interval(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"11 documents .* do not fill 3 blocks of 4") as caught:
        Probe(tmp_path, "", 8).measure(["a"] * 11, 4, "python", lambda done: None)
    assert "diversity.block" in caught.value.remedy


def test_a_recipe_without_the_coefficient_has_the_fields_that_it_had() -> None:
    assert "coefficient" not in Diversity().model_dump()
