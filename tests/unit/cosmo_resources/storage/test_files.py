"""Files: all of one or none of it, locks that die with their owner, and disks that are full.

Belongs here: single files. Does not belong here: datasets made of them (`test_store`).
"""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import disk_errors, exclusive, link_or_copy, write_parquet, write_text
from tests.unit.cosmo_resources.storage.full_disk import full_disk, size_limit

HOLD = """
import sys, time
from pathlib import Path
from cosmo_resources.storage.files import exclusive
with exclusive(Path(sys.argv[1])) as held:
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    Path(sys.argv[1] + ".released").touch()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def hold(lock: Path, seconds: float) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", HOLD, str(lock), str(seconds)], stdout=subprocess.PIPE, text=True)


def word(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_text_is_written_with_its_folders(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "zwölf\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_text(encoding="utf-8") == "zwölf\n"


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = pa.table({"a": [1, None], "b": ["x", "é"]})
    write_parquet(tmp_path / "t.parquet", table)
    assert pq.read_table(tmp_path / "t.parquet").equals(table)


def test_nothing_is_left_beside_a_written_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "text")
    write_parquet(tmp_path / "t.parquet", pa.table({"a": [1]}))
    assert names(tmp_path) == ["a.txt", "t.parquet"]


def test_a_reader_of_the_old_file_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with path.open(encoding="utf-8") as reader:
        write_text(path, "new, and longer")
        assert reader.read() == "old"
    assert path.read_text(encoding="utf-8") == "new, and longer"


def test_a_text_that_the_disk_cannot_hold_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with size_limit(4096), pytest.raises(CosmoError):
        write_text(path, "n" * 10_000)
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_table_that_the_disk_cannot_hold_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_parquet(path, pa.table({"a": [1]}))
    with size_limit(4096), pytest.raises(CosmoError):
        write_parquet(path, pa.table({"a": [os.urandom(500).hex() for _ in range(100)]}))
    assert pq.read_table(path).to_pylist() == [{"a": 1}]
    assert names(tmp_path) == ["t.parquet"]


@pytest.mark.parametrize("kind", ["text", "table"])
def test_a_full_disk_is_an_error_that_names_the_place_and_the_way_out(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    full_disk(path)
    with pytest.raises(CosmoError, match="no space left") as caught:
        write_text(path, "text") if kind == "text" else write_parquet(path, pa.table({"a": [1]}))
    assert str(tmp_path) in caught.value.message
    assert "COSMO_DATA" in caught.value.remedy
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG], ids=["disk", "quota", "file size"])
def test_every_kind_of_no_space_is_one_error(tmp_path: Path, code: int) -> None:
    with pytest.raises(CosmoError, match="no space left"), disk_errors(tmp_path):
        raise OSError(code, os.strerror(code))


def test_a_place_that_cannot_be_written_is_an_error_that_names_it() -> None:
    with pytest.raises(CosmoError, match="/sys/cosmo: not writable") as caught:
        write_text(Path("/sys/cosmo/a.txt"), "text")
    assert "permission" in caught.value.remedy


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), disk_errors(tmp_path):
        tmp_path.open()


def test_a_lock_excludes_another_process(tmp_path: Path) -> None:
    holder = hold(tmp_path / "lock", 60)
    try:
        assert word(holder) == "held"
        with exclusive(tmp_path / "lock", wait=False) as held:
            assert held is False
    finally:
        holder.kill()
        holder.wait()


def test_a_lock_is_free_again_when_its_process_was_killed(tmp_path: Path) -> None:
    holder = hold(tmp_path / "lock", 60)
    assert word(holder) == "held"
    holder.kill()
    holder.wait()
    with exclusive(tmp_path / "lock", wait=False) as held:
        assert held is True


def test_a_lock_is_free_again_when_its_block_has_ended(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock"):
        pass
    holder = hold(tmp_path / "lock", 0)
    assert word(holder) == "held"
    holder.wait()


def test_who_waits_for_a_lock_gets_it_when_it_is_free(tmp_path: Path) -> None:
    holder = hold(tmp_path / "lock", 0.3)
    assert word(holder) == "held"
    with exclusive(tmp_path / "lock") as held:
        assert held is True
        assert (tmp_path / "lock.released").exists()
    holder.wait()


def test_a_second_name_is_no_second_copy(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("text", encoding="utf-8")
    link_or_copy(source, target)
    assert source.stat().st_ino == target.stat().st_ino


def test_a_file_that_has_the_second_name_already_stays(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("new", encoding="utf-8")
    target.write_text("old", encoding="utf-8")
    link_or_copy(source, target)
    assert target.read_text(encoding="utf-8") == "old"


def test_a_file_is_copied_where_it_cannot_be_linked(tmp_path: Path) -> None:
    source = Path("/proc/self/status")  # another file system on every Linux
    link_or_copy(source, tmp_path / "b")
    assert (tmp_path / "b").read_text(encoding="utf-8").startswith("Name:")
    assert names(tmp_path) == ["b"]
