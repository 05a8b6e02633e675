"""The shards as nanotron's `data_stages`: a piece of its configuration, ready to be pasted.

Belongs here: folders, weights and first steps of the stages. Does not belong here: the stages themselves (`stages`), or
anything else of a trainer's configuration. nanotron is not needed.
"""

from typing import Any

import yaml

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import Dataset

SEED = 42
"""nanotron's own default."""
WHOLE = "corpus"
"""What the only stage is called, where the mixture has none."""


def data_stages(shards: Dataset, step_tokens: int, seed: int = SEED) -> str:
    """The YAML of `data_stages` for `tokenized_shards`, of one epoch: a stage begins with the step (from 1) in which
    the tokens before it are used up. `step_tokens` is sequence_length x micro_batch_size x
    batch_accumulation_per_replica x dp.

    Raises:
        CosmoError: a stage has no tokens, or is shorter than a step, so that two would begin with the same one.
    """
    whole = {"stage": WHOLE, "folder": "", "start_token": 0, "tokens": shards.manifest.summary["tokens"]}
    stages = shards.manifest.summary.get("stages") or [whole]
    found: list[dict[str, Any]] = []
    for stage in stages:
        step = stage["start_token"] // step_tokens + 1
        if not stage["tokens"] or (found and found[-1]["start_training_step"] == step):
            raise CosmoError(
                f"stage {stage['stage'] if not stage['tokens'] else found[-1]['name']} has less than a step of "
                f"{step_tokens} tokens",
                remedy="take smaller steps, or give the stage a larger share (mixture.stages in the recipe)",
            )
        folder = str((shards.folder / stage["folder"]).absolute())
        data = {"dataset": {"dataset_folder": [folder], "dataset_weights": [1.0]}, "seed": seed}
        found.append({"name": stage["stage"], "start_training_step": step, "data": data})
    return yaml.safe_dump({"data_stages": found}, sort_keys=False, allow_unicode=True, width=10_000)
