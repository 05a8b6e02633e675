"""From a deployment file to a pool.

Belongs here: which pool a file describes, with its figures put where they belong. Does not belong here: the file
(`cosmo_resources.deployment_file`) or what pools do.
"""

from collections.abc import Mapping
from pathlib import Path

from cosmo_resources.deployment_file import DeploymentFile, Option
from cosmo_resources.pools.agent import ServiceSpec
from cosmo_resources.pools.batch import BatchPool, SlurmOptions
from cosmo_resources.pools.jobs import Pool
from cosmo_resources.pools.reconcile import PoolSize, Reconciler
from cosmo_resources.pools.service import ServicePool
from cosmo_resources.pools.task import TaskSpec
from cosmo_resources.slurm.slurm import Slurm

LABEL_SERVERS = 1
"""Servers that answer what is no bucket's job (labels, outlines, pilots) where buckets bring servers of their own."""


def slurm_pool(site: DeploymentFile, slurm: Slurm, root: Path) -> Pool:
    """The pool that generations run on, where that is Slurm."""
    if site.way == "batch":
        task = TaskSpec(
            module="",
            server=site.server,
            servers=site.servers_per_task,
            concurrency=site.concurrency,
            timeout=site.timeout_seconds,
            grace_seconds=site.grace_seconds,
        )
        return BatchPool(slurm, slurm_options(site, site.servers_per_task), task, tasks=site.tasks)
    return service_pool(site, slurm, root)


def service_pool(site: DeploymentFile, slurm: Slurm, root: Path) -> ServicePool:
    """The servers that all share. `root` is a folder on the shared file system."""
    return ServicePool(
        lambda: reconciler(site, slurm, root),
        per_server=site.concurrency,
        engine=site.server.engine,
        timeout=site.timeout_seconds,
    )


def reconciler(site: DeploymentFile, slurm: Slurm, root: Path) -> Reconciler:
    most = site.tasks if site.way == "service" else LABEL_SERVERS
    spec = ServiceSpec(
        server=site.server, idle_seconds=site.idle_seconds, grace_seconds=site.grace_seconds, host=site.host
    )
    size = PoolSize(min(site.floor, most), most, site.rows_per_server)
    return Reconciler(slurm, slurm_options(site, 1), spec, size, root)


def slurm_options(site: DeploymentFile, servers: int) -> SlurmOptions:
    """How the site's jobs with so many servers are submitted. Devices are asked for as the servers need them, unless
    the site's own options say it in another way."""
    options = options_of(site.slurm.options)
    gpus = servers * site.server.gpus
    if gpus and not any(name in options for name in ("gpus", "gres", "gpus-per-node", "gpus-per-task")):
        options["gres"] = f"gpu:{gpus}"
    return SlurmOptions(site.python, options, site.slurm.setup, site.slurm.notice_seconds)


def options_of(options: Mapping[str, Option]) -> dict[str, str | None]:
    return {name: None if value is None else str(value) for name, value in options.items()}
