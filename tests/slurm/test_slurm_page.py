"""The page on Slurm as a script: its commands, one after the other, on a real cluster."""

from pathlib import Path

import pytest

from tests.corpora import ROOT, Corpus
from tests.e2e.pages import Reader, commands_of
from tests.slurm.cluster import Cluster
from tests.slurm.sites import site
from tests.slurm.test_doctor_slurm import nvidia_smi as nvidia_smi
from tests.unit.test_documents import FENCE, text_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ELSEWHERE = {
    "make worker-env": "tests/unit/deploy/test_worker_environment.py",
    "make wheelhouse": "tests/unit/deploy/test_worker_environment.py",
    "cosmo tune": "tests/e2e/test_vllm_tuning.py",
}
"""What needs a package registry or vLLM, and which tests run it."""

SAID = {
    "cosmo doctor --slurm": "sbatch",
    "cosmo doctor --slurm --gpus": "2 visible (Pretended GPU)",
    "cosmo run --bucket b000": "generations",
    "cosmo watch --once": "1 of 1 published",
    "squeue --me": "JOBID",
}


def test_the_commands_of_the_page_run_as_they_stand(
    cluster: Cluster, corpus: Corpus, tmp_path: Path, nvidia_smi: str
) -> None:
    setup = f"export PATH=$PATH:{nvidia_smi}"
    mine = site(tmp_path, "service", tasks=2, setup=setup, server={"gpus": 2})
    copy = f"cp {ROOT}/deploy/slurm/h100.yaml my-cluster.yaml && cp {mine} my-cluster.yaml"  # its edited lines
    means = {"/shared/cosmo/data": str(corpus.data), "cp deploy/slurm/h100.yaml my-cluster.yaml": copy}
    reader = Reader.at(corpus.folder, corpus.environment("", deployment="no deployment yet"), means)
    blocks = [body for language, body in FENCE.findall(text_of(ROOT / "docs" / "slurm.md")) if language == "bash"]
    said = {}
    for command in (command for block in blocks for command in commands_of(block)):
        if not command.startswith(tuple(ELSEWHERE)):
            said[command.split("#")[0].strip()] = reader.type(command)
    assert "cosmo run" in said
    for command, words in SAID.items():
        assert words in said[command], f"{command}\n{said[command]}"
