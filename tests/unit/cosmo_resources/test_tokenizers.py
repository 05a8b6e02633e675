"""Tokenizers by name, by path, and from a hub at a commit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cosmo_resources.errors import CosmoError
from cosmo_resources.tokenizers import load_tokenizer
from tests.corpora import ROOT
from tests.doubles.hub import Hub, serving
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCRIPT = """
import sys
from cosmo_resources.errors import CosmoError
from cosmo_resources.tokenizers import load_tokenizer

try:
    found = load_tokenizer(sys.argv[1])
except CosmoError as error:
    print("error", error)
else:
    print(found.name, found.repository, found.digest, found.count("ab"))
"""


def loaded(hub: Hub, home: Path, name: str, *, offline: bool = False) -> list[str]:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": str(int(offline)),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", SCRIPT, name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_tokenizer_of_the_hub_is_fetched_once_at_its_commit(tmp_path: Path) -> None:
    tiny = tiny_tokenizer()
    name = f"hub:owner/name@{COMMIT}"
    with serving({("owner/name", COMMIT, "tokenizer.json"): tiny.tokenizer.to_str().encode()}) as hub:
        found = loaded(hub, tmp_path, name)
        assert found == [name, "owner/name", tiny.digest, str(tiny.count("ab"))]
        assert all(COMMIT in asked for asked in hub.requests if "tokenizer.json" in asked)
        hub.requests.clear()
        assert loaded(hub, tmp_path, name, offline=True) == found
        assert hub.requests == []
        missing = " ".join(loaded(hub, tmp_path, f"hub:owner/name@{COMMIT[::-1]}"))
    assert "cannot be fetched" in missing
    assert "HF_HUB_OFFLINE" in missing


@pytest.mark.parametrize(("name", "said"), [("hub:owner/name", "names no commit"), ("hub:a/b@main", "no commit")])
def test_a_tokenizer_of_the_hub_without_a_commit_is_refused(name: str, said: str) -> None:
    with pytest.raises(CosmoError, match=said):
        load_tokenizer(name)


def test_a_file_that_is_no_tokenizer_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CosmoError, match=r"not a readable tokenizer\.json") as caught:
        load_tokenizer(str(tmp_path / "tokenizer.json"))
    assert "hub:owner/name@commit" in caught.value.remedy
