"""The compiled signer against datatrove's: the same words, shingles, signatures and files, for every text."""

import bz2
import hashlib
import random
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.hashing import HashConfig
from datatrove.utils.text import TextNormConfig, simplify_text

from cosmo_assets.deduplication import shingle_kernels
from cosmo_assets.deduplication.minhash import MinHashSigner, configuration
from cosmo_assets.deduplication.records import record_order
from cosmo_assets.deduplication.shingle_kernels import DIGIT, IN_CONTEXT
from cosmo_assets.deduplication.signer import shingle_hashes, signatures, signatures_in_parts
from cosmo_assets.deduplication.spelling import spelling
from cosmo_assets.recipe.deduplication import MinHashMethod
from cosmo_assets.seeds.duplicates import MINHASH, band_hashes
from tests.doubles.datatrove_minhash import SimplifiedWords, datatrove_sign, datatrove_signer
from tests.doubles.replay_server import prose

METHOD = MinHashMethod()
CONFIG = configuration(METHOD)
CHARACTERS = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
ASSIGNED = [char for char in CHARACTERS if unicodedata.category(char) not in ("Cn", "Co")]
SIGMA, HANGUL_TONE = "\u03a3", "\u302e"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.sig"))}


def assert_identical(texts: Sequence[str], work: Path, config: MinhashConfig = CONFIG) -> None:
    """Both write the same files."""
    datatrove_sign(texts, config, work / "datatrove", 3)
    expected = list(files(work / "datatrove").values())
    assert len(expected) == config.num_buckets
    assert written([texts], work / "here", config) == expected


def written(parts: Sequence[Sequence[str]], work: Path, config: MinhashConfig = CONFIG) -> list[bytes]:
    """The files of texts that are added part by part, band by band."""
    method = MinHashMethod(
        ngram=config.n_grams, bands=config.num_buckets, rows=config.hashes_per_bucket, seed=config.seed
    )
    assert configuration(method) == config
    signer = MinHashSigner(method)
    for part in parts:
        signer.add(pa.array(part, pa.large_string()))
    work.mkdir(parents=True)
    signer.write(work)
    return list(files(work).values())


def spelled(text: str) -> str | None:
    """A text's words as the compiled loop writes them, None where it gives up."""
    table, data = spelling(), np.frombuffer(bytearray(text.encode()), np.uint8)
    letters, ends = np.empty(table.growth * len(data) + 1, np.uint8), np.empty(table.growth * len(data) + 1, np.int64)
    words = shingle_kernels.spell(data, table.kinds, table.starts, table.letters, letters, ends)
    return None if words < 0 else letters[: ends[words - 1] if words else 0].tobytes().decode()


def by_datatrove(text: str) -> str:
    return " ".join(simplify_text(text).split())


def of_kind(kind: int) -> list[str]:
    return [chr(point) for point in np.flatnonzero(spelling().kinds == kind).tolist()]


def drawn(pool: Sequence[str], seed: int, count: int, longest: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(pool, k=draw.randrange(longest))) for _ in range(count)]


def test_every_character_is_spelled_as_by_datatrove() -> None:
    """Beside letters, in a number, by itself."""
    left = set(of_kind(IN_CONTEXT))
    parts = [f"Ab{char}1.5{char}Q {char} 7{char}8" for char in CHARACTERS if char not in left]
    texts = ["\n".join(parts[start : start + 500]) for start in range(0, len(parts), 500)]
    assert [text for text in texts if spelled(text) != by_datatrove(text)] == []


def test_few_characters_are_left_to_datatrove() -> None:
    left = of_kind(IN_CONTEXT)
    assert SIGMA in left
    assert HANGUL_TONE in left
    assert len(left) < 50
    assert [char for char in left if char != SIGMA and unicodedata.combining(unicodedata.normalize("NFD", char)[-1])]
    assert all(spelled(f"one {char} two") is None for char in left)


POOLS = {
    "all": ASSIGNED,
    "numbers": [*of_kind(DIGIT), *".,\u060c\u066b\u2396\u2397\u2398 a"],
    "ascii_numbers": list("0123456789.,.,  ab\u0663\u060c\u0301"),
    "marks": [*(char for char in ASSIGNED if unicodedata.category(char)[0] in "MZPC"), *"a1 " * 300],
    "decomposed": [*(char for char in ASSIGNED if unicodedata.normalize("NFD", char) != char), *" 1" * 300],
    "spaces": [*(char for char in CHARACTERS if char.isspace()), *"ab"],
}


@pytest.mark.parametrize("pool", POOLS)
def test_random_strings_are_spelled_as_by_datatrove(pool: str) -> None:
    texts = drawn(POOLS[pool], seed=7, count=4000, longest=60)
    compared = [(text, words) for text in texts if (words := spelled(text)) is not None]
    assert len(compared) > 2000
    assert [text for text, words in compared if words != by_datatrove(text)] == []


def test_texts_from_every_block_are_signed_as_by_datatrove(tmp_path: Path) -> None:
    """Each text is from 256 neighbouring code points, some with characters that datatrove has to spell."""
    draw = random.Random(11)
    blocks: dict[int, list[str]] = {}
    for char in ASSIGNED:
        blocks.setdefault(ord(char) // 256, []).append(char)
    texts = ["".join(draw.choices([*block, *"  .1"], k=300)) for block in blocks.values()]
    assert len(texts) > 300
    assert 5 < sum(spelled(text) is None for text in texts) < 30
    assert_identical(texts, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "\u039f\u0394\u039f\u03a3 \u03a3\u039f\u03a6\u0399\u0391\u03a3 \u03bf\u03b4\u03cc\u03c2 \u03a3 a b c d",
        "\u0130stanbul I\u0307 \u1e9e stra\u00dfe \u01c4 \ufb01ne \u212a x y z",
        "1.2.3.4 5,6 .7 8. 9 1\u03012 \u0663\u066b\u0664 a b c d e",
        "a\u0301\u0327 \u1100\u1161\u11a8 \uac01 \u1112\u302e\u1161\u302f a b c d",
        "\u037e a;b\u037e c `\u1fef d\u00b4 e \u0344 f g h",
        " \u0308 a \u0308  b\u00a0c\u2003d\u2028e\x1cf\x85g\u200bh i ",
    ],
    ids=["sigma", "case", "numbers", "hangul", "singletons", "spaces"],
)
def test_known_traps_are_signed_as_by_datatrove(text: str, tmp_path: Path) -> None:
    assert_identical([text, text.swapcase()], tmp_path)
    signer = datatrove_signer(CONFIG, tmp_path, SimplifiedWords())
    assert shingle_hashes(text, CONFIG).tolist() == signer.get_shingles(text).ravel().tolist() != []


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8])
def test_files_are_datatroves_for_shingles_of_any_size(size: int, tmp_path: Path) -> None:
    texts = [" ".join(prose(f"{words}", 20).split()[:words]) for words in range(12)]
    assert_identical([*texts, prose("long", 300), *texts], tmp_path, MinhashConfig(n_grams=size))


@pytest.mark.parametrize(
    ("bands", "rows", "seed"), [(1, 1, 1), (3, 5, 1), (14, 8, 2), (20, 450, 1), (9, 13, 4_294_967_295)]
)
def test_files_are_datatroves_for_any_bands_rows_and_seed(bands: int, rows: int, seed: int, tmp_path: Path) -> None:
    texts = [prose(f"text {number % 7}", 30 + number) for number in range(20)]
    config = configuration(MinHashMethod(bands=bands, rows=rows, seed=seed))
    assert_identical(texts, tmp_path, config)


@pytest.mark.parametrize(
    "texts",
    [[], [""], ["", "?!", "a b c d"], ["a b c d e"], ["", "a b c d e", "", "a b c d e", " \n"]],
    ids=["none", "empty", "too_short", "one_shingle", "among_others"],
)
def test_files_are_datatroves_where_texts_are_few_or_short(texts: list[str], tmp_path: Path) -> None:
    assert_identical(texts, tmp_path)


def test_files_are_datatroves_for_very_long_texts(tmp_path: Path) -> None:
    longest = " ".join([*prose("long", 2000).split(), "x" * 300_000, "1" * 300_000, "\uac01" * 50_000, "end"] * 2)
    assert_identical(["short", longest, prose("after", 100)], tmp_path)


def test_files_are_datatroves_where_many_bands_agree(tmp_path: Path) -> None:
    """Records that agree in all hashes, or in the first ones, come in datatrove's order."""
    base = prose("agree", 40)
    texts = [f"{base} {prose(str(number % 5), number % 3 + 1)}" for number in range(200)]
    assert_identical(texts, tmp_path)


@pytest.mark.parametrize("length", [*range(1, 45), 63, 64, 65, 97, 1000])
def test_the_hash_of_a_word_is_xxh64(length: int) -> None:
    text = "".join(random.Random(length).choices("abcdefgh\u4e2d", k=length))
    assert shingle_hashes(text, MinhashConfig(n_grams=1)).tolist() == [xxhash.xxh64_intdigest(text)]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9])
def test_the_least_hashes_are_exact_at_the_ends_of_their_range(count: int) -> None:
    """Sums around each multiple of the prime and of 2^64, which no text ever comes to."""
    prime, whole = 2**61 - 1, 2**64
    sums = [(turn * prime + off) % whole for turn in range(10) for off in range(-9, 10)]
    draw = random.Random(count)
    shingles = [draw.getrandbits(64) for _ in range(count)]
    factors = [draw.getrandbits(64) for _ in sums]
    # each pair gives one of these sums for the last shingle
    last = shingles[-1] if shingles else 0
    summands = [(total - last * factor) % whole for total, factor in zip(sums, factors, strict=True)]
    least = np.empty(len(sums), np.uint64)
    arrays = (np.array(numbers, np.uint64) for numbers in (shingles, factors, summands))
    shingle_kernels.least_hashes(*arrays, least)
    expected = [
        min(((shingle * factor + summand) % whole % prime for shingle in shingles), default=whole - 1)
        for factor, summand in zip(factors, summands, strict=True)
    ]
    assert least.tolist() == expected


@pytest.mark.parametrize("mark", [".", "\u060c"], ids=["point", "arabic_comma"])
def test_a_number_ends_with_its_text(mark: str, tmp_path: Path) -> None:
    """Texts lie one after the other: no number reaches into the next one."""
    assert_identical([f"a b c d e 5{mark}", "7 b c d e 5", "8 b c d e f", f"9{mark}", f"{mark}6"], tmp_path)


def mixed_texts(count: int) -> list[str]:
    """Texts of many lengths, some of them copies, some empty, some left to datatrove."""
    ends = ("", f" {SIGMA}\u0391{SIGMA}", " 3,14", " \uac01\u302e")
    texts = [prose(f"text {number % 50}", number * 7 % 90) + ends[number % 4] for number in range(count)]
    return [text if number % 11 else "" for number, text in enumerate(texts)]


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_number_of_threads_changes_no_hash(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosmo_assets.deduplication.signer.PART", 10)
    texts = pa.array(mixed_texts(300), pa.large_string())
    expected, expected_signed = signatures(texts, CONFIG)
    found, signed = signatures_in_parts(texts, CONFIG, threads)
    assert signed.tolist() == expected_signed.tolist()
    assert (found[signed] == expected[signed]).all()
    assert 0 < signed.sum() < len(signed)


@pytest.mark.parametrize("size", [1, 7, 299, 300])
def test_where_parts_end_changes_no_byte(size: int, tmp_path: Path) -> None:
    texts = mixed_texts(300)
    whole = written([texts], tmp_path / "whole")
    assert written([texts[start : start + size] for start in range(0, 300, size)], tmp_path / "parts") == whole
    datatrove_sign(texts, CONFIG, tmp_path / "datatrove", 0)
    assert whole == list(files(tmp_path / "datatrove").values())


def test_signatures_say_which_texts_have_one() -> None:
    texts = pa.array(["a b c d e f", "too short", f"{SIGMA} b c d e", f"{SIGMA} b", "", None, "f e d c b a"])
    found, signed = signatures(texts, CONFIG)
    assert found.shape == (7, 14, 8)
    assert signed.tolist() == [True, False, True, False, False, False, True]


def test_a_slice_of_an_array_is_signed_as_its_texts() -> None:
    texts = mixed_texts(60)
    found, signed = signatures(pa.array(texts)[17:41], CONFIG)
    expected, expected_signed = signatures(pa.array(texts[17:41]), CONFIG)
    assert signed.tolist() == expected_signed.tolist()
    assert (found[signed] == expected[signed]).all()
    assert 0 < signed.sum() < len(signed)


def test_records_are_ordered_by_all_hashes_then_by_position() -> None:
    draw = np.random.default_rng(3)
    hashes = draw.integers(0, 3, (500, 4)).astype(np.uint64) << np.uint64(62)
    positions = draw.permutation(500).astype(np.uint32)
    expected = sorted(range(500), key=lambda place: (*hashes[place].tolist(), positions[place]))
    assert record_order(hashes, positions).tolist() == expected


def test_half_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    """Parquet holds none; datatrove refuses them too, where the text has a shingle."""
    texts = ["one two three four \ud800"]
    with pytest.raises(UnicodeEncodeError):
        written([texts], tmp_path / "here")
    with pytest.raises(UnicodeEncodeError):
        datatrove_sign(texts, CONFIG, tmp_path, 0)


@pytest.mark.parametrize(
    "config",
    [
        MinhashConfig(hash_config=HashConfig(precision=32)),
        MinhashConfig(hash_config=HashConfig(hash_fc="sha1")),
        MinhashConfig(norm_config=TextNormConfig(norm_numbers=False)),
    ],
    ids=["32_bits", "sha1", "numbers"],
)
def test_other_words_and_hashes_are_refused(config: MinhashConfig) -> None:
    with pytest.raises(ValueError, match="only datatrove's default words"):
        signatures(pa.array(["a"]), config)


def test_bands_of_a_seed_are_the_hashes_that_are_stored(tmp_path: Path) -> None:
    """These numbers lie in the indexes of earlier versions."""
    text = "The quick brown fox jumps over 12.5 lazy dogs, and \u039f\u0394\u039f\u03a3 is a road."
    found = band_hashes(text) or []
    assert found[:3] == [6983491892444852300, 14246012001912398715, 13823365669053588409]
    signer = datatrove_signer(configuration(MINHASH), tmp_path, SimplifiedWords())
    for words in (prose("seed", 200), text, "a b c d e"):
        bands = np.array(signer.get_signature(signer.get_shingles(words)), "<u8")
        stored = [int.from_bytes(hashlib.blake2b(band.tobytes(), digest_size=8).digest(), "little") for band in bands]
        assert band_hashes(words) == stored


@pytest.mark.samples
def test_files_are_datatroves_for_web_pages(samples: Path, tmp_path: Path) -> None:
    path = samples / "web_fineweb_edu_sample" / "fineweb_edu_sample.txt"
    if not path.is_file():
        pytest.skip(f"no sample {path}")
    texts = path.read_text(encoding="utf-8").split("\n")
    texts += ["\n".join(texts[start : start + 20]) for start in range(0, len(texts), 20)]
    assert len(texts) > 200
    assert_identical(texts, tmp_path)


@pytest.mark.samples
def test_files_are_datatroves_for_articles(samples: Path, tmp_path: Path) -> None:
    path = samples / "neardup_minhash_articles" / "articles_1000.train"
    if not path.is_file():
        pytest.skip(f"no sample {path}")
    assert_identical(path.read_text(encoding="utf-8").split("\n"), tmp_path)


@pytest.mark.samples
def test_files_are_datatroves_for_wiki_markup(samples: Path, tmp_path: Path) -> None:
    """Markup, and names of articles in many languages."""
    paths = sorted((samples / "wiki_dump_sample").glob("*.bz2"))
    if not paths:
        pytest.skip(f"no dump in {samples / 'wiki_dump_sample'}")
    with bz2.open(paths[0], "rt", encoding="utf-8") as dump:
        texts = dump.read(6_000_000).split("<page>")
    assert sum(not text.isascii() for text in texts) > 20
    assert sum(spelled(text) is None for text in texts) > 0
    assert_identical(texts, tmp_path)
