"""The piece of a nanotron configuration: folders that hold shards, weights, and first steps."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cosmo_assets.cli.main import main
from cosmo_assets.tokenization.nanotron import data_stages
from cosmo_resources.errors import CosmoError
from tests.corpora import ROOT, Corpus
from tests.unit.cosmo_assets.tokenization.test_stages import NAMES, STAGES, built

PAGE = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^```bash\n(.*?)\n```$", PAGE, re.DOTALL | re.MULTILINE)


def stages_of(text: str) -> list[dict[str, Any]]:
    """The stages, if the text has the fields that nanotron's data classes take, and no others."""
    found = yaml.safe_load(text)
    assert found.keys() == {"data_stages"}
    for stage in found["data_stages"]:
        assert stage.keys() == {"name", "start_training_step", "data"}
        assert stage["data"].keys() == {"dataset", "seed"}
        dataset = stage["data"]["dataset"]
        assert dataset.keys() == {"dataset_folder", "dataset_weights"}
        assert isinstance(dataset["dataset_folder"], list)
        assert len(dataset["dataset_folder"]) == len(dataset["dataset_weights"])
        assert sum(dataset["dataset_weights"]) == pytest.approx(1)
        assert all(isinstance(weight, float) for weight in dataset["dataset_weights"])
    return list(found["data_stages"])


def test_the_command_of_the_page_gives_each_stage_its_folder_and_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = built(tmp_path, STAGES)
    corpus = Corpus(tmp_path, changes={"name": "corpus"}).write()
    monkeypatch.setenv("COSMO_RECIPE", str(corpus.recipe_path))
    monkeypatch.setenv("COSMO_DATA", str(tmp_path))
    (command,) = COMMANDS
    result = CliRunner().invoke(main, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    stages = stages_of(result.output)
    assert [stage["name"] for stage in stages] == list(NAMES)
    step = int(shlex.split(command)[-1])
    held = {row["stage"]: row["tokens"] for row in dataset.manifest.summary["stages"]}
    assert [stage["start_training_step"] for stage in stages] == [1, held["broad"] // step + 1]
    assert stages[1]["start_training_step"] > 2
    for stage in stages:
        (folder,) = stage["data"]["dataset"]["dataset_folder"]
        assert Path(folder).is_absolute()
        tokens = [int(Path(f"{shard}.metadata").read_text().split()[1]) for shard in Path(folder).glob("*.ds")]
        assert sum(tokens) == held[stage["name"]]
        assert stage["data"]["seed"] == 42


def test_without_stages_the_whole_corpus_is_one(tmp_path: Path) -> None:
    dataset = built(tmp_path, {text: [1] for text in STAGES}, names=())
    (stage,) = stages_of(data_stages(dataset, 1 << 20, seed=7))
    assert (stage["name"], stage["start_training_step"], stage["data"]["seed"]) == ("corpus", 1, 7)
    assert stage["data"]["dataset"]["dataset_folder"] == [str(dataset.folder)]
    assert list(dataset.folder.glob("*.ds"))


def test_two_stages_that_would_begin_with_the_same_step_are_an_error(tmp_path: Path) -> None:
    dataset = built(tmp_path, STAGES)
    with pytest.raises(CosmoError, match="stage broad has less than a step of 100000 tokens"):
        data_stages(dataset, 100_000)
