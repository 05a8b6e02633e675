"""The recipe: the typed, frozen description of a corpus, read from YAML.

Belongs here: how the sections make a whole and what must agree between them, the recipe's digest and paths, reading it.
Does not belong here: the fields of a section (the modules beside this one), where things run
(`cosmo_resources.deployments`), or state of any kind.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Self

import pydantic
import yaml
from pydantic import Field

from cosmo_assets.recipe.decontamination import Decontamination
from cosmo_assets.recipe.deduplication import Deduplication
from cosmo_assets.recipe.diversity import Diversity
from cosmo_assets.recipe.fields import Section
from cosmo_assets.recipe.generation import Budget, Generation, QualityPolicy
from cosmo_assets.recipe.limits import Limits
from cosmo_assets.recipe.mixture import Mixture, Tokenization
from cosmo_assets.recipe.prompts import Prompts
from cosmo_assets.recipe.proof import Proof
from cosmo_assets.recipe.selection import Selection, SignalFamily
from cosmo_assets.recipe.signals import Age, Educational, Neural, Perplexity
from cosmo_assets.recipe.sources import LicencePolicy, RealData, SeedPolicy, Source, TextSource
from cosmo_assets.recipe.sweep import Sweep
from cosmo_assets.recipe.topics import Topics
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import json_digest

SHIPPED = Path(__file__).parents[1] / "recipes"


class Recipe(Section):
    """A corpus. Its name names the folder of its data; its digest is recorded, and is never by itself a reason to redo
    a row."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    description: str
    buckets: Annotated[int, Field(ge=1, le=1024)]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    seeds: SeedPolicy = SeedPolicy()
    real: RealData = RealData()
    licences: LicencePolicy = LicencePolicy()
    topics: Topics
    prompts: Prompts
    generation: Generation
    budget: Budget = Budget()
    quality: QualityPolicy = QualityPolicy()
    decontamination: Decontamination
    deduplication: Deduplication = Deduplication()
    signals: tuple[SignalFamily, ...] = Field(default=(), exclude_if=lambda families: not families)
    selection: Selection | None = Field(default=None, exclude_if=lambda section: section is None)
    """As with `diversity`: a recipe that names neither keeps its digest."""
    sweep: Sweep | None = Field(default=None, exclude_if=lambda section: section is None)
    """As well."""
    perplexity: Perplexity = Field(default=Perplexity(), exclude_if=lambda section: section == Perplexity())
    educational: Educational = Field(default=Educational(), exclude_if=lambda section: section == Educational())
    neural: Neural | None = Field(default=None, exclude_if=lambda section: section is None)
    """As with `diversity`."""
    age: Age | None = Field(default=None, exclude_if=lambda section: section is None)
    """As with `diversity`."""
    mixture: Mixture
    diversity: Diversity | None = Field(default=None, exclude_if=lambda section: section is None)
    """None: no such assets, and the digest of a recipe that never heard of it."""
    tokenization: Tokenization = Tokenization()
    proof: Proof | None = Field(default=None, exclude_if=lambda section: section is None)
    """As with `diversity`."""
    limits: Limits = Limits()
    folder: Path = Field(default=Path(), exclude=True)
    """Where the recipe was read from: relative paths start here. No part of the recipe's digest."""

    @pydantic.model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"sources: names must differ, got {names}")
        real = [source.name for source in self.real.sources]
        if len({*names, *real}) != len(names) + len(real):
            raise ValueError(f"real.sources: names must differ from each other and from those of sources, got {real}")
        if unknown := set(self.mixture.components) - {*names, *real}:
            raise ValueError(f"mixture.components: no such source: {sorted(unknown)}")
        if unknown := set(self.topics.policy.deny_headings) - set(self.topics.headings):
            raise ValueError(f"topics.policy.deny_headings: no such heading: {sorted(unknown)}")
        if missing := {source.kind for source in self.sources} - {mix.kind for mix in self.prompts.mixes.values()}:
            raise ValueError(f"prompts.mixes: no templates for source kind: {sorted(missing)}")
        kinds = {source.name: source.kind for source in self.sources}
        for name, mix in self.prompts.mixes.items():
            for source in (source for use in mix.templates for source in use.sources):
                if kinds.get(source) != mix.kind:
                    raise ValueError(f"prompts.mixes.{name}: {source} is no source of kind {mix.kind}")
        if "neural" in self.signals and self.neural is None:
            raise ValueError("neural: signals name this family; say by which models: neural: {models: [FOLDER]}")
        if self.age is not None and "age" not in self.signals:
            raise ValueError("signals: the section age is about those of age; name it here")
        for reader in ("selection", "sweep", "proof"):
            section = getattr(self, reader)
            read = section.families if section else ()
            if missing_signals := [family for family in read if family not in ("quality", *self.signals)]:
                raise ValueError(f"signals: {reader} reads those of {missing_signals[0]}; name it here")
        met: dict[tuple[str, str], str] = {}
        for name, mix in self.prompts.mixes.items():
            of_kind = [source.name for source in self.sources if source.kind == mix.kind]
            for use in mix.templates:
                for source in use.sources or of_kind:
                    if other := met.get((use.template, source)):
                        raise ValueError(
                            f"prompts.mixes.{name}: {use.template} meets the seeds of {source} in {other} already"
                        )
                    met[use.template, source] = name
        for field in ("shares", "caps"):
            if unknown := set(getattr(self.prompts, field).source) - set(names):
                raise ValueError(f"prompts.{field}.source: no such source: {sorted(unknown)}")
        return self

    @property
    def all_sources(self) -> tuple[TextSource, ...]:
        """The sources of seeds, then those of real text."""
        return (*self.sources, *self.real.sources)

    @property
    def embeds_texts(self) -> bool:
        """Whether every generated text has an embedding, in `text_embeddings`: deduplication or the selection compares
        them by it."""
        selecting = self.selection is not None and self.selection.reads_embeddings
        return self.deduplication.compares_meanings or selecting

    @property
    def digest(self) -> str:
        return json_digest(self.model_dump(mode="json"))

    def paths(self, pattern: str, *, field: str) -> list[Path]:
        """The files that a path of the recipe names, sorted.

        Raises:
            CosmoError: as `located`.
        """
        return self.located(pattern, field=field)[1]

    def located(self, pattern: str, *, field: str, folder: bool = False) -> tuple[Path, list[Path]]:
        """The files that a path of the recipe names, sorted, below the folder where the search for them starts: its
        name depends on the path alone, not on which files are there. With `folder` the path may name a folder itself.

        Raises:
            CosmoError: an environment variable in it is not set, or nothing matches.
        """
        missing = [name for name in re.findall(r"\$\{?(\w+)", pattern) if name not in os.environ]
        if missing:
            raise CosmoError(
                f"recipe {self.name}, {field}: {pattern!r} uses an environment variable that is not set",
                remedy=f"set it, for example: export {missing[0]}=/path/to/data",
            )
        base = (self.folder / os.path.expandvars(pattern)).absolute()
        if base.is_file() or (folder and base.is_dir()):
            return base.parent, [base]
        root = next(parent for parent in base.parents if parent.is_dir())  # no pattern: its name may hold [ or *
        found = [] if base.exists() else sorted(p for p in root.glob(str(base.relative_to(root))) if p.is_file())
        if not found:
            raise CosmoError(
                f"recipe {self.name}, {field}: no file matches {base}", remedy="correct the path in the recipe"
            )
        return root, found


def load_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by its name, or any by the path of its YAML file.

    Raises:
        CosmoError: no such recipe, or a field is missing, unknown or out of bounds; the message names each.
    """
    path = Path(name_or_path) if name_or_path.endswith((".yaml", ".yml")) else SHIPPED / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in SHIPPED.glob("*.yaml")))
        raise CosmoError(f"no recipe {name_or_path!r}", remedy=f"name one of {known}, or the path of a .yaml file")
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Recipe.model_validate({**(fields or {}), "folder": path.resolve().parent})
    except (yaml.YAMLError, TypeError, UnicodeDecodeError) as error:
        raise CosmoError(f"{path}: not a YAML mapping: {error}", remedy="mend the file") from error
    except pydantic.ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc'])) or 'recipe'}: {item['msg']}" for item in error.errors()]
        raise CosmoError(f"{path}:\n  " + "\n  ".join(lines), remedy="correct these fields") from error
