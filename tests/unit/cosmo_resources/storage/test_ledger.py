"""The ledger: what survives a kill, and what is read of it afterwards.

Belongs here: logs, markers and claims of one ledger. Does not belong here: who works on its shards
(`test_generation_worker`).
"""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import file_digest, table_digest
from cosmo_resources.storage.ledger import RowLog, ShardLedger, read_log, work_folders

ROWS = [{"id": str(number), "text": f"zwölf \u2028 {number}\n"} for number in range(4)]

APPEND = """
import os, signal, sys
from pathlib import Path
from cosmo_resources.storage.ledger import RowLog
log = RowLog(Path(sys.argv[1]))
for number in range(3):
    log.append({"id": number})
os.kill(os.getpid(), signal.SIGKILL)
"""

CLAIM = """
import sys, time
from pathlib import Path
from cosmo_resources.storage.ledger import ShardLedger
with ShardLedger(Path(sys.argv[1])).claim(int(sys.argv[2])) as held:
    print(held, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def ledger(tmp_path: Path) -> ShardLedger:
    return ShardLedger(tmp_path)


def log_of(ledger: ShardLedger, index: int = 0) -> Path:
    return ledger.open_log(index).path


def append(ledger: ShardLedger, rows: list[dict[str, str]], index: int = 0) -> Path:
    log = ledger.open_log(index)
    for row in rows:
        log.append(row)
    log.close()
    return log.path


def seal(ledger: ShardLedger, index: int = 0, rows: list[dict[str, str]] = ROWS) -> None:
    ledger.seal(index, pa.Table.from_pylist(rows), {"words": len(rows)})


def ids(ledger: ShardLedger) -> list[str]:
    return sorted(row["id"] for row in ledger.rows())


def test_rows_are_read_as_they_were_appended(ledger: ShardLedger) -> None:
    assert list(read_log(append(ledger, ROWS))) == ROWS


def test_a_row_is_there_before_the_log_is_closed(ledger: ShardLedger) -> None:
    log = ledger.open_log(0)
    log.append(ROWS[0])
    assert list(read_log(log.path)) == ROWS[:1]
    log.close()


def test_a_log_that_was_closed_is_appended_to(ledger: ShardLedger) -> None:
    log = ledger.open_log(0)
    for row in ROWS:
        log.append(row)
        log.close()
    assert list(read_log(log.path)) == ROWS


def test_a_row_survives_the_kill_of_the_process_that_appended_it(ledger: ShardLedger) -> None:
    subprocess.run([sys.executable, "-c", APPEND, str(log_of(ledger))], check=False)
    assert list(read_log(log_of(ledger))) == [{"id": number} for number in range(3)]


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_last_line_that_was_cut_is_left_out(ledger: ShardLedger, cut: int) -> None:
    path = append(ledger, ROWS)
    path.write_bytes(path.read_bytes()[:-cut])
    assert list(read_log(path)) == ROWS[:3]


def test_rows_appended_after_a_cut_line_are_whole(ledger: ShardLedger) -> None:
    path = append(ledger, ROWS[:2])
    path.write_bytes(path.read_bytes()[:-5])
    append(ledger, ROWS[2:])
    assert list(read_log(path)) == [ROWS[0], *ROWS[2:]]


def test_a_log_of_nothing_but_a_cut_line_starts_over(ledger: ShardLedger) -> None:
    path = append(ledger, ROWS[:1])
    path.write_bytes(path.read_bytes()[:7])
    append(ledger, ROWS[1:2])
    assert list(read_log(path)) == ROWS[1:2]


@pytest.mark.parametrize(
    "damage", [b"\0" * 9, b"\xff\xfe", b'{"id": ', b""], ids=["zeros", "not UTF-8", "cut", "empty"]
)
def test_a_damaged_line_costs_its_own_row_alone(ledger: ShardLedger, damage: bytes) -> None:
    path = append(ledger, ROWS)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], damage, *lines[2:]]))
    assert list(read_log(path)) == [ROWS[0], *ROWS[2:]]


def test_a_full_disk_is_an_error_of_the_append_and_of_the_close(tmp_path: Path) -> None:
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    log = RowLog(tmp_path / "full.jsonl")
    with pytest.raises(CosmoError, match="no space left"):
        log.append(ROWS[0])
    with pytest.raises(CosmoError, match="no space left"):
        log.close()
    log.close()


def test_a_shard_that_was_not_sealed_is_not_done(ledger: ShardLedger) -> None:
    append(ledger, ROWS)
    assert ledger.done(0) is None


def test_a_sealed_shard_says_what_is_known_of_it(ledger: ShardLedger) -> None:
    table = pa.Table.from_pylist(ROWS)
    written = ledger.seal(3, table, {"words": 7})
    done = ledger.done(3)
    assert done == written
    assert done is not None
    assert (done.index, done.rows, done.counters) == (3, 4, {"words": 7})
    assert (done.content, done.checksum) == (table_digest(table), file_digest(ledger.parquet(3)))


def test_sealing_removes_the_log(ledger: ShardLedger) -> None:
    path = append(ledger, ROWS)
    seal(ledger)
    assert not path.exists()


def test_a_shard_can_be_sealed_that_never_had_a_log(ledger: ShardLedger) -> None:
    seal(ledger, 0, ROWS)
    assert ids(ledger) == ["0", "1", "2", "3"]


def test_a_shard_whose_file_is_missing_is_not_done(ledger: ShardLedger) -> None:
    seal(ledger)
    ledger.parquet(0).unlink()
    assert ledger.done(0) is None


def test_a_shard_whose_file_is_short_is_not_done(ledger: ShardLedger) -> None:
    seal(ledger)
    ledger.parquet(0).write_bytes(ledger.parquet(0).read_bytes()[:-1])
    assert ledger.done(0) is None


def test_a_shard_killed_between_its_file_and_its_marker_is_not_done(ledger: ShardLedger) -> None:
    seal(ledger)
    next(ledger.folder.glob("*.done.json")).unlink()
    assert ledger.done(0) is None


def test_a_shard_that_is_open_again_has_its_rows_in_its_log(ledger: ShardLedger) -> None:
    seal(ledger, 0, ROWS[:2])
    ledger.reopen(0)
    assert ledger.done(0) is None
    assert not ledger.parquet(0).exists()
    append(ledger, ROWS[2:])
    assert list(read_log(log_of(ledger))) == ROWS


def test_rows_are_those_of_sealed_and_of_open_shards(ledger: ShardLedger) -> None:
    seal(ledger, 0, ROWS[:2])
    append(ledger, ROWS[2:3], 1)
    append(ledger, ROWS[3:], 2)
    assert ids(ledger) == ["0", "1", "2", "3"]


def test_a_damaged_shard_hides_no_row_of_the_others(ledger: ShardLedger) -> None:
    seal(ledger, 0, ROWS[:2])
    seal(ledger, 1, ROWS[2:])
    ledger.parquet(0).write_bytes(b"PAR1")
    assert ids(ledger) == ["2", "3"]


@pytest.mark.parametrize("left", ["marker", "log"])
def test_a_shard_killed_while_it_was_sealed_counts_once(ledger: ShardLedger, left: str) -> None:
    path = append(ledger, ROWS)
    log = path.read_bytes()
    seal(ledger)
    path.write_bytes(log)  # what is there just before sealing removes it
    if left == "log":
        next(ledger.folder.glob("*.done.json")).unlink()
    assert ids(ledger) == ["0", "1", "2", "3"]
    assert ledger.finished_rows() == 4


def test_finished_rows_are_sealed_ones_and_whole_lines_of_logs(ledger: ShardLedger) -> None:
    seal(ledger, 0, ROWS)
    path = append(ledger, ROWS[:3], 1)
    path.write_bytes(path.read_bytes()[:-2])
    assert ledger.finished_rows() == 4 + 2


def test_rows_of_a_shard_that_is_worked_again_are_counted_from_its_log(ledger: ShardLedger) -> None:
    seal(ledger)
    ledger.parquet(0).unlink()
    append(ledger, ROWS[:1])
    assert ledger.finished_rows() == 1


def test_a_claim_excludes_other_processes_from_that_shard_alone(ledger: ShardLedger) -> None:
    holder = subprocess.Popen([sys.executable, "-c", CLAIM, str(ledger.folder), "1"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    with ledger.claim(1) as same, ledger.claim(2) as other:
        assert (same, other) == (False, True)
    holder.kill()
    holder.wait()
    with ledger.claim(1) as after:
        assert after is True


def test_only_folders_with_a_plan_are_unpublished_work(tmp_path: Path) -> None:
    for name in ("build-1", "aaa", "bbb"):
        (tmp_path / ".work" / name).mkdir(parents=True)
    for name in ("bbb", "aaa"):
        (tmp_path / ".work" / name / "plan.json").write_text("{}", encoding="utf-8")
    assert [path.name for path in work_folders(tmp_path)] == ["aaa", "bbb"]
