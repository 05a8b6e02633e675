"""Deployment files: read with an error that names the field, changed in one place and nowhere else."""

import re
from pathlib import Path

import pytest

from cosmo_resources.deployment_file import read_deployment, write_arguments
from cosmo_resources.errors import CosmoError

FILE = """# our cluster
way: batch   # one array per bucket
tasks: 8
server:
  engine: vllm
  model: /models/m  # on every node
  gpus: 2
  # the batch sizes
  arguments:
    max-num-seqs: 256
    tensor-parallel-size: 2
  ready_within: 600
slurm:
  options: {partition: gpu, exclusive: null, time: "12:00:00"}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    site = read_deployment(write(tmp_path, FILE))
    assert (site.way, site.tasks, site.server.gpus) == ("batch", 8, 2)
    assert site.server.arguments == {"max-num-seqs": 256, "tensor-parallel-size": 2}
    assert site.slurm.options == {"partition": "gpu", "exclusive": None, "time": "12:00:00"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FILE.replace("batch", "bach"), "way: Input should be"),
        (FILE.replace("tasks: 8", "tasks: 0"), "tasks: Input should be greater"),
        (FILE.replace("tasks: 8", "tusks: 8"), "tusks: Extra inputs"),
        (FILE.replace("gpus: 2", "gpus: 1"), "over 2 GPUs"),
        (FILE.replace("  model: /models/m", "  modl: x"), "server.model: Field required"),
        ("a: [1", "not YAML"),
        ("", "Input should be"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(CosmoError, match=re.escape(said)) as caught:
        read_deployment(path)
    assert str(path) in caught.value.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="No such file"):
        read_deployment(tmp_path / "none.yaml")


def test_new_arguments_change_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path, FILE)
    write_arguments(path, {"max-num-seqs": 1024, "enable-prefix-caching": False}, "tuned: 9,000 tokens/s")
    site = read_deployment(path)
    assert site.server.arguments == {"max-num-seqs": 1024, "enable-prefix-caching": False}
    text = path.read_text(encoding="utf-8")
    assert "# tuned: 9,000 tokens/s" in text
    kept = [line for line in FILE.splitlines() if "#" in line or "options" in line]
    assert [line for line in kept if line not in text.splitlines()] == []
    before = read_deployment(write(tmp_path, FILE))
    assert site.model_copy(update={"server": before.server}) == before


def test_arguments_are_written_where_there_were_none_and_once_only(tmp_path: Path) -> None:
    path = write(tmp_path, "server: {engine: embedded, model: smollm2-135m-instruct}\n")
    for number in (1, 2):
        write_arguments(path, {"max-num-seqs": 8 * number}, f"tuned: try {number}")
    assert read_deployment(path).server.arguments == {"max-num-seqs": 16}
    assert path.read_text(encoding="utf-8").count("max-num-seqs") == 1
