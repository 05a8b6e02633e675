"""Real engines for tests, where they are installed: vLLM on the CPU, its torch, and lm-eval beside that."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cosmo_resources.inference.models import EMBEDDED
from cosmo_resources.inference.server_spec import ServerSpec
from tests.corpora import ROOT

COMPACT = json.dumps({"backend": "xgrammar", "disable_any_whitespace": True})
"""Free to choose the whitespace of its JSON, this model writes little else."""


def vllm_on_the_cpu(**arguments: Any) -> ServerSpec:
    """The packaged model served by vLLM, or a skip. Eager: compiling takes a minute longer."""
    python = Path(os.environ.get("COSMO_VLLM_PYTHON") or ROOT / ".venv-vllm" / "bin" / "python")
    if not python.is_file():
        pytest.skip(f"no vLLM: COSMO_VLLM_PYTHON is not set and {python} is missing (`make vllm-cpu`)")
    options: dict[str, Any] = {
        "enforce-eager": None,
        "max-model-len": 1024,
        "max-num-seqs": 16,
        "kv-cache-memory-bytes": 1 << 29,
    }
    options["structured-outputs-config"] = COMPACT
    return ServerSpec(
        engine="vllm", model=EMBEDDED, python=str(python), arguments={**options, **arguments}, ready_within=240
    )


def python_with_torch() -> str:
    """An interpreter that trains proxies, or a skip."""
    python = Path(os.environ.get("COSMO_PROXY_PYTHON") or ROOT / ".venv-vllm" / "bin" / "python")
    if not python.is_file():
        pytest.skip(f"no torch: COSMO_PROXY_PYTHON is not set and {python} is missing (`make vllm-cpu`)")
    return str(python)


def python_with_lm_eval() -> str:
    """An interpreter that trains proxies and has lm-evaluation-harness, or a skip."""
    python = Path(os.environ.get("COSMO_LM_EVAL_PYTHON") or ROOT / ".venv-lm-eval" / "bin" / "python")
    if not python.is_file():
        remedy = "`make vllm-cpu WITH=lm-eval`"
        pytest.skip(f"no lm-eval: COSMO_LM_EVAL_PYTHON is not set and {python} is missing ({remedy})")
    return str(python)
