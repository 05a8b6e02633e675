"""The smoke corpus: a tiny corpus built from nothing, to see that an installation works from seeds to a traced token.

Belongs here: building and examining it, in processes and folders of its own. Does not belong here: when that is done
(`automation`).
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cosmo_assets.recipe.recipe import SHIPPED, Recipe, load_recipe
from cosmo_resources.deployments import Settings, settings
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import exclusive, write_text
from cosmo_resources.storage.store import CorpusStore

NAME = "smoke"
FOLDER = ".smoke"
"""Under the data root, which compute nodes see."""
SECONDS = 3600
"""How long it may take, waiting for a cluster included."""


def build_smoke_corpus(environment: Mapping[str, str]) -> str:
    """Build the smoke corpus with the servers and the model of this installation, and trace one of its tokens. Nothing
    is taken over from an earlier one, so that the model is really asked.

    Returns: what was built, in a sentence.

    Raises:
        CosmoError: it cannot be built; the end of the command's output is quoted.
    """
    chosen = settings(environment)
    folder = chosen.data / FOLDER
    with exclusive(chosen.data / f"{FOLDER}.lock", wait=False) as held:
        if not held:
            raise CosmoError("another smoke corpus is being built here", remedy="wait for its end")
        for earlier in (folder, chosen.state / NAME):
            shutil.rmtree(earlier, ignore_errors=True)
        recipe = _write_recipe(load_recipe(chosen.recipe), folder / f"{NAME}.yaml")
        _cosmo(environment, chosen, recipe, "run")
        store = CorpusStore(folder / NAME)
        lineage = store.open("token_lineage").table(["shard", "start"]).to_pylist()
        if not lineage:
            raise CosmoError(
                "the smoke corpus holds no token: every text was dropped",
                remedy=f"look at {folder / NAME}: are the model's answers empty or broken?",
            )
        middle = lineage[len(lineage) // 2]
        traced = json.loads(
            _cosmo(environment, chosen, recipe, "trace", "-s", middle["shard"], "-t", str(middle["start"]), "--json")
        )
        tokens = store.open("tokenized_shards").manifest.summary["tokens"]
        return f"{tokens} tokens; {middle['shard']}:{middle['start']} comes from seed {traced['span']['seed_id']}"


def _write_recipe(site: Recipe, path: Path) -> Path:
    """The smoke recipe for the model that this installation serves, with paths that hold anywhere."""
    fields: dict[str, Any] = yaml.safe_load((SHIPPED / f"{NAME}.yaml").read_text(encoding="utf-8"))
    fields["generation"]["model"] = site.generation.model.model_dump(mode="json")
    for entry in (*fields["sources"], *fields["decontamination"]["benchmarks"]):
        entry["path"] = str(SHIPPED / entry["path"])
    write_text(path, yaml.safe_dump(fields))
    return path


def _cosmo(environment: Mapping[str, str], chosen: Settings, recipe: Path, *arguments: str) -> str:
    """Run a `cosmo` command on the smoke corpus, in a process of its own.

    Raises:
        CosmoError: it failed, or took too long.
    """
    own = {
        **environment,
        "COSMO_RECIPE": str(recipe),
        "COSMO_DATA": str(recipe.parent),
        "COSMO_STATE": str(chosen.state / NAME),
        "COSMO_MLFLOW": "off",
    }
    command = [sys.executable, "-m", "cosmo_assets.cli.main", *arguments]
    try:
        found = subprocess.run(command, env=own, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise CosmoError(
            f"`cosmo {' '.join(arguments)}` on the smoke corpus did not end within {SECONDS} s",
            remedy="look at the logs of the servers, or of the queue",
        ) from error
    if found.returncode:
        raise CosmoError(
            f"`cosmo {' '.join(arguments)}` on the smoke corpus failed: {(found.stderr or found.stdout)[-2000:]}",
            remedy=f"run it by hand: COSMO_RECIPE={recipe} cosmo {' '.join(arguments)}; `cosmo doctor` looks further",
        )
    return found.stdout
