"""A GGUF as the folder that Hugging Face's loaders read, so that vLLM can serve the model that comes as a package.

Belongs here: the weights and configuration of Llama-shaped GGUFs, and the writing of such a folder.
Does not belong here: the tokenizer (`gguf_tokenizer`), finding the GGUF (`models`), serving (`servers`).
"""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gguf import GGUFReader, ReaderTensor
from gguf.quants import dequantize
from numpy.typing import NDArray

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.gguf_tokenizer import read_metadata, write_tokenizer_json

DType = Literal["bfloat16", "float32"]

END_OF_TEXT = "<|endoftext|>"

WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
IN_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of tensors in a GGUF and in transformers' Llama, without `.weight`."""


def export_gguf(gguf: Path, target: Path, dtype: DType = "bfloat16") -> Path:
    """Writes model.safetensors, config.json, generation_config.json, tokenizer.json and tokenizer_config.json into
    `target` and returns it. The folder appears whole or not at all; one that is already there is returned as it is.

    Quantized weights are dequantized: in float32 they equal what the GGUF says, in bfloat16 they are rounded to it.
    The embedded engine (openvino-genai 2026.4) itself rounds the zero points of Q4_1 blocks, so that it and vLLM give
    like but not the same texts for one GGUF.
    SmolLM2-135M takes about 5 s and 270 MB in bfloat16.

    Raises:
        CosmoError: the file is missing or cut, is no Llama, or has a tokenizer that cannot be converted.
    """
    if (target / "config.json").is_file():
        return target
    metadata = read_metadata(gguf)
    config = _config(gguf, metadata, dtype)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        write_tokenizer_json(gguf, partial / "tokenizer.json")
        names = _write_weights(gguf, partial / "model.safetensors", config, dtype)
        config["tie_word_embeddings"] = "lm_head.weight" not in names
        _write_json(partial / "tokenizer_config.json", _tokenizer_config(metadata))
        # vLLM ends an answer at these tokens, as the embedded engine does.
        ends = {config["eos_token_id"], *_ids(metadata, END_OF_TEXT)}
        tokens = {key: config[key] for key in ("bos_token_id", "pad_token_id")}
        _write_json(partial / "generation_config.json", {**tokens, "eos_token_id": sorted(ends)})
        _write_json(partial / "config.json", config)
        with suppress(OSError):  # somebody else was faster: theirs is as good
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _config(gguf: Path, metadata: Mapping[str, Any], dtype: DType) -> dict[str, Any]:
    if metadata.get("general.architecture") != "llama" or "llama.rope.scaling.type" in metadata:
        raise CosmoError(
            f"{gguf} holds the architecture {metadata.get('general.architecture')!r}, only plain Llama is converted",
            remedy="serve the folder that the model was published as",
        )
    heads = metadata["llama.attention.head_count"]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": dtype,
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "hidden_size": metadata["llama.embedding_length"],
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.get("llama.attention.head_count_kv", heads),
        "max_position_embeddings": metadata["llama.context_length"],
        "rope_theta": metadata.get("llama.rope.freq_base", 10_000.0),
        "rms_norm_eps": float(f"{metadata['llama.attention.layer_norm_rms_epsilon']:.6g}"),  # a float32 in the file
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
    }
    return {**config, **{f"{key}_token_id": index for key, index in _token_ids(metadata).items() if key != "unk"}}


def _token_ids(metadata: Mapping[str, Any]) -> dict[str, int | None]:
    keys = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    return {key: metadata.get(f"tokenizer.ggml.{name}_token_id") for key, name in keys.items()}


def _ids(metadata: Mapping[str, Any], token: str) -> list[int]:
    return [index for index, known in enumerate(metadata["tokenizer.ggml.tokens"]) if known == token]


def _tokenizer_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    tokens = metadata["tokenizer.ggml.tokens"]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata["llama.context_length"],
        "chat_template": metadata.get("tokenizer.chat_template"),
    }
    special = {f"{key}_token": tokens[index] for key, index in _token_ids(metadata).items() if index is not None}
    return {**config, **special}


def _write_weights(gguf: Path, target: Path, config: Mapping[str, Any], dtype: DType) -> set[str]:
    """Writes all tensors and returns their names. A safetensors file is the length of its header as a little-endian
    64-bit number, the header as JSON, and the tensors one after another (source: the format's own description)."""
    tensors = {_name(gguf, tensor.name): tensor for tensor in _read(gguf)}
    kind, width = ("BF16", 2) if dtype == "bfloat16" else ("F32", 4)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + width * int(tensor.n_elements)
        shape = [int(size) for size in reversed(tensor.shape)]  # a GGUF counts dimensions from the innermost
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    with target.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors.items():
            weights = dequantize(tensor.data, tensor.tensor_type)
            if (projection := name.split(".")[-2]) in heads:
                weights = _halves(weights, heads[projection])
            stream.write(_bfloat16(weights).tobytes() if dtype == "bfloat16" else weights.astype("<f4").tobytes())
    return set(tensors)


def _read(gguf: Path) -> list[ReaderTensor]:
    try:
        return list(GGUFReader(gguf).tensors)
    except (OSError, ValueError, IndexError) as error:
        raise CosmoError(
            f"{gguf} cannot be read to its end: {error}", remedy="give the path of a complete .gguf file"
        ) from error


def _name(gguf: Path, tensor: str) -> str:
    """transformers' name of a GGUF's tensor."""
    stem, _, kind = tensor.rpartition(".")
    if kind == "weight" and stem in WHOLE:
        return f"{WHOLE[stem]}.weight"
    block, _, part = stem.removeprefix("blk.").partition(".")
    if kind == "weight" and stem.startswith("blk.") and part in IN_BLOCK:
        return f"model.layers.{block}.{IN_BLOCK[part]}.weight"
    raise CosmoError(
        f"{gguf} has a tensor {tensor}, which plain Llama has not",
        remedy="serve the folder that the model was published as",
    )


def _halves(weights: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of a query or key projection, (heads * d, hidden), as transformers orders them. It rotates the first half
    of a head against the second; llama.cpp rotates neighbours, and reorders the rows of each head for that."""
    rows, hidden = weights.shape
    pairs = weights.reshape(heads, rows // heads // 2, 2, hidden)
    return pairs.swapaxes(1, 2).reshape(rows, hidden)


def _bfloat16(weights: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Rounded to the nearest, ties to even, as bits. Weights are finite."""
    bits = np.ascontiguousarray(weights, dtype="<f4").view("<u4")
    rounded: NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return rounded


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
