"""Language models in folders, as transformers saves them: what a recipe names for another interpreter to load.

Belongs here: finding their files, their digest, how long a context they have. Does not belong here: loading or running
them (the programs), what is measured by them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest, file_digest
from cosmo_resources.tokenizers import NamedTokenizer, load_tokenizer

_FILES = ("config.json", "tokenizer.json", "*.safetensors")


@dataclass(frozen=True)
class ModelFolder:
    """A language model in a folder; `digest` is that of its files."""

    folder: Path
    digest: str

    @classmethod
    def of(cls, recipe: Recipe, path: str, tokens: int, *, section: str, field: str) -> "ModelFolder":
        """The model that `field` of a recipe's `section` names, where texts have up to `tokens` of that section. Cost:
        reading its files.

        Raises:
            CosmoError: its folder lacks a file, or its context is shorter than `tokens`.
        """
        _, (folder,) = recipe.located(path, field=f"{section}.{field}", folder=True)
        files = [found for pattern in _FILES for found in sorted(folder.glob(pattern))]
        for pattern in _FILES:
            if not any(found.match(pattern) for found in files):
                raise CosmoError(
                    f"{section}.{field}: {folder} has no {pattern}",
                    remedy="name the folder of a language model as transformers saves it, with its tokenizer.json",
                )
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        longest = said.get("max_position_embeddings") or said.get("n_positions") or tokens
        if tokens > longest:
            raise CosmoError(
                f"{section}.tokens: {tokens}, but the context of {folder} is {longest}",
                remedy=f"set it to {longest} or less",
            )
        return cls(folder, digest(*(part for found in files for part in (found.name, file_digest(found)))))

    @property
    def tokenizer(self) -> NamedTokenizer:
        return load_tokenizer(str(self.folder / "tokenizer.json"))
