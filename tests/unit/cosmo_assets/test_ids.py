"""Identity: the ids of a corpus are fixed for all time, and draws from them are as good as random ones.

The golden values were computed apart, from the definitions alone. A change here makes every corpus a new one.
"""

import json
import subprocess
import sys
import unicodedata
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.ids import (
    Digests,
    Numbers,
    bucket_name,
    bucket_numbers,
    bucket_of,
    doc_id,
    hexadecimal,
    mixed,
    normalized,
    numbers_of,
    prompt_digests,
    prompt_id,
    request_seed,
    seed_id,
    uniform,
    uniforms,
)

SEED = "c7172be6e5a96f841eeffea1c68f7f9c"
PROMPT = "cb01018dc4646e66fa84e36585655cc8"
DOC = "bf29d632f0dd3290d56ea7146e3bc4ab"

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
import numpy as np
from cosmo_assets.ids import doc_id, prompt_id, uniform, uniforms
draws = uniforms(np.arange(9, dtype=np.uint64), "a", "b").tolist()
print(json.dumps([prompt_id(**{prompt}), doc_id(**{doc}), uniform("a", "b"), draws]))
"""


FIXED = ("lesson", "2", "children", "story", '{"name_topic":true}')
IDS = st.lists(st.binary(min_size=16, max_size=16).map(bytes.hex), max_size=20)


def digests_of(ids: list[str]) -> Digests:
    return np.frombuffer(bytes.fromhex("".join(ids)), dtype=np.uint8).reshape(-1, 16)


def serial(count: int) -> Numbers:
    """Numbers as they come from ids, which are hashes."""
    return mixed(np.arange(count, dtype=np.uint64) + np.uint64(1))


def test_golden_seed_id() -> None:
    assert seed_id("web", "doc-1", "Water boils at 100 °C.") == SEED


def test_golden_prompt_id() -> None:
    assert prompt_id(**PROMPT_FIELDS) == PROMPT


def test_golden_doc_id() -> None:
    assert doc_id(**DOC_FIELDS) == DOC


def test_golden_request_seed() -> None:
    assert request_seed(DOC) == 968623954


def test_golden_bucket() -> None:
    assert bucket_of(PROMPT, 256) == "b200"


def test_golden_draw() -> None:
    assert uniform("topic", SEED, "lesson") == 0.8260906397635683


def test_golden_draws_of_many() -> None:
    draws = uniforms(numbers_of(pa.array([SEED, "0" * 32])), "template", "lesson")
    assert draws.tolist() == [0.8972821979245754, 0.43216786417015396]


def test_mixing_is_the_published_one() -> None:
    # the second is the first output of SplitMix64 with seed 0, in its authors' own code
    numbers = np.array([0, 0x9E3779B97F4A7C15, 1, 2**64 - 1], dtype=np.uint64)
    assert mixed(numbers).tolist() == [0, 0xE220A8397B1DCDAF, 6238072747940578789, 13029008266876403067]


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_ids_and_draws_are_the_same_in_any_process(hash_seed: str) -> None:
    code = ELSEWHERE.replace("{prompt}", repr(PROMPT_FIELDS)).replace("{doc}", repr(DOC_FIELDS))
    environment = {"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path)}
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    draws = uniforms(np.arange(9, dtype=np.uint64), "a", "b").tolist()
    assert json.loads(process.stdout) == [PROMPT, DOC, uniform("a", "b"), draws]


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


@settings(deadline=None)
@given(IDS, st.lists(st.text(), max_size=20))
def test_many_prompts_have_the_ids_that_each_has(seeds: list[str], texts: list[str]) -> None:
    pairs = list(zip(seeds, texts, strict=False))
    raws = [text.encode("utf-8", "surrogatepass") for _, text in pairs]
    digests = prompt_digests(FIXED, [seed.encode() for seed, _ in pairs], raws)
    assert digests.shape == (len(pairs), 16)
    assert hexadecimal(digests) == [prompt_id(**{**PROMPT_FIELDS, "seed": seed, "text": text}) for seed, text in pairs]


@settings(deadline=None)
@given(IDS)
def test_digests_are_written_as_ids(ids: list[str]) -> None:
    assert hexadecimal(digests_of(ids)) == ids


@settings(deadline=None)
@given(IDS, st.integers(1, 1024))
def test_the_buckets_of_many_are_the_bucket_of_each(ids: list[str], buckets: int) -> None:
    numbers = bucket_numbers(digests_of(ids), buckets)
    assert [bucket_name(number) for number in numbers.tolist()] == [bucket_of(name, buckets) for name in ids]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
@settings(deadline=None)
@given(IDS, st.integers(0, 20), st.integers(0, 20))
def test_the_numbers_of_ids_are_their_last_64_bits(kind: pa.DataType, ids: list[str], start: int, rows: int) -> None:
    wanted = [int(name[-16:], 16) for name in ids]
    array = pa.array(ids, kind)
    assert numbers_of(array).tolist() == wanted
    assert numbers_of(array.slice(start, rows)).tolist() == wanted[start : start + rows]
    chunks = pa.chunked_array([array.slice(start), array.slice(0, rows), array.slice(0, 0)])
    assert numbers_of(chunks).tolist() == wanted[start:] + wanted[:rows]


@pytest.mark.parametrize(
    "ids",
    [["a" * 31], ["a" * 33], ["a" * 16, "a" * 48], ["a" * 32, ""], ["a" * 32, None]],
    ids=["short", "long", "right on average", "empty", "null"],
)
def test_ids_of_another_width_have_no_numbers(ids: list[str | None]) -> None:
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        numbers_of(pa.array(ids, pa.string()))


def test_a_slice_does_not_see_the_ids_beside_it() -> None:
    assert numbers_of(pa.array(["short", "0" * 31 + "7", "short"]).slice(1, 1)).tolist() == [7]


def test_mixing_turns_half_of_the_bits_whichever_one_changes() -> None:
    numbers = serial(2_000)
    for bit in range(64):
        turned = np.bitwise_count(mixed(numbers) ^ mixed(numbers ^ np.uint64(1 << bit))).mean()
        assert abs(turned - 32) < 0.8  # a standard deviation of the mean is 0.09


def test_draws_of_many_are_spread_evenly() -> None:
    draws = np.sort(uniforms(serial(20_000), "test"))
    assert draws[0] >= 0.0
    assert draws[-1] < 1.0
    assert np.abs(draws - np.arange(20_000) / 20_000).max() < 0.0115  # Kolmogorov and Smirnov, at one per cent


@pytest.mark.parametrize(
    "others", [("template", "b"), ("templatea",), ("template", "a", ""), ("topic", "a")], ids=" ".join
)
def test_draws_of_many_for_two_purposes_are_independent(others: tuple[str, ...]) -> None:
    numbers = serial(20_000)
    first, second = uniforms(numbers, "template", "a"), uniforms(numbers, *others)
    quarters = Counter(zip((first < 0.5).tolist(), (second < 0.5).tolist(), strict=True))
    assert max(abs(count - 5_000) for count in quarters.values()) < 250
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03  # four standard deviations
