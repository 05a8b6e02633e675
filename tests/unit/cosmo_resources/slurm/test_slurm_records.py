"""What squeue and sacct of a Slurm 22.05 said, read; no Slurm is needed here."""

import pytest

from cosmo_resources.slurm.records import (
    EndRecord,
    JobRecord,
    gpus,
    read_sacct,
    read_squeue,
    seconds,
    tagged,
    task_numbers,
)

# Recorded; each column stands here without its padding, between bars for the separator.
SQUEUE = """\
Welcome to the login node. | Maintenance on Monday.
9|9|3|cosmo-b001|PENDING|0||JobArrayTaskLimit|plan 7f3a submission=0a1b2c3d4e5f|0|0:00|cpu=1,mem=100M,node=1|
10|9|0|cosmo-b001|RUNNING|2|n1|None|plan 7f3a submission=0a1b2c3d4e5f|0|1-02:03:04|cpu=1,node=1,gres/gpu=2|
17|17|N/A|cosmo-once|COMPLETING|1|n[1-2]|None|(null)|15|0:07|cpu=1|
18|18|N/A|cosmo-end|FAILED|0|n3|NonZeroExitCode|submission=ff|768|0:03|cpu=1|
19|19|N/A|cosmo-held|PENDING|1||launch failed requeued held||0|0:00|cpu=1|
"""

# Recorded: job 7 is an array of six, of which 0 ended, 1 was cancelled while it ran, and the rest before; job 10 was
# requeued; job 12 still runs; the name of job 13 has not arrived.
SACCT = """\
7_0|cosmo-array|COMPLETED|0:0|2|n1|billing=1,cpu=1,gres/gpu=1,mem=100M,node=1|None|2026-11-22T00:02:16|2026-11-22T00:02:18
7_1|cosmo-array|CANCELLED by 0|0:15|1|n1|cpu=1|JobArrayTaskLimit|2026-11-22T00:02:19|2026-11-22T00:02:20
7_[1-3,5%1]|cosmo-array|CANCELLED by 0|0:0|0|None assigned||JobArrayTaskLimit|None|2026-11-22T00:02:20
10|cosmo-ten|REQUEUED|0:0|1|n1|cpu=1|None|2026-11-22T00:02:21|2026-11-22T00:02:22
10|cosmo-ten|FAILED|3:0|3|n2|cpu=1|None|2026-11-22T00:05:26|2026-11-22T00:05:29
12|cosmo-twelve|RUNNING|0:0|9|n1|cpu=1|None|2026-11-22T00:05:26|Unknown
13|allocation|COMPLETED|0:0|2|n1|cpu=1|None|2026-11-22T00:05:26|2026-11-22T00:05:28
"""


def separated(text: str) -> str:
    return text.replace("|", "\x1f")


def padded(text: str) -> str:
    return separated("\n".join("|".join(part.ljust(20) for part in line.split("|")) for line in text.splitlines()))


def test_squeue_is_read_task_by_task() -> None:
    pending, running, completing, failed, held = read_squeue(padded(SQUEUE))
    assert pending == JobRecord(
        job="9",
        task=3,
        name="cosmo-b001",
        state="PENDING",
        reason="JobArrayTaskLimit",
        comment="plan 7f3a",
        raw="9",
        submission="0a1b2c3d4e5f",
    )
    assert (running.id, running.raw, running.node, running.restarts) == ("9_0", "10", "n1", 2)
    assert (running.reason, running.elapsed, running.gpus) == ("", 93784, 2)
    assert (completing.id, completing.task, completing.comment) == ("17", None, "")
    assert completing.live, "a job that dies to be requeued passes through COMPLETING"
    assert (failed.live, failed.exit_code, failed.signal) == (False, 3, 0)
    assert [record.held for record in (pending, running, completing, failed, held)] == [False] * 4 + [True]


def test_sacct_is_read_life_by_life() -> None:
    records = read_sacct(separated(SACCT))
    assert [(record.id, record.state) for record in records] == [
        ("7_0", "COMPLETED"),
        ("7_1", "CANCELLED"),
        ("10", "REQUEUED"),
        ("10", "FAILED"),
        ("7_2", "CANCELLED"),
        ("7_3", "CANCELLED"),
        ("7_5", "CANCELLED"),
    ]
    assert records[0] == EndRecord("7", 0, "cosmo-array", "COMPLETED", 0, 0, 2.0, "n1", 1, "")
    assert (records[1].signal, records[1].reason) == (15, "by 0")
    assert (records[4].nodes, records[4].gpus) == ("", 0)
    assert [record.succeeded for record in records] == [True] + [False] * 6
    assert str(records[3]) == "job 10 ended as FAILED: exit code 3, after 3 s, on n2"


@pytest.mark.parametrize("exit_code, number", [(1, 0), (0, 9)], ids=["code", "signal"])
def test_completed_with_a_code_is_no_success(exit_code: int, number: int) -> None:
    assert not EndRecord("1", None, "x", "COMPLETED", exit_code, number).succeeded


@pytest.mark.parametrize(
    "tasks, numbers",
    [
        ("[0-3]", [0, 1, 2, 3]),
        ("[2]", [2]),
        ("[0-3,7,10-20:5%2]", [0, 1, 2, 3, 7, 10, 15, 20]),
        ("[1,3,...]", [1, 3]),
    ],
)
def test_task_numbers(tasks: str, numbers: list[int]) -> None:
    assert list(task_numbers(tasks)) == numbers


@pytest.mark.parametrize(
    "text, value",
    [("0:07", 7), ("12:34", 754), ("1:00:00", 3600), ("2-03:04:05", 183845), ("UNLIMITED", 0), ("", 0)],
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    "tres, count",
    [
        ("cpu=4,mem=8G,gres/gpu=2", 2),
        ("gres/gpu=2,gres/gpu:h100=2", 2),
        ("gres/gpu:h100=2,gres/gpu:a100=1", 3),
        ("cpu=4,gres/shard=3", 0),
        ("", 0),
    ],
)
def test_gpus(tres: str, count: int) -> None:
    assert gpus(tres) == count


@pytest.mark.parametrize("comment", ["", "plan 7f3a", "submission=no mark"])
def test_the_mark_of_a_submission_is_taken_off_the_comment(comment: str) -> None:
    line = f"1|1|N/A|x|RUNNING|0|||{tagged(comment, 'beef')}|0|0:00||"
    (record,) = read_squeue(padded(line))
    assert (record.comment, record.submission) == (comment, "beef")
