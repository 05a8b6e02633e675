"""What a server's log means: the cause in a sentence, and what to change.

Belongs here: the messages by which engines, their Python and the kernel say why a server did not come up or went down.
Does not belong here: reading log files or raising errors (`server_process`).

The patterns for the CPU come from logs of vLLM 0.32 that were provoked on purpose, those for GPUs from reports of its
users. The first entry that matches wins: what the engine says of itself stands before what merely follows from it.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnosis:
    """`line` is the line of the log that says so, '' where the exit code did."""

    kind: str
    cause: str
    remedy: str
    line: str = ""


@dataclass(frozen=True)
class _Failure:
    """`cause` may name groups of `pattern`."""

    kind: str
    pattern: str
    cause: str
    remedy: str


PORT_IN_USE = "port in use"

_MEMORY_OPTIONS = "lower max-model-len, max-num-seqs or gpu-memory-utilization, or spread the model over more `gpus`"

_FAILURES = (
    _Failure(
        "no package",
        r"No module named '?(?P<module>(?:vllm|cosmo_resources|sglang)\b[\w.]*)",
        "its Python has no package {module}",
        "set `python` to the interpreter of the environment that has it (for vLLM on the CPU: `make vllm-cpu`)",
    ),
    _Failure(
        "no program",
        r"guard: (?P<program>\S+) cannot be started: (?P<why>.+)",
        "{program}: {why}",
        "correct `command`, or load the site's module that brings the program",
    ),
    _Failure(
        "wrong argument",
        r"error: (?P<what>unrecognized arguments: .+|argument .+)",
        "the engine does not accept its options: {what}",
        "correct `arguments`; the engine's --help lists its options",
    ),
    _Failure(
        PORT_IN_USE,
        r"Address already in use|EADDRINUSE",
        "another process listens on its port",
        "start it again: it chooses another port",
    ),
    _Failure(
        "no device",
        r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver",
        "the engine finds no GPU, and is not built for the CPU",
        "run it on a node with GPUs (`gpus`), or set `python` to an environment with vLLM for the CPU",
    ),
    _Failure(
        "too few devices",
        r"World size \((?P<size>\d+)\) is larger than the number of available GPUs \((?P<gpus>\d+)\)",
        "the model is to be spread over {size} GPUs, and {gpus} are visible",
        "lower tensor-parallel-size, or give the server more `gpus`",
    ),
    _Failure(
        "too few devices",
        r"invalid device ordinal",
        "a GPU is asked for that is not visible",
        "lower tensor-parallel-size, or give the server more `gpus`",
    ),
    _Failure(
        "heads do not divide",
        r"number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size \((?P<size>\d+)\)",
        "the model's {heads} attention heads cannot be spread over {size} GPUs",
        "set tensor-parallel-size to a number that divides the heads",
    ),
    _Failure(
        "too few cores",
        r"CPU id list .* doesn't match local world size (?P<size>\d+)"
        r"|Not enough allowed NUMA nodes to bind threads of (?P<workers>\d+)",
        "the model is to be spread over more workers than this machine has sets of cores for",
        "leave out tensor-parallel-size, or give each worker its cores in VLLM_CPU_OMP_THREADS_BIND ('0-3|4-7')",
    ),
    _Failure(
        "context too long",
        r"max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len \(\D*(?P<most>\d+)",
        "max-model-len is {asked}, the model's context holds {most} tokens",
        "lower max-model-len",
    ),
    _Failure(
        "batch shorter than context",
        r"max_num_batched_tokens \((?P<batch>\d+)\) is smaller than max_model_len \((?P<length>\d+)\)",
        "max-num-batched-tokens is {batch}, less than a prompt of max-model-len, {length}, that is not to be chunked",
        "raise max-num-batched-tokens, or lower max-model-len",
    ),
    _Failure(
        "cache too small",
        r"(?:max seq len \((?P<length>\d+)\).*?KV cache"
        r"|No available memory for the cache blocks|larger than the available KV cache memory)",
        "the memory left for the key-value cache is too small for one request of full length",
        "lower max-model-len, or raise gpu-memory-utilization (on the CPU: kv-cache-memory-bytes)",
    ),
    _Failure(
        "memory taken",
        r"Free memory on device .* is less than desired GPU memory utilization",
        "another process holds memory of its GPU",
        "end what else runs there, or lower gpu-memory-utilization",
    ),
    _Failure(
        "memory taken",
        r"Available memory on node .* is less than requested memory",
        "the machine has less free memory than the key-value cache is to take",
        "lower kv-cache-memory-bytes (or VLLM_CPU_KVCACHE_SPACE), or end what else runs there",
    ),
    _Failure(
        "GPU out of memory",
        r"CUDA out of memory|torch\.(?:cuda\.)?OutOfMemoryError|CUDA error: out of memory|HIP out of memory",
        "the GPU's memory is too small for the model and its cache",
        _MEMORY_OPTIONS,
    ),
    _Failure(
        "out of memory",
        r"DefaultCPUAllocator: can't allocate memory|std::bad_alloc|\bMemoryError\b|Cannot allocate memory",
        "the machine's memory is too small for the model and its cache",
        "lower max-num-seqs or kv-cache-memory-bytes, or ask for more memory for the job",
    ),
    _Failure(
        "unknown architecture",
        r"model type `(?P<kind>[^`]+)` but Transformers does not recognize",
        "the engine does not know models of the type {kind}",
        "serve the model with a newer engine, or correct config.json in the model's folder",
    ),
    _Failure(
        "unknown architecture",
        r"Model architectures (?P<kind>\[.*?\]) are not supported|Cannot find model module.*?(?P<module>\w+)'",
        "the engine does not know the architecture that the model's config.json names",
        "serve the model with a newer engine, or correct config.json in the model's folder",
    ),
    _Failure(
        "no model",
        r"Repo id must be in the form|Invalid repository ID or local directory specified"
        r"|is not a local folder and is not a valid model identifier|No such model folder|is no model: not one of",
        "`model` is no folder with a model in it",
        "set `model` to a folder with config.json and safetensors, reachable from the node",
    ),
    _Failure(
        "hub is off",
        r"outgoing traffic has been disabled|OfflineModeIsEnabled|LocalEntryNotFoundError|couldn't connect to",
        "the model is not on disk, and the server may not fetch it",
        "download the model beforehand and set `model` to its folder, or set HF_HUB_OFFLINE to 0 in `environment`",
    ),
    _Failure(
        "no weights",
        r"Cannot find any model weights|Error while deserializing header|SafetensorError",
        "the model's folder has no complete weights",
        "copy the model anew; its *.safetensors are missing or cut",
    ),
    _Failure(
        "seed with chunks",
        r"CPU Generator does not use offset",
        "vLLM on the CPU cannot compute prompts in chunks for requests with a seed",
        "leave out enable-chunked-prefill: without it Cosmo turns chunks off",
    ),
)

_KILLED = Diagnosis(
    "killed",
    "it or a process of its engine was killed, most often by the system for lack of memory",
    "ask for more memory for the job, or lower max-num-seqs or the key-value cache (`sacct` or `dmesg` tells)",
)

_ERROR = re.compile(
    r"^(?:\(\w+ pid=\d+\) ERROR [^\]]*\] *)?(?P<error>(?:\w+\.)*\w*(?:Error|Exception): .+)", re.MULTILINE
)
_ECHO = re.compile(
    r"Engine core initialization failed|WorkerProc initialization failed|Executor failed|EngineDeadError"
    r"|engine core exited unexpectedly|Worker proc \S+ died unexpectedly"
)
"""What the other processes of vLLM say when one of them is gone. If that is all, it went without a word."""


def diagnose(log: str, exit_code: int | None) -> Diagnosis | None:
    """Why a server with this log ended, or did not become ready; None where the log holds nothing of it. `exit_code` is
    None while the process runs, -9 or 137 where it was killed."""
    for failure in _FAILURES:
        match = re.search(failure.pattern, log)
        if match is not None:
            named = {name: value.strip() for name, value in match.groupdict(default="").items()}
            return Diagnosis(failure.kind, failure.cause.format(**named), failure.remedy, _line(log, match))
    for match in _ERROR.finditer(log):
        if _ECHO.search(match["error"]) is None:
            return Diagnosis("error", match["error"][:300], "read the whole log", _line(log, match))
    return _KILLED if exit_code in {-9, 137} or _ECHO.search(log) else None


def _line(log: str, match: re.Match[str]) -> str:
    start, end = log.rfind("\n", 0, match.start()) + 1, log.find("\n", match.end())
    return log[start : end if end >= 0 else len(log)].strip()
