"""Deployment files: read with an error that names the field, changed in one place and nowhere else."""

import re
from pathlib import Path

import pytest

from cosmo_resources.deployment_file import read_deployment, write_tuned
from cosmo_resources.errors import CosmoError
from tests.corpora import ROOT

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
    write_tuned(path, {"max-num-seqs": 1024, "enable-prefix-caching": False}, "9,000 tokens/s")
    changed = FILE.replace("256", "1024").replace("tensor-parallel-size: 2", "enable-prefix-caching: false")
    assert path.read_text(encoding="utf-8") == changed.replace("  arg", "  # tuned: 9,000 tokens/s\n  arg")


def test_the_requests_in_flight_and_the_model_go_with_the_arguments(tmp_path: Path) -> None:
    path = write(tmp_path, FILE.replace("  gpus", "  served_name: old\n  revision: abc\n  gpus"))
    write_tuned(path, {"max-num-seqs": 1024}, "x", concurrency=1280, model="/models/new")
    site = read_deployment(path)
    assert (site.concurrency, site.server.model, site.server.name) == (1280, "/models/new", "new")
    assert (site.server.revision, site.server.gpus, site.slurm.options["partition"]) == ("", 2, "gpu")
    assert "  model: /models/new  # on every node\n" in path.read_text(encoding="utf-8")
    write_tuned(path, {"max-num-seqs": 64}, "x", concurrency=80)
    assert read_deployment(path).concurrency == 1280, "more in flight does no harm, and may be meant"


@pytest.mark.parametrize(
    "text",
    [
        "server: {engine: embedded, model: smollm2-135m-instruct}\n",
        "server:\n  engine: embedded\n  model: smollm2-135m-instruct  # the only one",
    ],
    ids=["in braces", "in lines"],
)
def test_arguments_are_written_where_there_were_none_and_once_only(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    for number in (1, 2):
        write_tuned(path, {"max-num-seqs": 8 * number}, f"try {number}")
    assert read_deployment(path).server.arguments == {"max-num-seqs": 16}
    text = path.read_text(encoding="utf-8")
    assert text.count("max-num-seqs") == 1 and text.count("# tuned: try 2\n") == 1 and "try 1" not in text


@pytest.mark.parametrize("path", sorted((ROOT / "deploy" / "slurm").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_file_can_be_tuned(tmp_path: Path, path: Path) -> None:
    before, copy = read_deployment(path), write(tmp_path, path.read_text(encoding="utf-8"))
    wanted = {**before.server.arguments, "max-num-seqs": 4096, "speculative-config": '{"method": "ngram"}'}
    write_tuned(copy, wanted, "x", concurrency=5120)
    after = read_deployment(copy)
    server = before.server.model_copy(update={"arguments": wanted})
    assert after == before.model_copy(update={"server": server, "concurrency": 5120})
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if "#" in line]
    assert set(comments) <= set(copy.read_text(encoding="utf-8").splitlines())
