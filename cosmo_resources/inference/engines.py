"""How each engine is started: its command line and its environment.

Belongs here: the options and variables that an engine needs to run unattended, offline and beside others.
Does not belong here: the life of the process (`server_process`), what its log means (`failures`).
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.models import PACKAGED, find_model
from cosmo_resources.inference.server_spec import Option, ServerSpec

CPU_CACHE_BYTES = 2 << 30
"""Key-value cache of vLLM on the CPU. Its own default is nine tenths of the machine's memory."""

QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
PARENTS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


def command_of(spec: ServerSpec, folder: Path, host: str, port: int) -> list[str]:
    """The argument list that starts the server. `folder` is the server's own: a GGUF that vLLM cannot read is
    converted into it.

    Raises:
        CosmoError: there is no such interpreter, package or GGUF.
    """
    if spec.engine == "command":
        values = {"model": spec.model, "name": spec.name, "host": host, "port": str(port)}
        return [*(_filled(part, values) for part in spec.command), *_options(spec.arguments)]
    address = ["--host", host, "--port", str(port)]
    if spec.engine == "embedded":
        program = [_python(spec), "-m", "cosmo_resources.inference.embedded_server"]
        return [*program, "--model", spec.model, "--served-name", spec.name, *address, *_options(spec.arguments)]
    # The `vllm` command loads every subcommand, and fails where one lacks a package.
    program = [_python(spec), "-m", "vllm.entrypoints.openai.api_server"]
    model = ["--model", _vllm_model(spec, folder), "--served-model-name", spec.name]
    if spec.revision and not Path(spec.model).is_dir() and not _is_gguf(spec.model):
        model += ["--revision", spec.revision]
    return [*program, *model, *address, *_options({**_vllm_defaults(spec), **spec.arguments})]


def environment_of(spec: ServerSpec, folder: Path, devices: Sequence[str]) -> dict[str, str]:
    """This process's environment, as the server gets it. Caches of compiled code lie in the server's own folder: two
    servers that start at once would write the same files, and the next one would read them half-written."""
    foreign = spec.python not in {"", sys.executable}
    inherited = {name: value for name, value in os.environ.items() if name not in PARENTS or not foreign}
    added = {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {}
    if spec.engine == "vllm":
        added |= QUIET
        for name in ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
            added[name] = str(folder / "cache" / name.split("_")[0].lower())
        if _one_cpu_worker(spec):
            # `auto` keeps one core back for the front end: with two, half of the machine.
            added["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(str(core) for core in _cores())
            # Threads that spin while they wait take the cores from workers beside them: 46 instead of 281 tokens/s.
            added["OMP_WAIT_POLICY"] = "PASSIVE"
            added["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # else the engine overrules the executor below
    return {**inherited, **added, **spec.environment}


def _vllm_defaults(spec: ServerSpec) -> dict[str, Option]:
    """What vLLM is told unless the spec says otherwise."""
    defaults: dict[str, Option] = {"disable-uvicorn-access-log": None}  # a line per request is millions of lines
    if spec.gpus:
        spread = {"tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size"} & spec.arguments.keys()
        return defaults | ({"tensor-parallel-size": spec.gpus} if spec.gpus > 1 and not spread else {})
    if not {"enable-chunked-prefill", "no-enable-chunked-prefill"} & spec.arguments.keys():
        # A prompt computed in chunks and a request's own seed, which Cosmo always gives, end the engine on the CPU:
        # "CPU Generator does not use offset".
        defaults["no-enable-chunked-prefill"] = None
    if _one_cpu_worker(spec):
        # The worker within the engine's process: ready in half the time, and 1.7 times faster on two cores.
        defaults["distributed-executor-backend"] = "uni"
    if "VLLM_CPU_KVCACHE_SPACE" not in {**os.environ, **spec.environment}:
        defaults["kv-cache-memory-bytes"] = CPU_CACHE_BYTES
    return defaults


def _one_cpu_worker(spec: ServerSpec) -> bool:
    spread = {"tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size", "distributed-executor-backend"}
    return not spec.gpus and not spread & spec.arguments.keys()


def _vllm_model(spec: ServerSpec, folder: Path) -> str:
    if not _is_gguf(spec.model):
        return spec.model
    try:  # here, because workers on compute nodes have neither of the packages that this takes
        from cosmo_resources.inference.gguf_export import export_gguf
    except ModuleNotFoundError as error:
        raise CosmoError(
            f"vLLM reads {spec.model} only after a conversion, which needs the package {error.name}",
            remedy="serve a folder with safetensors, or install gguf and tokenizers into the workers' environment",
        ) from error
    gguf = find_model(spec.model)
    return str(export_gguf(gguf, folder / "model" / gguf.stem))


def _is_gguf(model: str) -> bool:
    return model in PACKAGED or model.endswith(".gguf")


def _python(spec: ServerSpec) -> str:
    if spec.python and not os.access(spec.python, os.X_OK):
        raise CosmoError(
            f"the server's interpreter {spec.python} is missing or cannot be run",
            remedy="set `python` to the interpreter of the engine's own environment",
        )
    return spec.python or sys.executable


def _options(arguments: Mapping[str, Option]) -> list[str]:
    words: list[str] = []
    for option, value in arguments.items():
        if value is None or isinstance(value, bool):
            words.append(f"--no-{option}" if value is False else f"--{option}")
        else:
            words += [f"--{option}", str(value)]
    return words


def _filled(part: str, values: Mapping[str, str]) -> str:
    """Placeholders filled in; other braces stay (JSON is a usual argument)."""
    for name, value in values.items():
        part = part.replace(f"{{{name}}}", value)
    return part


def _cores() -> list[int]:
    """The cores that this process may use: all of the machine's, or a job's share."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
