"""The program that embeds batches of documents, in an interpreter with torch and transformers.

Belongs here: tuning the probe's head, the diagonal of its Fisher information. Does not belong here: what follows from
distances (`coefficient`), texts, where the probe is found (`probing`). Nothing here needs more than torch,
transformers, numpy.

Usage: python -m cosmo_assets.diversity.fisher PROBE FOLDER BATCH

PROBE is the folder of a language model as transformers saves it. FOLDER holds documents.npz: `tokens`, all documents
one after the other, and `ends`, where each ends in it. The program adds distances.npy, batches x batches.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from cosmo_assets.diversity.coefficient import Array, task2vec_distance

DOCUMENTS, DISTANCES = "documents.npz", "distances.npy"
PASSES, RATE = 2, 1e-3
"""Of tuning the head to a batch: passes over it, and the rate (Adam)."""
TOGETHER = 8
"""Documents whose gradient is squared at a time."""
PROGRESS_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Embed all full batches, in order, and say on standard output how many are done."""
    probe, folder, size = arguments or sys.argv[1:]
    torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(probe, local_files_only=True).float().to(device).eval()
    with np.load(Path(folder) / DOCUMENTS) as said:
        documents = np.split(said["tokens"], said["ends"][:-1])
    batches = [documents[start : start + int(size)] for start in range(0, len(documents) - int(size) + 1, int(size))]
    head = model.get_output_embeddings().weight.detach().clone()
    found, told = [], time.monotonic()
    for number, batch in enumerate(batches):
        torch.manual_seed(number)
        found.append(
            embedded(model, head, [padded(batch[at : at + TOGETHER]) for at in range(0, len(batch), TOGETHER)])
        )
        if time.monotonic() - told > PROGRESS_SECONDS:
            print(number + 1, flush=True)
            told = time.monotonic()
    table = np.zeros((len(found), len(found)))
    for one in range(len(found)):
        for other in range(one):
            table[one, other] = table[other, one] = task2vec_distance(found[one], found[other])
    np.save(Path(folder) / DISTANCES, table)


def padded(documents: Sequence[Array]) -> tuple[torch.Tensor, torch.Tensor]:
    """Documents of a batch as one table, and where in it they have a token that another one precedes."""
    length = max(2, *map(len, documents))
    tokens, there = torch.zeros((len(documents), length), dtype=torch.long), torch.zeros((len(documents), length - 1))
    for row, document in enumerate(documents):
        tokens[row, : len(document)] = torch.from_numpy(document.astype(np.int64))
        there[row, : max(len(document) - 1, 0)] = 1
    return tokens, there


def embedded(model: PreTrainedModel, head: torch.Tensor, parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Array:
    """The diagonal of the Fisher information of the model's last block, a document's mean, after its head has been
    tuned to the documents. The head is taken for one of its own: it shares no weights with the embedding of tokens.

    It is estimated by tokens that are drawn from the model's own prediction: gradients of what was drawn have mean 0,
    so the expected square of their sum over documents is the sum of their expected squares.
    """
    device = model.device
    parts = [(tokens.to(device), there.to(device)) for tokens, there in parts]
    own = torch.nn.Linear(head.shape[1], head.shape[0], bias=False, device=device)
    with torch.no_grad():
        own.weight.copy_(head)
        features = [model.base_model(input_ids=tokens[:, :-1]).last_hidden_state for tokens, _ in parts]
    optimizer = torch.optim.Adam(own.parameters(), lr=RATE)
    for _ in range(PASSES):
        for (tokens, there), known in zip(parts, features, strict=True):
            optimizer.zero_grad()
            _nats(own(known), tokens[:, 1:], there).sum().div(there.sum().clamp(min=1)).backward()
            optimizer.step()
    block = _blocks(model)[-1]
    model.requires_grad_(False)
    block.requires_grad_(True)
    weights = list(block.parameters())
    squares = [torch.zeros_like(weight, dtype=torch.float64) for weight in weights]
    for tokens, there in parts:
        logits = own(model.base_model(input_ids=tokens[:, :-1]).last_hidden_state)
        drawn = torch.distributions.Categorical(logits=logits.detach()).sample()
        gradients = torch.autograd.grad(_nats(logits, drawn, there).sum(), weights)
        for square, gradient in zip(squares, gradients, strict=True):
            square += gradient.double() ** 2
    documents = sum(len(tokens) for tokens, _ in parts)
    return np.asarray(torch.cat([square.flatten() for square in squares]).cpu().numpy() / documents)


def _nats(logits: torch.Tensor, tokens: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), tokens, reduction="none") * there


def _blocks(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The model's blocks, whatever its architecture calls them."""
    layers = model.config.num_hidden_layers
    return next(one for one in model.modules() if isinstance(one, torch.nn.ModuleList) and len(one) == layers)


if __name__ == "__main__":
    main()
