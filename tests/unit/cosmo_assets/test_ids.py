"""Identity: the ids of a corpus are fixed for all time, and draws from them are as good as random ones.

The golden values were computed apart, from the definitions alone. A change here makes every corpus a new one.
"""

import json
import subprocess
import sys
import unicodedata
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.ids import (
    bucket_name,
    bucket_of,
    doc_id,
    normalized,
    prompt_id,
    request_seed,
    seed_id,
    uniform,
)

SEED = "c7172be6e5a96f841eeffea1c68f7f9c"
PROMPT = "f3229bebf1e83c2084a6220e8eb99724"
DOC = "634a56ab6881fbcdb19a9d9516e55fa8"

PROMPT_FIELDS: dict[str, Any] = {
    "seed": SEED,
    "template": "lesson",
    "template_version": "2",
    "audience": "children",
    "format": "story",
    "choices": {"name_topic": True},
    "text": "Explain boiling.",
}
DOC_FIELDS: dict[str, Any] = {
    "prompt": PROMPT,
    "model": "smollm2",
    "revision": "r1",
    "sampling": {"temperature": 0.6, "max_tokens": 320},
    "sample_index": 0,
}

ELSEWHERE = """
import json
from cosmo_assets.ids import doc_id, prompt_id, uniform
print(json.dumps([prompt_id(**{prompt}), doc_id(**{doc}), uniform("a", "b")]))
"""


def test_golden_seed_id() -> None:
    assert seed_id("web", "doc-1", "Water boils at 100 °C.") == SEED


def test_golden_prompt_id() -> None:
    assert prompt_id(**PROMPT_FIELDS) == PROMPT


def test_golden_doc_id() -> None:
    assert doc_id(**DOC_FIELDS) == DOC


def test_golden_request_seed() -> None:
    assert request_seed(DOC) == 357216846


def test_golden_bucket() -> None:
    assert bucket_of(PROMPT, 256) == "b036"


def test_golden_draw() -> None:
    assert uniform("topic", SEED, "lesson") == 0.8260906397635683


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_ids_and_draws_are_the_same_in_any_process(hash_seed: str) -> None:
    code = ELSEWHERE.replace("{prompt}", repr(PROMPT_FIELDS)).replace("{doc}", repr(DOC_FIELDS))
    environment = {"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path)}
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    assert json.loads(process.stdout) == [PROMPT, DOC, uniform("a", "b")]


@pytest.mark.parametrize("text", ["Water  boils at\n100 °C.", "\tWater boils\u00a0at 100 °C. "])
def test_space_makes_no_other_seed(text: str) -> None:
    assert seed_id("web", "doc-1", text) == SEED


def test_a_normal_form_makes_no_other_seed() -> None:
    composed, decomposed = (unicodedata.normalize(form, "café Ångström") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert seed_id("web", "doc-1", composed) == seed_id("web", "doc-1", decomposed)


@pytest.mark.parametrize(
    "other",
    [
        ("book", "doc-1", "Water boils at 100 °C."),
        ("web", "doc-2", "Water boils at 100 °C."),
        ("web", "doc-1", "water boils at 100 °C."),
        ("web", "doc-1", "Water boils at 100°C."),
        ("webdoc", "-1", "Water boils at 100 °C."),
    ],
    ids=["source", "native id", "case", "word boundary", "parts moved"],
)
def test_another_source_native_id_or_text_is_another_seed(other: tuple[str, str, str]) -> None:
    assert seed_id(*other) != SEED


@settings(deadline=None)
@given(st.text())
def test_normalizing_twice_changes_nothing_more(text: str) -> None:
    assert normalized(normalized(text)) == normalized(text)


@pytest.mark.parametrize("field", PROMPT_FIELDS)
def test_every_field_of_a_prompt_is_part_of_its_id(field: str) -> None:
    value = {"name_topic": False} if field == "choices" else PROMPT_FIELDS[field] + "x"
    assert prompt_id(**{**PROMPT_FIELDS, field: value}) != PROMPT


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", SEED),
        ("model", "smollm3"),
        ("revision", "r2"),
        ("sampling", {"temperature": 0.6, "max_tokens": 321}),
        ("sample_index", 1),
    ],
)
def test_every_field_of_a_document_is_part_of_its_id(field: str, value: Any) -> None:
    assert doc_id(**{**DOC_FIELDS, field: value}) != DOC


def test_the_order_of_sampling_parameters_is_no_part_of_a_document() -> None:
    assert doc_id(**{**DOC_FIELDS, "sampling": {"max_tokens": 320, "temperature": 0.6}}) == DOC


@settings(deadline=None)
@given(st.text())
def test_a_request_seed_has_31_bits(document: str) -> None:
    assert 0 <= request_seed(document) < 2**31


def test_request_seeds_use_all_their_bits() -> None:
    seeds = [request_seed(str(number)) for number in range(200)]
    assert all(any(seed >> bit & 1 for seed in seeds) for bit in range(31))
    assert len(set(seeds)) == 200


@settings(deadline=None)
@given(st.lists(st.text()))
def test_a_draw_is_at_least_zero_and_less_than_one(parts: list[str]) -> None:
    assert 0.0 <= uniform(*parts) < 1.0


def test_draws_are_spread_evenly() -> None:
    draws = sorted(uniform("test", str(number)) for number in range(20_000))
    distance = max(abs(draw - rank / 20_000) for rank, draw in enumerate(draws))
    assert distance < 0.0115  # Kolmogorov and Smirnov, at one per cent


def test_draws_of_one_seed_for_two_purposes_are_independent() -> None:
    pairs = [(uniform("topic", str(number)), uniform("epoch", str(number))) for number in range(20_000)]
    quarters = Counter((left < 0.5, right < 0.5) for left, right in pairs)
    assert max(abs(count - 5_000) for count in quarters.values()) < 250


@pytest.mark.parametrize("buckets", [1, 7, 256])
def test_buckets_are_balanced(buckets: int) -> None:
    prompts = 200 * buckets
    sizes = Counter(bucket_of(prompt_id(**{**PROMPT_FIELDS, "text": str(n)}), buckets) for n in range(prompts))
    assert set(sizes) == {bucket_name(index) for index in range(buckets)}
    spread = sum((size - 200) ** 2 / 200 for size in sizes.values())
    assert spread <= buckets + 4 * (2 * buckets) ** 0.5  # chi squared: mean, and four standard deviations


@pytest.mark.parametrize(("index", "name"), [(0, "b000"), (42, "b042"), (1023, "b1023")])
def test_the_names_of_buckets(index: int, name: str) -> None:
    assert bucket_name(index) == name
