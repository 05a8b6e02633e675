"""Trainings that weigh domains, written out: each domain, each sequence by itself. What ours are compared with.

Belongs here: DoReMi's and DoGE's loss and weights of each step. Does not belong here: tests; batches, the rate and the
model, which are the program's own. Run where torch is, by the folder of a training: prints losses, weights, and what
they follow from, as JSON.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaForCausalLM

from cosmo_assets.proxy.batches import Batches, scheduled
from cosmo_assets.proxy.spec import MODEL, SPEC, Doge, Doremi, Spec
from cosmo_assets.proxy.train import config


def nats(model: LlamaForCausalLM, sequence: torch.Tensor) -> torch.Tensor:
    """Of each token of one sequence but the first."""
    likely = torch.log_softmax(model(input_ids=sequence[None, :-1]).logits[0], dim=-1)
    return torch.stack([-row[token] for row, token in zip(likely, sequence[1:], strict=True)])


def multiplied(weights: list[float], exponents: list[float]) -> list[float]:
    raised = [weight * math.exp(exponent) for weight, exponent in zip(weights, exponents, strict=True)]
    return [one / sum(raised) for one in raised]


def main(folder: Path) -> None:
    spec = Spec.model_validate_json((folder / SPEC).read_text(encoding="utf-8"))
    by, proxy = spec.weighing, spec.proxy
    assert by is not None
    domains = range(1 + max(shard.domain for shard in spec.shards))
    torch.manual_seed(spec.seed)
    torch.set_num_threads(1)
    model, batches = LlamaForCausalLM(config(spec)), Batches(spec)
    if isinstance(by, Doge) and by.target:
        targets = Batches.of_target(spec, by.target)
    if isinstance(by, Doremi):
        reference = LlamaForCausalLM.from_pretrained(by.reference / MODEL)
    matrices = [one for one in model.parameters() if one.ndim > 1]
    others = [one for one in model.parameters() if one.ndim == 1]
    groups = [{"params": matrices, "weight_decay": proxy.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=proxy.rate, betas=(0.9, 0.95))
    weights, signals = [1 / len(domains)] * len(domains), [0.0] * len(domains)
    found: dict[str, list[object]] = {"losses": [], "weights": [], "signals": []}
    for step in range(proxy.steps):
        rate = proxy.rate * scheduled(proxy, step)
        drawn, of = batches.of(step)
        sequences = [torch.from_numpy(np.array(row)) for row in drawn]
        losses = [nats(model, sequence) for sequence in sequences]
        there = [domain for domain in domains if domain in of]
        if isinstance(by, Doremi):
            for domain in there:
                above = []
                for place in np.flatnonzero(of == domain):
                    expected = nats(reference, sequences[place]).tolist()
                    above += [max(a - b, 0) for a, b in zip(losses[place].tolist(), expected, strict=True)]
                signals[domain] = sum(above) / len(above)
            weights = multiplied(weights, [by.eta * one for one in signals])
            weights = [(1 - by.smoothing) * one + by.smoothing / len(domains) for one in weights]
        else:
            gradients: dict[object, list[torch.Tensor]] = {}
            if by.target:
                model.zero_grad()
                held_out = [nats(model, torch.from_numpy(np.array(row))) for row in targets.of(step)[0]]
                torch.cat(held_out).mean().backward()
                gradients["target"] = [one.grad.clone() for one in model.parameters() if one.grad is not None]
            for domain in there:
                mean = torch.cat([losses[place] for place in np.flatnonzero(of == domain)]).mean()
                model.zero_grad()
                mean.backward(retain_graph=True)
                gradients[domain] = [one.grad.clone() for one in model.parameters() if one.grad is not None]
            for domain in there:
                signals[domain] = rate * sum(
                    float((ours * theirs).sum())
                    for other in (["target"] if by.target else there)
                    if other != domain
                    for ours, theirs in zip(gradients[domain], gradients[other], strict=True)
                )
            weights = multiplied(weights, [one / by.mu for one in signals])
        total = sum(weights[domain] * loss.mean() for domain, loss in zip(of, losses, strict=True))
        optimizer.zero_grad()
        (total / sum(weights[domain] for domain in of)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), proxy.clip)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        found["losses"].append(torch.cat(losses).mean().item())
        found["weights"].append(weights)
        found["signals"].append(list(signals))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
