"""The scores that lm-evaluation-harness gives a proxy, by its own loading, encoding and arithmetic.

Belongs here: calling it, in an interpreter that has it. Does not belong here: what its scores are compared with.

Usage: python lm_eval_program.py TASK.yaml MODEL TOKENIZER.json OUT.json, where the task's data lie. The task is the
only one of its folder. OUT has `version`, `results`, and by item `acc`, `acc_norm` and `log_likelihoods`.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

EOS = "<|endoftext|>"


def main(task: Path, model: str, tokenizer: str, out: Path) -> None:
    torch.set_num_threads(1)
    proxy = HFLM(
        pretrained=LlamaForCausalLM.from_pretrained(model),
        tokenizer=PreTrainedTokenizerFast(tokenizer_file=tokenizer, eos_token=EOS, pad_token=EOS),
        device="cpu",
        batch_size=16,
    )
    manager = TaskManager(include_path=str(task.parent), include_defaults=False)
    found = simple_evaluate(model=proxy, tasks=[task.stem], task_manager=manager, bootstrap_iters=0, log_samples=True)
    samples = sorted(found["samples"][task.stem], key=lambda sample: sample["doc_id"])
    items = {
        "acc": [sample["acc"] for sample in samples],
        "acc_norm": [sample["acc_norm"] for sample in samples],
        "log_likelihoods": [[float(score) for ((score, _),) in sample["resps"]] for sample in samples],
    }
    results = {name: found["results"][task.stem][f"{name},none"] for name in ("acc", "acc_norm")}
    out.write_text(json.dumps({"version": version("lm_eval"), "results": results, **items}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
