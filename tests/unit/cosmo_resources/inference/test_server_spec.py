"""What a server may be, and the command line and environment that follow."""

import os
from pathlib import Path
from typing import Any

import pydantic
import pytest

from cosmo_resources.inference.engines import command_of, environment_of
from cosmo_resources.inference.server_spec import ServerSpec

FOLDER = Path("/jobs/7")


def vllm(**fields: Any) -> ServerSpec:
    return ServerSpec(**{"engine": "vllm", "model": "/models/big", **fields})


def words(spec: ServerSpec) -> list[str]:
    return command_of(spec, FOLDER, "node7", 8123)


def option(command: list[str], name: str) -> str:
    return command[command.index(f"--{name}") + 1]


def test_a_spec_survives_the_disk() -> None:
    spec = vllm(
        gpus=4,
        served_name="big",
        revision="abc",
        arguments={"enable-prefix-caching": None, "max-num-seqs": 256, "gpu-memory-utilization": 0.92, "x": "y"},
        environment={"NCCL_DEBUG": "WARN"},
        ready_within=1200,
    )
    assert ServerSpec.model_validate_json(spec.model_dump_json()) == spec
    with pytest.raises(pydantic.ValidationError):
        spec.model = "other"


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"engine": "command"}, r"\{port\}"),
        ({"engine": "command", "command": ("serve", "8000")}, r"\{port\}"),
        ({"command": ("serve", "{port}")}, "has a command of its own"),
        ({"arguments": {"--max-num-seqs": 4}}, "without its dashes"),
        ({"arguments": {"port": 8000}}, "port is set from the other fields"),
        ({"gpus": 2, "arguments": {"tensor-parallel-size": 4}}, "over 4 GPUs, gpus is 2"),
        ({"gpus": 4, "arguments": {"tensor-parallel-size": 4, "pipeline-parallel-size": 2}}, "over 8 GPUs"),
        ({"gpus": -1}, "greater than or equal to 0"),
        ({"typo": 1}, "typo"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_what_is_wrong_with_a_spec_is_said(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=what):
        vllm(**fields)


def test_the_name_is_the_models_own_unless_given() -> None:
    assert vllm().name == "big" and vllm(served_name="other").name == "other"


def test_options_of_every_kind() -> None:
    command = words(vllm(gpus=1, arguments={"a": None, "b": True, "c": False, "d": 4, "e": "x y", "f": 0.5}))
    assert command[-9:] == ["--a", "--b", "--no-c", "--d", "4", "--e", "x y", "--f", "0.5"]


def test_vllm_gets_its_address_model_and_gpus() -> None:
    command = words(vllm(gpus=2, revision="abc"))
    assert command[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert (option(command, "host"), option(command, "port")) == ("node7", "8123")
    assert (option(command, "model"), option(command, "served-model-name")) == ("/models/big", "big")
    assert (option(command, "tensor-parallel-size"), option(command, "revision")) == ("2", "abc")
    assert "--no-enable-chunked-prefill" not in command and "--kv-cache-memory-bytes" not in command
    assert "--tensor-parallel-size" not in words(vllm(gpus=2, arguments={"pipeline-parallel-size": 2}))
    assert "--tensor-parallel-size" not in words(vllm(gpus=1))


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    assert "--revision" not in words(vllm(model=str(tmp_path), revision="abc"))


def test_the_defaults_for_the_cpu_yield_to_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    command, environment = words(vllm()), environment_of(vllm(), FOLDER, ())
    assert "--no-enable-chunked-prefill" in command and option(command, "distributed-executor-backend") == "uni"
    assert option(command, "kv-cache-memory-bytes") == str(2 << 30)
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["VLLM_CPU_OMP_THREADS_BIND"].split(",") == [
        str(core) for core in sorted(os.sched_getaffinity(0))
    ]
    own = vllm(
        arguments={"enable-chunked-prefill": None, "kv-cache-memory-bytes": 7, "tensor-parallel-size": 2},
        environment={"OMP_WAIT_POLICY": "ACTIVE"},
    )
    command, environment = words(own), environment_of(own, FOLDER, ())
    assert "--no-enable-chunked-prefill" not in command and option(command, "kv-cache-memory-bytes") == "7"
    assert "--distributed-executor-backend" not in command
    assert "VLLM_CPU_OMP_THREADS_BIND" not in environment and environment["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "--kv-cache-memory-bytes" not in words(vllm(environment={"VLLM_CPU_KVCACHE_SPACE": "1"}))


def test_the_environment_is_offline_quiet_and_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("SITE", "kept")
    environment = environment_of(vllm(gpus=2, python="/envs/vllm/bin/python"), FOLDER, ("2", "3"))
    assert environment["HF_HUB_OFFLINE"] == environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"
    assert environment["CUDA_VISIBLE_DEVICES"] == "2,3" and environment["SITE"] == "kept"
    assert "PYTHONPATH" not in environment and "OMP_WAIT_POLICY" not in environment
    caches = {environment[name] for name in ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}
    assert len(caches) == 3 and all(path.startswith("/jobs/7/") for path in caches)
    assert environment_of(vllm(), FOLDER, ())["PYTHONPATH"] == "/ours", "this very interpreter needs it"
    online = environment_of(vllm(environment={"HF_HUB_OFFLINE": "0"}), FOLDER, ())
    assert online["HF_HUB_OFFLINE"] == "0"


def test_a_command_of_the_sites_own_is_filled_in() -> None:
    spec = ServerSpec(
        engine="command",
        model="/models/big",
        served_name="big",
        command=("llama-server", "-m", "{model}", "--alias", "{name}", "--host={host}", "--port={port}", '{"a": 1}'),
        arguments={"parallel": 8},
    )
    assert " ".join(words(spec)) == (
        'llama-server -m /models/big --alias big --host=node7 --port=8123 {"a": 1} --parallel 8'
    )
