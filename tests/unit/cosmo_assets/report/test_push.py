"""Sending the export to a hub that speaks the real protocol: named, whole, in one commit, and resumed after a kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from cosmo_assets.report import push
from cosmo_assets.report.push import Target
from cosmo_assets.schemas.corpus import CORPUS_EXPORT
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.storage.writer import DatasetWriter
from tests.corpora import ROOT
from tests.doubles.hub import Hub, serving
from tests.unit.cosmo_assets.synthetic import recipe

TOKEN = "hf_of_this_test"
CARD = b"---\nlicense: cc0-1.0\n---\n\n# Corpus\n"
SCRIPT = """
import sys
from pathlib import Path
from cosmo_assets.report import push
from cosmo_resources.errors import CosmoError
from tests.unit.cosmo_assets.report.test_push import workspace

try:
    manifest = push.build(workspace(Path(sys.argv[1])), push.Target(*sys.argv[2:]))
except CosmoError as error:
    print(error)
    sys.exit(1)
print(manifest.summary["commit"])
"""


def workspace(folder: Path) -> Workspace:
    return Workspace(CorpusStore(folder), recipe())


def export(folder: Path, files: Mapping[str, bytes]) -> None:
    def produce(writer: DatasetWriter) -> None:
        for name, content in files.items():
            writer.artifact(name, lambda path, content=content: path.write_bytes(content) and None)  # type: ignore[misc]
        rows = [{"file": name, "config": "pages", "split": "train", "rows": 1} for name in files]
        writer.write(pa.Table.from_pylist(rows, schema=CORPUS_EXPORT))
        writer.flow("documents", 1, 1)

    space = workspace(folder)
    space.build("corpus_export", produce, stage_version=str(sorted(files.items())), inputs=(), params={})


def files_of(parts: int, tag: str = "") -> dict[str, bytes]:
    data = {f"data/pages/train-{n:05d}-of-{parts:05d}.parquet": f"{tag}{n}".encode() * 5000 for n in range(parts)}
    return {"README.md": CARD, "charts/length.svg": b"<svg/>", "provenance.json": b"{}", **data}


def begin(hub: Hub, folder: Path, *arguments: str, token: str = TOKEN) -> "subprocess.Popen[str]":
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder.parent / "home"),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", SCRIPT, str(folder), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def pushed(hub: Hub, folder: Path, *arguments: str, token: str = TOKEN) -> tuple[int, str]:
    process = begin(hub, folder, *arguments, token=token)
    out, error = process.communicate(timeout=240)
    assert out, error
    return process.returncode, out


def succeed(hub: Hub, folder: Path) -> None:
    code, said = pushed(hub, folder, "owner/corpus")
    assert code == 0, said


def test_a_push_makes_the_repository_what_the_export_is(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    first, second = files_of(3), files_of(2, "other ")
    with serving({}) as hub:
        hub.token = TOKEN
        export(folder, first)
        succeed(hub, folder)
        assert hub.repositories == {"owner/corpus": True}
        assert hub.paths("owner/corpus", "main") == first, "and no file of the store beside them"
        assert len(hub.commits) == 1
        assert workspace(folder).store.open("corpus_export").manifest.version in hub.commits[0]

        hub.files["owner/corpus", "main", "LICENSE"] = b"of somebody else"
        hub.requests.clear()
        succeed(hub, folder)
        assert [asked for asked in hub.requests if asked.startswith("PUT")] == [], "nothing is sent twice"

        export(folder, second)
        succeed(hub, folder)
        assert hub.paths("owner/corpus", "main") == {**second, "LICENSE": b"of somebody else"}


def test_a_push_that_was_killed_goes_on(tmp_path: Path) -> None:
    folder, files = tmp_path / "corpus", files_of(20)
    export(folder, files)
    with serving({}) as hub:
        hub.token, hub.patience = TOKEN, 11
        process = begin(hub, folder, "owner/corpus")
        deadline = time.monotonic() + 120
        while len(hub.stored) < hub.patience:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert hub.commits == []
        assert hub.paths("owner/corpus", "main") == {}, "readers see nothing of half a push"
        hub.patience = 1 << 30
        hub.requests.clear()
        succeed(hub, folder)
        assert hub.paths("owner/corpus", "main") == files
        assert len([asked for asked in hub.requests if asked.startswith("PUT")]) == 20 - 11


def test_a_token_that_may_not_write_is_an_error_that_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    export(folder, files_of(1))
    with serving({}) as hub:
        hub.token = TOKEN
        code, said = pushed(hub, folder, "owner/corpus", token="hf_of_somebody_else")
    assert code == 1
    assert "HF_TOKEN" in said
    assert "hf_of_somebody_else" not in said
    assert hub.paths("owner/corpus", "main") == {}


@pytest.mark.parametrize("name", ["", "corpus", "owner/corpus/more", "owner/cor pus"])
def test_without_a_repository_nothing_is_asked(tmp_path: Path, name: str) -> None:
    export(tmp_path / "corpus", files_of(1))
    with pytest.raises(CosmoError, match="nothing is uploaded") as caught:
        push.build(workspace(tmp_path / "corpus"), Target(name))
    assert "COSMO_HUB" in caught.value.remedy


def test_a_damaged_export_is_not_sent(tmp_path: Path) -> None:
    export(tmp_path / "corpus", files_of(1))
    space = workspace(tmp_path / "corpus")
    path = space.store.open("corpus_export").folder / "provenance.json"
    path.write_bytes(b"[]")
    with pytest.raises(CosmoError, match=r"damaged: provenance\.json; nothing is uploaded"):
        push.build(space, Target("owner/corpus"))
