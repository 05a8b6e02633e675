"""A GGUF as a Hugging Face folder: against the GGUF's own numbers, and against the engine that reads the GGUF."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino_genai as og
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize
from tokenizers import Tokenizer

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference import gguf_export
from cosmo_resources.inference.gguf_export import export_gguf
from cosmo_resources.inference.gguf_tokenizer import read_metadata
from cosmo_resources.inference.models import EMBEDDED, find_model
from tests.numpy_llama import Llama, read_weights

PROMPTS = ["The capital of France is", "Water boils at", "def add(a, b):", "Once upon a time there"]
NEW_TOKENS = 24


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_gguf(find_model(EMBEDDED), tmp_path_factory.mktemp("models") / "exact", dtype="float32")


def as_the_engine_reads_it(llama: Llama, gguf: Path) -> None:
    """The engine keeps weights as whole numbers of 4 bits around a zero point that is one of them too. In a GGUF
    (Q4_1: q * d + m) the zero point -m / d is any number; the engine rounds it, which moves a weight by up to d / 2."""
    for tensor in GGUFReader(gguf).tensors:
        if tensor.tensor_type != GGMLQuantizationType.Q4_1:
            continue
        blocks = tensor.data.reshape(-1, 20)
        d, m = blocks[:, :4].copy().view(np.float16).astype(np.float32).T[..., None]
        q = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], 1).astype(np.float32)
        zero = np.divide(-m, d, out=np.zeros_like(m), where=d != 0)
        weights = ((q - zero.round().clip(0, 15)) * d).reshape(len(tensor.data), -1)
        name = gguf_export._name(gguf, tensor.name)
        heads = {"q_proj": 9, "k_proj": 3}.get(name.split(".")[-2])
        llama.weights[name] = weights if heads is None else gguf_export._halves(weights, heads)


def test_the_folder_computes_the_tokens_that_the_engine_reads_from_the_gguf(exact: Path) -> None:
    """But for the rounding of its zero points. With the GGUF's own numbers 18 of these 96 tokens are others."""
    exactly = {"KV_CACHE_PRECISION": "f32", "INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    engine = og.ContinuousBatchingPipeline(find_model(EMBEDDED), og.SchedulerConfig(), "CPU", exactly, {})
    greedy = og.GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, apply_chat_template=False, ignore_eos=True)
    llama, tokenizer = Llama(exact), Tokenizer.from_file(str(exact / "tokenizer.json"))
    as_the_engine_reads_it(llama, find_model(EMBEDDED))
    same = 0
    for prompt in PROMPTS:
        (answer,) = engine.generate([prompt], [greedy])
        given, made = tokenizer.encode(prompt).ids, tokenizer.encode(answer.m_generation_ids[0]).ids
        assert len(made) == NEW_TOKENS
        logits = llama.logits(given + made)[len(given) - 1 : -1]
        behind = logits.max(-1) - logits[range(NEW_TOKENS), made]
        assert behind.max() < 0.5, (prompt, behind)
        same += int((behind == 0).sum())
    assert same > 0.9 * NEW_TOKENS * len(PROMPTS)


def test_weights_equal_the_dequantized_ones_but_for_the_order_of_rotated_rows(exact: Path, tmp_path: Path) -> None:
    reader = GGUFReader(find_model(EMBEDDED))
    gguf = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    ours = read_weights(exact / "model.safetensors")
    assert len(ours) == len(gguf) == 272
    names = {"token_embd": "model.embed_tokens", "blk.7.ffn_down": "model.layers.7.mlp.down_proj"}
    names |= {"output_norm": "model.norm", "blk.29.attn_v": "model.layers.29.self_attn.v_proj"}
    for theirs, name in names.items():
        assert np.array_equal(ours[f"{name}.weight"], gguf[f"{theirs}.weight"])
    # llama.cpp's rows 2i and 2i+1 of a head are the i-th and the (d/2 + i)-th.
    q, theirs_q = ours["model.layers.3.self_attn.q_proj.weight"], gguf["blk.3.attn_q.weight"]
    for head in range(9):
        for i in (0, 1, 17, 31):
            assert np.array_equal(q[64 * head + i], theirs_q[64 * head + 2 * i])
            assert np.array_equal(q[64 * head + 32 + i], theirs_q[64 * head + 2 * i + 1])
    rounded = read_weights(export_gguf(find_model(EMBEDDED), tmp_path / "rounded") / "model.safetensors")
    for name, weights in ours.items():
        assert np.abs(rounded[name] - weights).max() <= np.abs(weights).max() / 256, name
    assert np.array_equal(rounded["model.norm.weight"], gguf["output_norm.weight"]), "exact ones change"


def test_an_export_is_whole_the_same_every_time_and_made_once(exact: Path, tmp_path: Path) -> None:
    names = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(path.name for path in exact.iterdir()) == names
    assert [path.name for path in exact.parent.iterdir()] == ["exact"]
    again = export_gguf(find_model(EMBEDDED), tmp_path / "again", dtype="float32")
    for name in names:
        assert (again / name).read_bytes() == (exact / name).read_bytes(), name
    before = (again / "model.safetensors").stat()
    assert export_gguf(find_model(EMBEDDED), again) == again
    assert (again / "model.safetensors").stat() == before
    template = json.loads((exact / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    assert "<|im_start|>" in template
    assert json.loads((exact / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"] == [0, 2]


def write_gguf(path: Path, architecture: str, tensors: dict[str, np.ndarray[Any, Any]]) -> Path:
    """A Llama of one layer, 8 wide, with the tokenizer of the packaged one."""
    source = read_metadata(find_model(EMBEDDED))
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_context_length(16)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(8)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(source["tokenizer.ggml.model"])
    writer.add_tokenizer_pre(source["tokenizer.ggml.pre"])
    writer.add_token_list(source["tokenizer.ggml.tokens"])
    writer.add_token_types(source["tokenizer.ggml.token_type"])
    writer.add_token_merges(source["tokenizer.ggml.merges"])
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("architecture", "tensor", "what"),
    [("gpt2", "token_embd.weight", "'gpt2'"), ("llama", "rope_freqs.weight", "rope_freqs.weight")],
    ids=["architecture", "tensor"],
)
def test_what_is_no_plain_llama_is_refused(tmp_path: Path, architecture: str, tensor: str, what: str) -> None:
    gguf = write_gguf(tmp_path / "m.gguf", architecture, {tensor: np.ones((4, 8), np.float32)})
    with pytest.raises(CosmoError, match=what):
        export_gguf(gguf, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_a_file_cut_within_its_weights_is_refused(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    with find_model(EMBEDDED).open("rb") as stream:
        cut.write_bytes(stream.read(50_000_000))
    with pytest.raises(CosmoError, match=r"cut\.gguf cannot be read to its end"):
        export_gguf(cut, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.gguf"]
