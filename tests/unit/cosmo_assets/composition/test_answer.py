"""The answer of `cosmo weights` as a file: what is read of it, and files that are none."""

import json
from pathlib import Path

import pytest

from cosmo_assets.composition.answer import Answer, Weight, read_answer
from cosmo_resources.errors import CosmoError


def test_the_weights_and_the_method_are_read_and_what_else_there_is_passed_over(tmp_path: Path) -> None:
    weights = {"a": Weight(value=0.7, low=0.4, high=0.9), "b": Weight(value=0.3005, low=0.1, high=0.6)}
    rows = {name: {**weight.model_dump(), "runs_mean": 0.4, "at_most": 1} for name, weight in weights.items()}
    values = {"method": "trees", "weights": rows, "gain": {"value": 1}}
    (tmp_path / "weights.json").write_text(json.dumps(values), encoding="utf-8")
    assert read_answer(tmp_path / "weights.json") == Answer(method="trees", weights=weights)


WRONG = {
    "no JSON": ("{", "no JSON"),
    "a list": ("[]", "the file"),
    "another file": ('{"a": 1}', "method: Field required"),
    "no weights": ('{"method": null, "weights": null}', "said nothing about weights"),
    "empty": ('{"method": "law", "weights": {}}', "weights: "),
    "no interval": ('{"method": "law", "weights": {"web": {"value": 1}}}', "weights.web.low: Field required"),
    "no share": (
        '{"method": "law", "weights": {"web": {"value": 1.5, "low": 0, "high": 1}}}',
        "weights.web.value: Input should be less than or equal to 1",
    ),
    "an interval upside down": (
        '{"method": "law", "weights": {"web": {"value": 1, "low": 1, "high": 0.5}}}',
        "weights.web: Value error, low 1 is above high 0.5",
    ),
    "a half": (
        '{"method": "law", "weights": {"web": {"value": 0.5, "low": 0, "high": 1}}}',
        "weights: Value error, the values sum to 0.5, not to 1",
    ),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=list(WRONG))
def test_a_file_that_is_no_answer_is_named_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "weights.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CosmoError) as caught:
        read_answer(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert ("composition.md" if said.startswith("said") else "cosmo weights RUNS --json") in caught.value.remedy


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"nothing\.json cannot be read"):
        read_answer(tmp_path / "nothing.json")
