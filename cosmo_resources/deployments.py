"""Deployments: which resources a place of work has. Chosen once, by COSMO_DEPLOYMENT.

Belongs here: the mapping from a deployment's name to its resources, and every environment variable that Cosmo reads
besides those in recipes. Does not belong here: assets, checks or partitions; they are the same everywhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmo_resources.deployment_file import read_deployment
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.models import EMBEDDED
from cosmo_resources.resources import (
    EmbedderResource,
    EngineResource,
    HubResource,
    NotifierResource,
    PoolResource,
    ProgramsResource,
    SiteResource,
    StoreResource,
    TrackerResource,
)

POOLS = ".pools"
"""Folder under the data root in which shared pools keep their records: all nodes see it."""

CONCURRENCY = 64


@dataclass(frozen=True)
class Settings:
    """The environment as Cosmo reads it."""

    deployment: str
    recipe: str
    data: Path
    state: Path
    endpoints: tuple[str, ...]
    model: str
    workers: int
    concurrency: int | None
    """None: as the deployment file says, else `CONCURRENCY`."""
    mlflow: str | None
    notifies: bool
    """Whether there is an address for notices; the address itself may be a secret, and stays in the environment."""
    hub: str
    """owner/name of a repository of the Hugging Face hub; empty: none."""


def settings(environment: Mapping[str, str]) -> Settings:
    """Read the environment: COSMO_DEPLOYMENT (a name, or a deployment file), COSMO_RECIPE, COSMO_DATA, COSMO_STATE,
    COSMO_ENDPOINTS (base URLs, separated by commas), COSMO_MODEL (what the embedded server serves), COSMO_WORKERS,
    COSMO_CONCURRENCY, COSMO_MLFLOW (a tracking URI; `off` logs nothing), COSMO_NOTIFY_URL (who is told of failures),
    COSMO_HUB (owner/name of a repository).

    Raises:
        CosmoError: a value is not usable.
    """
    state = Path(environment.get("COSMO_STATE") or ".cosmo/state").absolute()
    return Settings(
        deployment=environment.get("COSMO_DEPLOYMENT") or "laptop",
        recipe=environment.get("COSMO_RECIPE") or "demo",
        data=Path(environment.get("COSMO_DATA") or ".cosmo/data").absolute(),
        state=state,
        endpoints=tuple(url.strip() for url in environment.get("COSMO_ENDPOINTS", "").split(",") if url.strip()),
        model=environment.get("COSMO_MODEL") or EMBEDDED,
        workers=_positive(environment, "COSMO_WORKERS", 1),
        concurrency=_positive(environment, "COSMO_CONCURRENCY", 0) or None,
        mlflow=environment.get("COSMO_MLFLOW") or None,
        notifies=bool(environment.get("COSMO_NOTIFY_URL")),
        hub=environment.get("COSMO_HUB", ""),
    )


def deployment(chosen: Settings, corpus: str) -> dict[str, Any]:
    """The resources of a deployment, by name: store, site, engine, pool, programs, embedder, notifier, tracker, hub.

    Raises:
        CosmoError: there is no such deployment, or it lacks a setting.
    """
    if chosen.deployment.endswith((".yaml", ".yml")):
        return _site(chosen, corpus)
    if chosen.deployment not in _DEPLOYMENTS:
        raise CosmoError(
            f"COSMO_DEPLOYMENT is {chosen.deployment!r}",
            remedy=f"set it to one of {', '.join(sorted(_DEPLOYMENTS))}, or to a deployment file (.yaml)",
        )
    return _DEPLOYMENTS[chosen.deployment](chosen, corpus)


def site_of(chosen: Settings) -> SiteResource:
    """The deployment file that is chosen, looked at once; without a file, a site of this machine alone.

    Raises:
        CosmoError: the file is not usable.
    """
    if not chosen.deployment.endswith((".yaml", ".yml")):
        return SiteResource()
    file = Path(chosen.deployment).absolute()
    read_deployment(file)
    return SiteResource(file=str(file), pools=str(chosen.data / POOLS))


def _laptop(chosen: Settings, corpus: str, site: SiteResource | None = None) -> dict[str, Any]:
    """One machine: the embedded model unless endpoints are given, workers beside it, MLflow in a sqlite file."""
    each = CONCURRENCY if site is None or not site.file else -(-site.create().concurrency // chosen.workers)
    engine = EngineResource(
        site=site or SiteResource(),
        endpoints=list(chosen.endpoints),
        model=chosen.model,
        logs=str(chosen.state / "servers"),
        concurrency=chosen.concurrency or each,
    )
    uri = f"sqlite:///{chosen.state / 'mlflow.db'}" if chosen.mlflow is None else chosen.mlflow
    return {
        "store": StoreResource(root=str(chosen.data / corpus)),
        "site": engine.site,
        "engine": engine,
        "pool": PoolResource(engine=engine, workers=chosen.workers),
        "programs": ProgramsResource(site=engine.site, recipe=chosen.recipe, data=str(chosen.data)),
        "embedder": EmbedderResource(),
        "notifier": NotifierResource(
            way=site.create().notify if site is not None and site.file else "webhook" if chosen.notifies else "file",
            file=str(chosen.state / "notices.jsonl"),
        ),
        "hub": HubResource(repository=chosen.hub),
        "tracker": TrackerResource(
            uri="" if uri == "off" else uri, experiment=corpus, artifacts=str(chosen.state / "mlflow-artifacts")
        ),
    }


def _site(chosen: Settings, corpus: str) -> dict[str, Any]:
    """A deployment file: its servers, here or in Slurm; everything else as on one machine."""
    return _laptop(chosen, corpus, site_of(chosen))


def _test(chosen: Settings, corpus: str) -> dict[str, Any]:
    """As a laptop, but it never starts a model: the endpoints are the test's own server."""
    if not chosen.endpoints:
        raise CosmoError("the deployment `test` starts no server", remedy="set COSMO_ENDPOINTS to the test's server")
    return _laptop(chosen, corpus)


def _positive(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name)
    if not text:
        return default
    if not text.isdigit() or int(text) < 1:
        raise CosmoError(f"{name} is {text!r}", remedy="set it to a whole number of at least 1")
    return int(text)


_DEPLOYMENTS: dict[str, Callable[[Settings, str], dict[str, Any]]] = {"laptop": _laptop, "test": _test}
