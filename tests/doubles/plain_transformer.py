"""Scores of texts by transformers, token by token and without batches, caches or padding.

Belongs here: sums over the vocabulary. Does not belong here: tests. Run where torch is: FILE has the token ids of texts
as JSON; prints for each text the mean nats of its tokens but the first by the last model, its EL2N, the mean over the
models, and the share of 32 tokens that greedy decoding gives after the first 32; null where it is too short.

Usage: python tests/doubles/plain_transformer.py FILE MODEL...
"""

import json
import math
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel


@torch.no_grad()
def probabilities(model: PreTrainedModel, context: list[int]) -> list[float]:
    """What comes after a context."""
    logits = model(input_ids=torch.tensor([context])).logits[0, -1].tolist()
    exponents = [math.exp(logit - max(logits)) for logit in logits]
    return [exponent / sum(exponents) for exponent in exponents]


def scores(models: list[PreTrainedModel], text: list[int]) -> list[float | None]:
    if len(text) < 2:
        return [None, None, None]
    errors = []
    for model in models:
        nats = []
        for place in range(1, len(text)):
            likely = probabilities(model, text[:place])
            nats.append(-math.log(likely[text[place]]))
            likely[text[place]] -= 1
            errors.append(math.sqrt(sum(error * error for error in likely)))
    known = None
    if len(text) >= 64:
        given = text[:32]
        for _ in range(32):
            likely = probabilities(models[-1], given)
            given.append(likely.index(max(likely)))
        known = sum(one == other for one, other in zip(given[32:], text[32:64], strict=True)) / 32
    return [sum(nats) / len(nats), sum(errors) / len(errors), known]


def main() -> None:
    file, *folders = sys.argv[1:]
    torch.set_num_threads(1)
    models = [AutoModelForCausalLM.from_pretrained(folder).double().eval() for folder in folders]
    print(json.dumps([scores(models, text) for text in json.loads(Path(file).read_text())]))


if __name__ == "__main__":
    main()
