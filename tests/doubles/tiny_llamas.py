"""Tiny Llamas that know some texts by heart, saved after some steps of their training.

Belongs here: their training. Does not belong here: tests. Run where torch is: FOLDER holds texts.json, lists of token
ids of one length, and the size of the vocabulary; a model is saved in FOLDER/STEP for each of the steps named.

Usage: python tests/doubles/tiny_llamas.py FOLDER STEP...
"""

import json
import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def main() -> None:
    folder, steps = Path(sys.argv[1]), [int(step) for step in sys.argv[2:]]
    said = json.loads((folder / "texts.json").read_text())
    torch.set_num_threads(1)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=said["vocabulary"], hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=128,
    )  # fmt: skip
    model, texts = LlamaForCausalLM(config), torch.tensor(said["texts"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(max(steps) + 1):
        if step in steps:
            model.save_pretrained(folder / str(step))
        optimizer.zero_grad()
        model(input_ids=texts, labels=texts).loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
