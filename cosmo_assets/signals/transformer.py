"""The program that scores texts by transformers, in an interpreter with torch and transformers.

Belongs here: running models over token ids. Does not belong here: what follows from scores, texts, where models are
found (`neural`). Nothing here needs more than torch, transformers, numpy.

Usage: python -m cosmo_assets.signals.transformer FOLDER MODEL...

FOLDER holds texts.npz: `tokens`, all texts one after the other, and `ends`, where each ends in it. A MODEL is the
folder of a causal language model as transformers saves it. The program adds scores.npz: `nats`, by text, the sum over
its tokens but the first, by the last model; `el2n`, models x texts, the mean over the same tokens; `continued`, texts x
32, which tokens the last model gives after a text's first 32, where it has 64, else -1.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

Tokens = npt.NDArray[np.int64]

PREFIX, CONTINUATION = 32, 32
"""Those of `model_scores`, which this interpreter may not be able to import."""
LOGITS = {"cpu": 1 << 25, "cuda": 1 << 29}
"""Logits of a batch, at most, where it has more than one text."""
TOGETHER = 256
"""Texts in a batch, at most."""


@torch.no_grad()  # type: ignore[untyped-decorator]
def main(arguments: Sequence[str] | None = None) -> None:
    """Score all texts by one model after the other."""
    name, *models = arguments or sys.argv[1:]
    folder = Path(name)
    torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with np.load(folder / "texts.npz") as said:
        texts = np.split(said["tokens"], said["ends"][:-1])
    nats, el2n = np.zeros(len(texts)), np.zeros((len(models), len(texts)))
    for number, path in enumerate(models):
        model = loaded(path, device)
        for rows in batches([len(text) for text in texts], LOGITS[device] // model.config.vocab_size):
            for row, (nat, error) in zip(rows, scored(model, [texts[row] for row in rows]), strict=True):
                nats[row], el2n[number, row] = nat, error
    found = np.full((len(texts), CONTINUATION), -1)
    long = [row for row, text in enumerate(texts) if len(text) >= PREFIX + CONTINUATION]
    for start in range(0, len(long), TOGETHER):
        rows = long[start : start + TOGETHER]
        found[rows] = continued(model, np.stack([texts[row][:PREFIX] for row in rows]))
    np.savez(folder / "scores.npz", nats=nats, el2n=el2n, continued=found)


def loaded(path: str, device: str) -> PreTrainedModel:
    """A model, in double precision on a processor: how a text fares must not depend on those beside it. A GPU has
    single precision, for many do little of the other."""
    model: Any = AutoModelForCausalLM.from_pretrained(path, local_files_only=True)
    return (model.double() if device == "cpu" else model.float()).to(device).eval()


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """The texts with two tokens at least, longest first and alike in length, so many that padded they have at most so
    many tokens; or one."""
    order = sorted((row for row, length in enumerate(lengths) if length > 1), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        size = min(max(tokens // lengths[order[start]], 1), TOGETHER)
        yield order[start : start + size]
        start += size


def scored(model: PreTrainedModel, texts: Sequence[Tokens]) -> Iterator[tuple[float, float]]:
    """Of each text its nats, summed over its tokens but the first, and the mean norm of p - y over the same. What is
    behind a text, for it is shorter than another, no token before it sees."""
    padded = np.zeros((len(texts), max(map(len, texts))), np.int64)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = text
    logits = model(input_ids=torch.from_numpy(padded[:, :-1]).to(model.device), use_cache=False).logits
    for row, text in enumerate(texts):
        came = torch.from_numpy(text[1:]).to(model.device)[:, None]
        likely = torch.log_softmax(logits[row, : len(text) - 1].double(), dim=-1)
        nats = -likely.gather(1, came)[:, 0]
        errors = likely.exp_().square().sum(dim=-1) - 2 * (-nats).exp() + 1
        yield nats.sum().item(), errors.clamp(min=0).sqrt().mean().item()


def continued(model: PreTrainedModel, prefixes: Tokens) -> Tokens:
    """What greedy decoding gives after prefixes of one length: texts x CONTINUATION."""
    said = model(input_ids=torch.from_numpy(prefixes).to(model.device), use_cache=True)
    given = [said.logits[:, -1].argmax(dim=-1)]
    while len(given) < CONTINUATION:
        said = model(input_ids=given[-1][:, None], past_key_values=said.past_key_values, use_cache=True)
        given.append(said.logits[:, -1].argmax(dim=-1))
    return np.asarray(torch.stack(given, dim=1).cpu().numpy())


if __name__ == "__main__":
    main()
