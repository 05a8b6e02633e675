"""Deployment files: how a place of work serves models and where its jobs run, as YAML that the site owns.

Belongs here: the file's fields, reading it, and changing one part of it in place. Does not belong here: resources made
of it (`deployments`), or the files themselves (`deploy/`).
"""

import re
import sys
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pydantic
import yaml

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import ClientOptions
from cosmo_resources.inference.server_spec import ServerSpec
from cosmo_resources.storage.files import write_text
from cosmo_resources.storage.manifest import Frozen
from cosmo_resources.yaml_text import drop, put, remark

Count = Annotated[int, pydantic.Field(ge=1)]
Option = str | int | None

DAY = 24 * 60
TUNED = "tuned:"
"""How a remark on tuned arguments begins."""


class SshSection(Frozen):
    """The login node where Slurm's commands are, where that is another machine. Both see the data under one path."""

    host: str
    user: str
    port: int = 22
    key_path: str | None = None
    known_hosts_file: str | None = None


class SlurmSection(Frozen):
    """`options` are long options of sbatch (null for a flag); `setup` is shell that comes first in every job."""

    options: Mapping[str, Option] = {}
    setup: str = ""
    notice_seconds: Annotated[int, pydantic.Field(ge=0)] = 120
    ssh: SshSection | None = None


class ProgramsSection(Frozen):
    """Assets whose work runs as a Slurm job of its own, and what it asks for: `seed_embeddings`,
    `text_signatures`, `text_embeddings`, `duplicate_clusters`. `environment` is needed with a login node only:
    a folder with activate.sh and env/bin/python, as dagster-slurm wants it."""

    assets: tuple[str, ...] = ()
    environment: str = ""
    options: Mapping[str, Option] = {}


class NightlySection(Frozen):
    """What the schedule `nightly` may do. `window` is local time of `timezone`, "20:00-06:00"; equal ends are the whole
    day. In one night at most `buckets` buckets are begun, at most `at_once` at a time, none that would take the night
    above `gpu_hours` or beyond its end."""

    window: str = "20:00-06:00"
    timezone: str = "UTC"
    every_minutes: Annotated[int, pydantic.Field(ge=1, le=60)] = 15
    """How often it looks whether something can begin."""
    buckets: Count = 8
    at_once: Count = 2
    """Buckets at work or in Dagster's queue at a time: one beyond the pool's limit leaves no gap between them."""
    gpu_hours: Annotated[float, pydantic.Field(ge=0)] = 8.0

    @property
    def times(self) -> tuple[time, time]:
        """Begin and end of the window."""
        begin, end = (time.fromisoformat(text) for text in self.window.split("-"))
        return begin, end

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def cron(self) -> str:
        """When the schedule ticks: in the hours that the window touches."""
        begin, end = (at.hour * 60 + at.minute for at in self.times)
        minutes = (end - begin) % DAY or DAY
        hours = range(begin // 60, begin // 60 + min(-(-(begin % 60 + minutes) // 60), 24))
        return f"*/{self.every_minutes} {','.join(str(hour % 24) for hour in hours)} * * *"

    @pydantic.model_validator(mode="after")
    def _readable(self) -> "NightlySection":
        if not re.fullmatch(r"\d\d:\d\d-\d\d:\d\d", self.window):
            raise ValueError(f"window is {self.window!r}: write it as 20:00-06:00")
        _ = self.times
        try:
            _ = self.zone
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"timezone {self.timezone!r} is none of the time zone database") from error
        return self


class DeploymentFile(Frozen):
    """`way` is how servers and workers are brought together: `local` (both here), `batch` (a job array per bucket, each
    task with servers of its own), `service` (servers that all share, as leases tell). `python` is the interpreter of
    the environment that workers run in, on every node."""

    way: Literal["local", "batch", "service"] = "local"
    python: str = sys.executable
    server: ServerSpec
    servers_per_task: Count = 1
    tasks: Count = 1
    """Tasks of an array that run at once, or servers that a service has at most."""
    floor: Annotated[int, pydantic.Field(ge=0)] = 1
    """Servers that a service has at least while somebody needs it."""
    rows_per_server: Count = 200
    idle_seconds: Annotated[float, pydantic.Field(gt=0)] = 600.0
    grace_seconds: Annotated[float, pydantic.Field(gt=0)] = 60.0
    host: str = ""
    """What servers of a service listen on; empty takes the node's address."""
    concurrency: Count = 64
    """Requests in flight on each server."""
    timeout_seconds: Annotated[float, pydantic.Field(gt=0)] = ClientOptions.timeout
    """How long one request may take, before it is sent again: well above what the longest answer needs."""
    slurm: SlurmSection = SlurmSection()
    programs: ProgramsSection = ProgramsSection()
    nightly: NightlySection = NightlySection()
    notify: Literal["file", "webhook", "slack"] = "file"
    """How people hear of failures: a line in COSMO_STATE/notices.jsonl, JSON to COSMO_NOTIFY_URL, or the JSON that
    Slack and its kind take, to the same."""


def read_deployment(path: Path) -> DeploymentFile:
    """Read a deployment file.

    Raises:
        CosmoError: it is not there, or a field is wrong; the field is named.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        return DeploymentFile.model_validate(fields)
    except OSError as error:
        raise CosmoError(
            f"{path}: {error.strerror}", remedy="set COSMO_DEPLOYMENT to laptop, or to a deployment file that is there"
        ) from error
    except yaml.YAMLError as error:
        raise CosmoError(f"{path}: not YAML: {error}", remedy="mend the file; deploy/slurm holds examples") from error
    except pydantic.ValidationError as error:
        raise CosmoError(f"{path}: {faults(error)}", remedy="mend these fields; deploy/slurm holds examples") from error


def faults(error: pydantic.ValidationError) -> str:
    """The fields that are wrong, and why, in one line."""
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())


def write_tuned(
    path: Path, arguments: Mapping[str, Any], comment: str, *, concurrency: int = 1, model: str | None = None
) -> None:
    """Set `server.arguments` of a file to these, and `concurrency` where it is less than this. What else stands in it
    stays as it is, to the character. `comment` comes above the arguments, in place of an earlier one. `model` is what
    the server is to serve from now on, under its own name.
    """
    before = read_deployment(path)
    text = re.sub(rf"^ *# {TUNED}.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if not before.server.arguments:
        text = put(text, ("server", "arguments"), {})
    for name in before.server.arguments.keys() - arguments.keys():
        text = drop(text, ("server", "arguments", name))
    for name, value in arguments.items():
        if name not in before.server.arguments or before.server.arguments[name] != value:
            text = put(text, ("server", "arguments", name), value)
    text = remark(text, ("server", "arguments"), f"{TUNED} {comment}")
    if model is not None:
        text = put(text, ("server", "model"), model)
        for name in sorted(before.server.model_fields_set & {"served_name", "revision"}):
            text = put(text, ("server", name), "")
    if before.concurrency < concurrency:
        text = put(text, ("concurrency",), concurrency)
    write_text(path, text)
    read_deployment(path)
