"""The tokenizer read from SmolLM2's GGUF, against the engine's own."""

import random
import struct
from pathlib import Path

import openvino_genai as og
import pytest
from tokenizers import Tokenizer

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.gguf_tokenizer import read_metadata, tokenizer_from_gguf, write_tokenizer_json
from cosmo_resources.inference.models import EMBEDDED, find_model

TEXTS = [
    "Hello world",
    "  leading and   multiple  spaces ",
    "tabs\tand\n\nnewlines\r\n  x",
    "\n",
    "In 1984, 3.14159, 2026-11-21 and 10,000,000",
    "def f(x):\n    return x**2  # comment\n\n\tif x:\n\t\tpass",
    "x = {'a': [1, 2]}; print(f\"{x!r}\")",
    '<html><body class="a">&nbsp;</body></html>',
    "don't we'll I'M it's",
    "naïve café Ünïcödé 日本語 中文字符 русский العربية हिन्दी",
    "emoji 😀👩‍👩‍👧‍👦🇩🇪✨",
    "½ ² ③ ٣ Ⅷ １２ ١٢٣",
    "\u00a0nbsp\u3000wide\u200bzero\u2028line\x85next\x00nul",
    "a" * 300,
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|><repo_name>",
]


@pytest.fixture(scope="module")
def gguf() -> Path:
    return find_model(EMBEDDED)


@pytest.fixture(scope="module")
def tokenizer(gguf: Path) -> Tokenizer:
    return tokenizer_from_gguf(gguf)


@pytest.fixture(scope="module")
def engine(gguf: Path) -> og.Tokenizer:
    return og.Tokenizer(gguf)


def random_texts(count: int) -> list[str]:
    choose = random.Random(5)
    ranges = [(32, 127), (32, 127), (0x80, 0x3000), (0x3000, 0xD800), (0x1F300, 0x1FB00), (9, 11)]

    def character() -> str:
        return chr(choose.randrange(*choose.choice(ranges)))

    return ["".join(character() for _ in range(choose.randrange(1, 60))) for _ in range(count)]


def test_ids_equal_the_engines_and_decode_to_the_text(tokenizer: Tokenizer, engine: og.Tokenizer) -> None:
    for text in TEXTS + random_texts(300):
        ids = tokenizer.encode(text).ids
        assert ids == engine.encode(text).input_ids.data[0].tolist(), text
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_vocabulary_and_special_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == 49_152
    assert tokenizer.encode("<|endoftext|><|im_start|><|im_end|>").ids == [0, 1, 2]
    assert tokenizer.decode([1, 2, 33]) == tokenizer.decode([33]) != ""
    assert [tokenizer.id_to_token(index) for index in tokenizer.encode("1984").ids] == list("1984")


def test_a_byte_without_a_token_is_dropped_and_does_not_end_the_document(tokenizer: Tokenizer) -> None:
    for missing in "\x04\x06\x13\x14\x16\x1d":
        assert tokenizer.encode(f"a{missing}b").tokens == ["a", "b"]


def test_the_written_file_is_whole_the_same_every_time_and_loads(
    gguf: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    first = write_tokenizer_json(gguf, tmp_path / "deep" / "tokenizer.json")
    second = write_tokenizer_json(gguf, tmp_path / "deep" / "again.json")
    assert first == tmp_path / "deep" / "tokenizer.json"
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in first.parent.iterdir()) == ["again.json", "tokenizer.json"]
    loaded = Tokenizer.from_file(str(first))
    assert [loaded.encode(text).ids for text in TEXTS] == [tokenizer.encode(text).ids for text in TEXTS]


def test_metadata_of_every_type_is_read(tmp_path: Path) -> None:
    def string(text: str) -> bytes:
        return struct.pack("<Q", len(text.encode())) + text.encode()

    pairs = [
        (string("name") + struct.pack("<I", 8) + string("é"), ("name", "é")),
        (string("small") + struct.pack("<Ib", 1, -3), ("small", -3)),
        (string("large") + struct.pack("<IQ", 10, 2**40), ("large", 2**40)),
        (string("ratio") + struct.pack("<Id", 12, 0.25), ("ratio", 0.25)),
        (string("flag") + struct.pack("<I?", 7, True), ("flag", True)),
        (string("ints") + struct.pack("<IIQ2i", 9, 5, 2, -1, 7), ("ints", [-1, 7])),
        (string("words") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string(""), ("words", ["a", ""])),
    ]
    path = tmp_path / "all.gguf"
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(pairs)) + b"".join(raw for raw, _ in pairs))
    assert read_metadata(path) == dict(expected for _, expected in pairs)


@pytest.mark.parametrize("size", [0, 10, 100, 300_000])
def test_a_file_cut_short_is_named(gguf: Path, tmp_path: Path, size: int) -> None:
    cut = tmp_path / "cut.gguf"
    with gguf.open("rb") as stream:
        cut.write_bytes(stream.read(size))
    with pytest.raises(CosmoError, match=r"cut\.gguf cannot be read as GGUF"):
        tokenizer_from_gguf(cut)


def test_what_is_no_gguf_or_of_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"none\.gguf"):
        tokenizer_from_gguf(tmp_path / "none.gguf")
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(CosmoError, match="begins with"):
        tokenizer_from_gguf(other)
    other.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 0))
    with pytest.raises(CosmoError, match="family"):
        tokenizer_from_gguf(other)
