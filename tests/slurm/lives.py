"""A job that writes down each of its lives and notices."""

from pathlib import Path

from cosmo_resources.slurm.slurm import JobSpec

# Writes down each life and each notice; a second life ends well.
LIVES = """#!/bin/bash
echo "life ${SLURM_RESTART_COUNT:-0} on $SLURMD_NODENAME" >> told
trap 'echo notice >> told; exit 0' USR1
[ "${SLURM_RESTART_COUNT:-0}" = 1 ] && exit 0
for _ in $(seq 3000); do sleep 0.1; done
"""


def spec(name: str, folder: Path, **options: str | None) -> JobSpec:
    named = {key.replace("_", "-"): value for key, value in options.items()}
    return JobSpec(name, LIVES, options={"output": str(folder / "log"), "chdir": str(folder), **named})


def told(folder: Path) -> list[str]:
    file = folder / "told"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
