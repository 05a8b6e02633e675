"""What logs mean. Those in server_logs are excerpts of real ones: vLLM 0.32 on the CPU, mistakes made on purpose."""

from pathlib import Path

import pytest

from cosmo_resources.inference.failures import diagnose

LOGS = Path(__file__).parent / "server_logs"


@pytest.mark.parametrize(
    ("log", "kind", "cause", "remedy"),
    [
        ("no_package", "no package", "no package vllm", "make vllm-cpu"),
        ("no_model", "no model", "no folder with a model", "config.json"),
        ("empty_folder", "no model", "no folder with a model", "config.json"),
        ("hub_is_off", "hub is off", "not on disk", "HF_HUB_OFFLINE"),
        ("unknown_type", "unknown architecture", "models of the type foo", "newer engine"),
        ("unknown_architecture", "unknown architecture", "config.json names", "newer engine"),
        ("cut_weights", "no weights", "no complete weights", "safetensors"),
        ("context_too_long", "context too long", "max-model-len is 100000, the model's context holds 8192", "lower"),
        ("batch_shorter_than_context", "batch shorter than context", "is 512, less than", "max-num-batched-tokens"),
        ("wrong_argument", "wrong argument", "unrecognized arguments: --max-num-sequences", "`arguments`"),
        ("wrong_value", "wrong argument", "--max-num-batched-tokens: invalid", "`arguments`"),
        ("port_in_use", "port in use", "another process listens", "start it again"),
        ("cache_too_small", "cache too small", "key-value cache is too small", "max-model-len"),
        ("no_cache", "cache too small", "key-value cache is too small", "gpu-memory-utilization"),
        ("memory_taken", "memory taken", "less free memory", "kv-cache-memory-bytes"),
        ("heads", "heads do not divide", "9 attention heads cannot be spread over 2", "tensor-parallel-size"),
        ("cores_per_worker", "too few cores", "sets of cores", "VLLM_CPU_OMP_THREADS_BIND"),
        ("numa_nodes", "too few cores", "sets of cores", "tensor-parallel-size"),
        ("seed_with_chunks", "seed with chunks", "requests with a seed", "enable-chunked-prefill"),
        ("out_of_memory_kill", "killed", "lack of memory", "more memory for the job"),
        ("worker_killed", "killed", "lack of memory", "more memory for the job"),
        ("engine_killed", "killed", "lack of memory", "more memory for the job"),
    ],
)
def test_a_real_log_is_explained(log: str, kind: str, cause: str, remedy: str) -> None:
    text = (LOGS / f"{log}.log").read_text(encoding="utf-8")
    found = diagnose(text, 1)
    assert found is not None
    assert found.kind == kind and cause in found.cause and remedy in found.remedy
    assert found.line in text and "{" not in found.cause


def test_every_log_is_tested() -> None:
    marks = test_a_real_log_is_explained.pytestmark  # type: ignore[attr-defined]
    assert {path.stem for path in LOGS.iterdir()} == {row[0] for row in marks[0].args[1]}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.63 GiB", "GPU out of memory"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory.", "GPU out of memory"),
        (
            "ValueError: Free memory on device (31.44/47.38 GiB) is less than desired GPU memory utilization",
            "memory taken",
        ),
        (
            "ValueError: The model's max seq len (32768) is larger than the maximum number stored in KV cache (10240).",
            "cache too small",
        ),
        ("RuntimeError: Failed to infer device type, please set the environment variable", "no device"),
        ("ValueError: World size (4) is larger than the number of available GPUs (1) in this node.", "too few devices"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried", "out of memory"),
    ],
    ids=["out of memory", "older", "taken", "cache", "no device", "devices", "host memory"],
)
def test_messages_of_machines_that_are_not_here(line: str, kind: str) -> None:
    wrapped = "Engine core initialization failed. See root cause above."
    found = diagnose(f"(EngineCore pid=7) ERROR 01-01 [core.py:1] {line}\nRuntimeError: {wrapped}\n", 1)
    assert found is not None and (found.kind, found.line.partition("] ")[2]) == (kind, line)


def test_an_error_that_is_not_known_is_its_own_cause() -> None:
    log = "loading\n(Worker pid=7) ERROR 01-01 00:00:00 [worker.py:3] KeyError: 'lm_head'\n"
    log += "RuntimeError: Engine core initialization failed. See root cause above.\n"
    found = diagnose(log, 1)
    assert found is not None and (found.kind, found.cause) == ("error", "KeyError: 'lm_head'")


@pytest.mark.parametrize(("code", "killed"), [(137, True), (-9, True), (1, False), (None, False)], ids=str)
def test_a_log_that_says_nothing(code: int | None, killed: bool) -> None:
    found = diagnose("INFO serving\n", code)
    assert (found is not None) == killed and (found is None or found.kind == "killed")
