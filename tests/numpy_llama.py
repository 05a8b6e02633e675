"""Llama in numpy, and safetensors read by the format's description: what an exported folder is checked against."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

Weights = dict[str, np.ndarray[Any, Any]]


def read_weights(path: Path) -> Weights:
    """A safetensors file, by the format's description; bfloat16 widened."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    tensors: Weights = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        data = raw[8 + size + first : 8 + size + last]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(data, "<f4")
        tensors[name] = values.reshape(entry["shape"])
    return tensors


class Llama:
    """Llama in numpy, as transformers computes it: rotation of a head's first half against its second."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.weights = read_weights(folder / "model.safetensors")

    def norm(self, x: Any, name: str) -> Any:
        scale = np.sqrt((x * x).mean(-1, keepdims=True) + self.config["rms_norm_eps"])
        return x / scale * self.weights[name]

    def heads(self, x: Any, name: str) -> Any:
        width = self.config["hidden_size"] // self.config["num_attention_heads"]
        return (x @ self.weights[name].T).reshape(len(x), -1, width).transpose(1, 0, 2)

    def rotated(self, x: Any) -> Any:
        half = x.shape[-1] // 2
        speeds = self.config["rope_theta"] ** (-np.arange(half) / half)
        angles = np.arange(x.shape[1])[:, None] * speeds
        first, second, cos, sin = x[..., :half], x[..., half:], np.cos(angles), np.sin(angles)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)

    def logits(self, ids: list[int]) -> Any:
        """For every position, of the token that follows."""
        x = self.weights["model.embed_tokens.weight"][ids]
        mask = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
        shared = self.config["num_attention_heads"] // self.config["num_key_value_heads"]
        for layer in range(self.config["num_hidden_layers"]):
            at = f"model.layers.{layer}"
            h = self.norm(x, f"{at}.input_layernorm.weight")
            q = self.rotated(self.heads(h, f"{at}.self_attn.q_proj.weight"))
            k = self.rotated(self.heads(h, f"{at}.self_attn.k_proj.weight")).repeat(shared, 0)
            v = self.heads(h, f"{at}.self_attn.v_proj.weight").repeat(shared, 0)
            scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]) + mask
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            seen = (shares / shares.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), -1)
            x = x + seen @ self.weights[f"{at}.self_attn.o_proj.weight"].T
            h = self.norm(x, f"{at}.post_attention_layernorm.weight")
            gate = h @ self.weights[f"{at}.mlp.gate_proj.weight"].T
            up = h @ self.weights[f"{at}.mlp.up_proj.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ self.weights[f"{at}.mlp.down_proj.weight"].T
        return self.norm(x, "model.norm.weight") @ self.weights["model.embed_tokens.weight"].T
