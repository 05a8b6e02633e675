"""What a model server is: engine, model and options, as a record that can lie on disk until a job reads it.

Belongs here: the fields of a server and what is wrong with them. Does not belong here: how an engine is started
(`engines`), or the life of the process (`server_process`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pydantic

from cosmo_resources.storage.manifest import Frozen

Option = bool | int | float | str | None


class ServerSpec(Frozen):
    """One server, wherever it will run. JSON: `model_dump_json` and `model_validate_json`.

    `vllm` is vLLM's OpenAI server, run by `python`, the interpreter of vLLM's own environment (default: this one).
    `embedded` is the small model that comes as a package. `command` is any other OpenAI-compatible server: `command` is
    its argument list, in which {model}, {name}, {host} and {port} are filled in; it ends in `arguments` as options.
    """

    engine: Literal["vllm", "embedded", "command"]
    model: str
    """Folder or hub id for vLLM; a shipped name or a .gguf file for both of the first two engines."""
    served_name: str = ""
    """What requests give as their model; default: the last part of `model`."""
    revision: str = ""
    """Revision on the hub; passed on to vLLM where `model` is no folder."""
    python: str = ""
    arguments: Mapping[str, Option] = {}
    """Long options without their dashes. None and true give `--option`, false gives `--no-option`."""
    environment: Mapping[str, str] = {}
    """Variables of the server's environment; they win over the defaults of the engine."""
    gpus: int = pydantic.Field(default=0, ge=0)
    """GPUs of one server; 0 runs on the CPU. vLLM spreads the model over all of them unless the arguments say else."""
    command: tuple[str, ...] = ()
    ready_within: float = pydantic.Field(default=900.0, gt=0)
    """Seconds from start to the first answer."""
    restarts: int = pydantic.Field(default=3, ge=0)
    restart_window: float = pydantic.Field(default=1800.0, gt=0)
    """At most `restarts` within this many seconds."""

    @property
    def name(self) -> str:
        return self.served_name or Path(self.model).name

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "ServerSpec":
        if self.engine == "command" and not any("{port}" in part for part in self.command):
            raise ValueError("the engine `command` needs a `command` with {port} in it")
        if self.engine != "command" and self.command:
            raise ValueError(f"the engine `{self.engine}` has a command of its own: give `arguments`")
        for option in self.arguments:
            if option.startswith("-") or not option:
                raise ValueError(f"arguments: {option!r} is to be given without its dashes")
            if option in RESERVED and self.engine != "command":
                raise ValueError(f"arguments: {option} is set from the other fields")
        parts = 1
        for option in ("tensor-parallel-size", "pipeline-parallel-size"):
            parts *= int(self.arguments.get(option) or 1)
        if self.engine == "vllm" and self.gpus and parts > self.gpus:
            raise ValueError(f"arguments spread the model over {parts} GPUs, gpus is {self.gpus}")
        return self


RESERVED = frozenset({"host", "port", "model", "served-model-name", "served-name", "revision", "parent", "ready-file"})
"""Options that follow from the other fields."""
