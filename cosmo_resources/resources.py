"""The resources as Dagster configures them: each makes one plain object of this package.

Belongs here: thin wrappers and their configuration fields. Does not belong here: behaviour, or which deployment uses
which (`deployments`).
"""

from functools import cache
from pathlib import Path

import dagster as dg
from pydantic import Field

from cosmo_resources.embedding.minilm import MiniLmEmbedder
from cosmo_resources.inference.client import ClientOptions, CompletionClient
from cosmo_resources.inference.models import EMBEDDED
from cosmo_resources.inference.servers import EmbeddedServer, RemoteServer, Server
from cosmo_resources.pools.local import LocalPool
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.tracking import MlflowTracker, NoTracker, Tracker


class StoreResource(dg.ConfigurableResource[CorpusStore]):
    """Where the corpus lies on disk."""

    root: str = Field(description="Folder of the corpus: $COSMO_DATA/<corpus name>")

    def create(self) -> CorpusStore:
        return CorpusStore(Path(self.root))


class EngineResource(dg.ConfigurableResource[Server]):
    """Who answers requests: the embedded model, or OpenAI-compatible endpoints."""

    endpoints: list[str] = Field(default=[], description="Base URLs ending in /v1; empty starts the embedded server")
    model: str = Field(default=EMBEDDED, description="What the embedded server serves: a shipped name or a .gguf path")
    logs: str = Field(default=".cosmo/state/servers", description="Folder of the embedded server's log")
    concurrency: int = Field(default=64, description="Requests in flight")

    def server(self) -> Server:
        if self.endpoints:
            return RemoteServer(self.endpoints)
        return _embedded(self.model, self.logs)

    def client(self, model: str) -> CompletionClient:
        """A client of the server, which is started if it must be."""
        return CompletionClient(self.server().start(), model, ClientOptions(concurrency=self.concurrency))


class LocalPoolResource(dg.ConfigurableResource[LocalPool]):
    """Worker processes on this machine."""

    engine: EngineResource
    workers: int = Field(default=1, description="Worker processes")

    def create(self) -> LocalPool:
        return LocalPool(self.engine.server, workers=self.workers, concurrency=self.engine.concurrency)


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


@cache
def _embedded(model: str, logs: str) -> EmbeddedServer:
    """One server per process, shared by all assets that it materializes."""
    return EmbeddedServer(model, Path(logs))


@cache
def _embedder() -> MiniLmEmbedder:
    return MiniLmEmbedder(pooling="sif")
