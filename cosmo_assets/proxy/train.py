"""The program that trains proxies, in an interpreter with torch and transformers.

Belongs here: the model, the training loop, its checkpoints, log-likelihoods of rows. Does not belong here: what is
trained and what follows from scores (`ablation`). Nothing here needs more than torch, transformers, numpy, pydantic.

Usage: python -m cosmo_assets.proxy.train [--checkpoint-seconds N] FOLDER...

A folder holds spec.json (`Spec`) and rows.npz: `tokens`, all rows one after the other; `ends`, where each ends in it;
`given`, of how many tokens each row's beginning is that is not scored. The program adds result.npz, with `losses` (nats
a token, by step) and `log_likelihoods` (nats, by row, in their order), and the model as transformers saves it. Where
domains are weighed also `weights` and what they follow from, `excess` (DoReMi; nats a token) or `score` (DoGE), both
steps x domains: those after each step. A folder with a result is left as it is. Killed, it goes on from its last
checkpoint and comes to the same result.
"""

import argparse
import fcntl
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cosmo_assets.proxy.batches import Batches, scheduled
from cosmo_assets.proxy.spec import CHECKPOINT, MODEL, RESULT, ROWS, SPEC, Doremi, Spec
from cosmo_assets.proxy.updates import Array, doge_scores, doge_update, doremi_update, excess_losses

CHECKPOINT_SECONDS = 20.0
PROGRESS_SECONDS = 1.0
SCORED = 64
"""Rows in a batch when scoring."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the proxies of these folders, one after the other, and say on standard output how far it is."""
    parser = argparse.ArgumentParser(prog="cosmo_assets.proxy.train")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--checkpoint-seconds", type=float, default=CHECKPOINT_SECONDS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    for folder in options.folders:
        with (folder / ".lock").open("w") as lock:  # of one that was left behind by a killed parent
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / RESULT).exists():
                run(folder, options.checkpoint_seconds)
        print(f"done {folder}", flush=True)


def run(folder: Path, checkpoint_seconds: float) -> None:
    """Train the proxy of a folder, score its rows, and write the result."""
    spec = Spec.model_validate_json((folder / SPEC).read_text(encoding="utf-8"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(spec.seed)
    model = LlamaForCausalLM(config(spec)).to(device)
    arrays = trained(model, spec, folder, device, checkpoint_seconds)
    with np.load(folder / ROWS) as rows:
        scores = log_likelihoods(model, rows["tokens"], rows["ends"], rows["given"], device)
    model.save_pretrained(folder / MODEL)
    _replace(folder / RESULT, lambda path: _save_arrays(path, {**arrays, "log_likelihoods": scores}))
    (folder / CHECKPOINT).unlink(missing_ok=True)


def config(spec: Spec) -> LlamaConfig:
    """The model: a Llama with as many key as query heads, tied embeddings and a feed-forward of 8/3 its width."""
    proxy = spec.proxy
    return LlamaConfig(
        vocab_size=spec.vocabulary,
        hidden_size=proxy.d_model,
        intermediate_size=-(-8 * proxy.d_model // 24) * 8,
        num_hidden_layers=proxy.layers,
        num_attention_heads=proxy.heads,
        max_position_embeddings=proxy.sequence,
        tie_word_embeddings=True,
        attention_dropout=0.0,
    )


def trained(
    model: LlamaForCausalLM, spec: Spec, folder: Path, device: str, checkpoint_seconds: float
) -> dict[str, Array]:
    """Train the model in place; what there is of each step."""
    proxy, checkpoint = spec.proxy, folder / CHECKPOINT
    decays: dict[bool, list[Any]] = {True: [], False: []}
    for parameter in model.parameters():
        decays[parameter.ndim > 1].append(parameter)
    groups = [
        {"params": decays[True], "weight_decay": proxy.weight_decay},
        {"params": decays[False], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=proxy.rate, betas=(0.9, 0.95))
    found: dict[str, Array] = {"losses": np.zeros(proxy.steps)}
    first = 0
    weighed = Weighed(spec, device) if spec.weighing else None
    if weighed:
        found |= weighed.found
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        for name, array in found.items():
            array[:first] = state["found"][name].numpy()
    print(f"{first} {folder}", flush=True)
    batches = Batches(spec)
    model.train()
    saved = said = time.monotonic()
    for step in range(first, proxy.steps):
        drawn, of_domains = batches.of(step)
        tokens = torch.from_numpy(drawn).to(device)
        for group in optimizer.param_groups:
            group["lr"] = proxy.rate * scheduled(proxy, step)
        each = token_losses(model, tokens)
        loss = weighed.loss(model, step, tokens, of_domains, each) if weighed else each.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), proxy.clip)
        optimizer.step()
        found["losses"][step] = each.mean().item()
        if not math.isfinite(found["losses"][step]):
            sys.exit(f"{folder}: the loss of step {step} is {found['losses'][step]}; lower the rate")
        if time.monotonic() - said > PROGRESS_SECONDS:
            print(f"{step + 1} {folder}", flush=True)
            said = time.monotonic()
        if time.monotonic() - saved > checkpoint_seconds:
            state = {
                "step": step + 1,
                "found": {name: torch.from_numpy(array[: step + 1]) for name, array in found.items()},
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            _replace(checkpoint, partial(torch.save, state))
            saved = time.monotonic()
    return found


class Weighed:
    """The loss of each step where domains are weighed, and in `found` what the weights were and followed from."""

    def __init__(self, spec: Spec, device: str) -> None:
        assert spec.weighing is not None  # noqa: S101
        self.spec, self.by = spec, spec.weighing
        shape = (spec.proxy.steps, 1 + max(shard.domain for shard in spec.shards))
        self.found = {self.by.signal: np.zeros(shape), "weights": np.full(shape, 1 / shape[1])}
        if isinstance(self.by, Doremi):
            self.reference = LlamaForCausalLM.from_pretrained(self.by.reference / MODEL).to(device).eval()
        elif self.by.target:
            self.target = Batches.of_target(spec, self.by.target)

    def loss(
        self,
        model: LlamaForCausalLM,
        step: int,
        tokens: torch.Tensor,
        of_domains: npt.NDArray[np.int64],
        each: torch.Tensor,
    ) -> torch.Tensor:
        """The loss (nats) of a step, by the weights after it; `each` as `token_losses` of the model gives it."""
        signals, weights = self.found[self.by.signal], self.found["weights"]
        last = max(step - 1, 0)  # before the first: nothing is above the reference or worth more, equal weights
        if isinstance(self.by, Doremi):
            with torch.no_grad():
                expected = token_losses(self.reference, tokens)
            signals[step] = excess_losses(_numbers(each), _numbers(expected), of_domains, signals[last])
            weights[step] = doremi_update(weights[last], signals[step], eta=self.by.eta, smoothing=self.by.smoothing)
        else:
            present = np.unique(of_domains)
            gradients = np.stack([_gradient(model, each[torch.from_numpy(of_domains == one)]) for one in present])
            target = None
            if self.by.target:
                held_out = torch.from_numpy(self.target.of(step)[0]).to(each.device)
                target = _gradient(model, token_losses(model, held_out))
            signals[step] = signals[last]  # which one without a sequence keeps
            rate = self.spec.proxy.rate * scheduled(self.spec.proxy, step)
            signals[step, present] = doge_scores(gradients, rate, target)
            weights[step] = doge_update(weights[last], signals[step], mu=self.by.mu)
        counted = torch.from_numpy(weights[step][of_domains]).float().to(each.device)
        return (each.mean(dim=1) * counted).sum() / counted.sum()


def _gradient(model: LlamaForCausalLM, losses: torch.Tensor) -> Array:
    """Of the mean of some losses, by parameter."""
    parts = torch.autograd.grad(losses.mean(), list(model.parameters()), retain_graph=True)
    return _numbers(torch.cat([part.flatten() for part in parts]))


def token_losses(model: LlamaForCausalLM, tokens: torch.Tensor) -> torch.Tensor:
    """Nats of every token but the first of each sequence: sequences x tokens."""
    logits = model(input_ids=tokens[:, :-1]).logits.float()
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")


@torch.no_grad()  # type: ignore[untyped-decorator]
def log_likelihoods(
    model: LlamaForCausalLM,
    tokens: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    given: npt.NDArray[np.int64],
    device: str,
) -> Array:
    """Of each row, the log-likelihood (nats) of its tokens after the first `given`, of which there is at least one."""
    model.eval()
    starts = np.concatenate([[0], ends[:-1]])
    order = np.argsort(ends - starts, kind="stable")
    found = np.zeros(len(ends))
    for begin in range(0, len(order), SCORED):
        rows = order[begin : begin + SCORED]
        padded = np.zeros((len(rows), int((ends - starts)[rows].max())), np.int64)
        scored = np.zeros(padded.shape, bool)
        for place, row in enumerate(rows):
            length = ends[row] - starts[row]
            padded[place, :length] = tokens[starts[row] : ends[row]]
            scored[place, given[row] : length] = True
        batch = torch.from_numpy(padded).to(device)
        likely = torch.log_softmax(model(input_ids=batch[:, :-1]).logits.float(), dim=-1)
        each = likely.gather(2, batch[:, 1:, None])[..., 0].double().cpu().numpy()
        found[rows] = (each * scored[:, 1:]).sum(axis=1)
    return found


def _numbers(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.detach().double().cpu().numpy())


def _save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file so that a reader sees all of it or none."""
    temporary = path.with_name(f".{path.name}.tmp")
    write(temporary)
    descriptor = os.open(temporary, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    temporary.replace(path)


if __name__ == "__main__":
    main()
