"""The Fisher information of a probe's last block, exactly: over every token that could have come, document by document.
What the program's estimate is compared with.

Belongs here: sums over the vocabulary. Does not belong here: tests. Run where torch is, by a probe: prints for each
tensor of the last block the exact information, and the program's estimates' mean, as JSON.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM

from cosmo_assets.diversity import fisher
from cosmo_assets.diversity.fisher import TOGETHER, embedded, padded

LENGTHS, DRAWS = (7, 4, 6, 1, 7, 3, 5, 7, 2, 6), 300


def main(folder: str, rate: float) -> None:
    torch.set_num_threads(1)
    fisher.RATE = rate
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    documents = [torch.randint(0, model.config.vocab_size, (length,)) for length in LENGTHS]
    head = model.lm_head.weight.detach().clone()
    tuned = torch.nn.Parameter(head.clone())
    parts = [documents[at : at + TOGETHER] for at in range(0, len(documents), TOGETHER)]
    optimizer = torch.optim.Adam([tuned], lr=rate)
    for part in [*parts, *parts]:
        losses = []
        for document in part:
            if len(document) > 1:
                known = model.model(input_ids=document[None, :-1]).last_hidden_state[0].detach()
                losses.append(torch.nn.functional.cross_entropy(known @ tuned.T, document[1:], reduction="none"))
        optimizer.zero_grad()
        torch.cat(losses).mean().backward()
        optimizer.step()
    weights = list(model.model.layers[-1].parameters())
    exact = [torch.zeros_like(weight) for weight in weights]
    for document in documents:
        if len(document) > 1:
            likely = torch.log_softmax(
                model.model(input_ids=document[None, :-1]).last_hidden_state[0] @ tuned.detach().T, -1
            )
            for row in likely:
                for one in row:
                    gradients = torch.autograd.grad(one, weights, retain_graph=True)
                    for square, gradient in zip(exact, gradients, strict=True):
                        square += one.exp().detach() * gradient**2
    estimates = torch.zeros(sum(weight.numel() for weight in weights), dtype=torch.float64)
    tables = [padded([document.numpy() for document in part]) for part in parts]
    for draw in range(DRAWS):
        torch.manual_seed(draw)
        estimates += torch.from_numpy(embedded(model, head, tables)) / DRAWS
    split = torch.split(estimates, [weight.numel() for weight in weights])
    print(json.dumps([[float(a.sum()) / len(documents), float(b.sum())] for a, b in zip(exact, split, strict=True)]))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
