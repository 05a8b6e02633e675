"""The resources as Dagster configures them: each makes one plain object of this package.

Belongs here: thin wrappers and their configuration fields. Does not belong here: behaviour, or which deployment uses
which (`deployments`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pydantic
from pydantic import Field

from cosmo_resources.deployment_file import DeploymentFile, NightlySection, faults, read_deployment
from cosmo_resources.embedding.minilm import MiniLmEmbedder, pipeline_embedder
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import ClientOptions, CompletionClient
from cosmo_resources.inference.models import EMBEDDED
from cosmo_resources.inference.servers import EmbeddedServer, RemoteServer, Server, make_server
from cosmo_resources.notifier import FileNotifier, Notifier, WebhookNotifier
from cosmo_resources.pools.batch import EXPORTED
from cosmo_resources.pools.jobs import Pool
from cosmo_resources.pools.local import LocalPool
from cosmo_resources.pools.reconcile import Reconciler
from cosmo_resources.pools.service import PoolEndpoints
from cosmo_resources.pools.sites import options_of, reconciler, slurm_pool
from cosmo_resources.slurm.commands import LocalCommands
from cosmo_resources.slurm.slurm import Slurm
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.tracking import MlflowTracker, NoTracker, Tracker

LOGS = "programs"
"""Folder of the logs of stages that run as jobs."""

if TYPE_CHECKING:
    from dagster_slurm import SSHConnectionResource

    from cosmo_resources.slurm.resources import ProgramResource


class StoreResource(dg.ConfigurableResource[CorpusStore]):
    """Where the corpus lies on disk."""

    root: str = Field(description="Folder of the corpus: $COSMO_DATA/<corpus name>")

    def create(self) -> CorpusStore:
        return CorpusStore(Path(self.root))

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Any]:
        """While a run is at work on the corpus, it holds it under its id (see `CorpusStore.hold`): so what it reads is
        not collected, and its death is seen."""
        with self.create().hold(context.run_id) if context.run_id else nullcontext():
            yield self


class SiteResource(dg.ConfigurableResource[DeploymentFile]):
    """A deployment file, and Slurm as it says. Without a file there is none of either."""

    file: str = Field(default="", description="Deployment file; empty works on this machine alone")
    pools: str = Field(default="", description="Folder of shared pools, on a file system that all nodes see")

    def create(self) -> DeploymentFile:
        return read_deployment(Path(self.file))

    @property
    def in_slurm(self) -> bool:
        return bool(self.file) and self.create().way != "local"

    @property
    def nightly(self) -> NightlySection:
        return self.create().nightly if self.file else NightlySection()

    def slurm(self) -> Slurm:
        connection = self._ssh()
        if connection is None:
            return Slurm(LocalCommands())
        from cosmo_resources.slurm.resources import SshCommands

        return Slurm(SshCommands(connection))

    def _ssh(self) -> "SSHConnectionResource | None":
        """Raises:
        CosmoError: the file's section is wrong."""
        ssh = self.create().slurm.ssh
        if ssh is None:
            return None
        from dagster_slurm import SSHConnectionResource  # a third of a second that only a remote login node costs

        try:
            return SSHConnectionResource(**ssh.model_dump(exclude_none=True))
        except pydantic.ValidationError as error:
            raise CosmoError(
                f"{self.file}: slurm.ssh: {faults(error)}",
                remedy="mend the section; without key_path ~/.ssh/config and ssh-agent decide",
            ) from error

    def programs(self) -> "ProgramResource":
        """Where stages run as jobs: like everything else by this machine's commands, or at the login node."""
        from cosmo_resources.slurm.resources import ProgramResource, SlurmResource

        site = self.create()
        return ProgramResource(
            slurm=SlurmResource(ssh=self._ssh()),
            python=site.python,
            folder=str(Path(self.pools) / LOGS),
            environment=site.programs.environment,
            partition=str(site.programs.options.get("partition") or ""),
        )

    def reconciler(self) -> Reconciler:
        return reconciler(self.create(), self.slurm(), Path(self.pools))


class EngineResource(dg.ConfigurableResource[Server]):
    """Who answers requests: OpenAI-compatible endpoints, the servers of a deployment file, or the embedded model."""

    site: SiteResource = SiteResource()
    endpoints: list[str] = Field(default=[], description="Base URLs ending in /v1; empty starts a server")
    model: str = Field(default=EMBEDDED, description="What the embedded server serves: a shipped name or a .gguf path")
    logs: str = Field(default=".cosmo/state/servers", description="Folder of the logs of servers on this machine")
    concurrency: int = Field(default=64, description="Requests in flight")

    @property
    def timeout(self) -> float:
        """Seconds for one request."""
        return self.site.create().timeout_seconds if self.site.file else ClientOptions.timeout

    def server(self) -> Server:
        """The server of this machine."""
        if self.endpoints:
            return RemoteServer(self.endpoints)
        return _local(self.site.file, self.logs) if self.site.file else _embedded(self.model, self.logs)

    def client(self, model: str) -> CompletionClient:
        """A client of the servers, which are started if they must be."""
        key = os.environ.get("COSMO_API_KEY", "")
        if self.site.in_slurm and not self.endpoints:
            each = self.site.create().concurrency
            pool = PoolEndpoints(self.site.reconciler())
            options = ClientOptions(
                concurrency=each * 1024, per_endpoint=each, timeout=self.timeout, patience=None, api_key=key
            )
            return CompletionClient(pool, model, options)
        options = ClientOptions(concurrency=self.concurrency, timeout=self.timeout, api_key=key)
        return CompletionClient(self.server().start(), model, options)


class PoolResource(dg.ConfigurableResource[Pool]):
    """Where generations run: worker processes on this machine, or Slurm as the deployment file says."""

    engine: EngineResource
    workers: int = Field(default=1, description="Worker processes on this machine")

    def create(self) -> Pool:
        site = self.engine.site
        if site.in_slurm and not self.engine.endpoints:
            return slurm_pool(site.create(), site.slurm(), Path(site.pools))
        return LocalPool(
            self.engine.server,
            workers=self.workers,
            concurrency=self.engine.concurrency,
            gpus=site.create().server.gpus if site.file else 0,
            timeout=self.engine.timeout,
        )


class ProgramsResource(dg.ConfigurableResource[None]):
    """Stages that run as Slurm jobs of their own, where the deployment file names them."""

    site: SiteResource = SiteResource()
    recipe: str = Field(default="", description="The recipe, by a name or path that nodes know as well")
    data: str = Field(default="", description="The data root, on a file system that all nodes see")

    def run(self, context: dg.AssetExecutionContext, module: str, asset: str, bucket: str = "") -> None:
        """Run `python -m <module> <asset> <bucket>` as a job, and wait for its end; nothing, where the asset is none of
        those that run so. Whether it did its work, the store says.

        Raises:
            CosmoError: the job failed; the end of its log is quoted.
        """
        if not self.site.file or asset not in self.site.create().programs.assets:
            return
        from cosmo_resources.slurm.programs import Program

        section = self.site.create().programs
        place = (bucket,) if bucket else ()
        program = Program(
            name="-".join(("cosmo", asset, *place)),
            module=module,
            arguments=(asset, *place, "--recipe", self.recipe, "--data", self.data),
            options={"export": EXPORTED, **options_of(section.options)},
        )
        (Path(self.site.pools) / LOGS).mkdir(parents=True, exist_ok=True)
        self.site.programs().run(context, program)


class EmbedderResource(dg.ConfigurableResource[MiniLmEmbedder]):
    """The sentence embedding model."""

    def create(self) -> MiniLmEmbedder:
        return _embedder()


class TrackerResource(dg.ConfigurableResource[Tracker]):
    """Where figures of runs are logged."""

    uri: str = Field(default="", description="MLflow tracking URI; empty logs nothing")
    experiment: str = Field(default="cosmo", description="MLflow experiment")
    artifacts: str = Field(default="", description="Folder for artifacts of a new experiment")

    def create(self) -> Tracker:
        return MlflowTracker(self.uri, self.experiment, self.artifacts) if self.uri else NoTracker()


class NotifierResource(dg.ConfigurableResource[Notifier]):
    """How people hear of failures. The address and the token of a webhook come from the environment alone."""

    way: str = Field(default="file", description="file, webhook or slack")
    file: str = Field(default=".cosmo/state/notices.jsonl", description="Where notices go in the way `file`")

    def create(self) -> Notifier:
        """Raises:
        CosmoError: the way needs an address, and there is none."""
        if self.way == "file":
            return FileNotifier(Path(self.file))
        url = os.environ.get("COSMO_NOTIFY_URL", "")
        if not url:
            raise CosmoError(
                f"notices go by {self.way}, and COSMO_NOTIFY_URL is not set",
                remedy="set it in the environment of the daemon, or `notify: file` in the deployment file",
            )
        token = os.environ.get("COSMO_NOTIFY_TOKEN", "")
        return WebhookNotifier(url, token=token, slack=self.way == "slack")


class HubResource(dg.ConfigurableResource[None]):
    """Where the exported dataset may be sent to, on request."""

    repository: str = Field(default="", description="owner/name on the Hugging Face hub; empty: nowhere")


@cache
def _local(file: str, logs: str) -> Server:
    """The server of a deployment file on this machine, one per process."""
    return make_server(read_deployment(Path(file)).server, Path(logs), kept=True)


@cache
def _embedded(model: str, logs: str) -> EmbeddedServer:
    """One server per process, shared by all assets that it materializes."""
    return EmbeddedServer(model, Path(logs))


@cache
def _embedder() -> MiniLmEmbedder:
    return pipeline_embedder()
