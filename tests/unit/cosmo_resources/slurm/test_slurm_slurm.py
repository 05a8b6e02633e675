"""What is asked of Slurm, in what order and how often, against recorded answers; no Slurm is needed here."""

from collections.abc import Callable, Sequence
from itertools import chain, repeat

import pytest

from cosmo_resources.errors import CosmoError
from cosmo_resources.slurm import slurm as module
from cosmo_resources.slurm.commands import LocalCommands, SlurmError, failed
from cosmo_resources.slurm.slurm import JobSpec, Slurm

DOWN = failed(["x"], 1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
NO_ANSWER = failed(["x"], 1, "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
REFUSED = failed(["x"], 1, "sbatch: error: Batch job submission failed: Invalid partition name specified")
GONE = failed(["x"], 1, "slurm_load_jobs error: Invalid job id specified")
DATABASE_DOWN = failed(["x"], 1, "sacct: error: Problem talking to the database: Connection refused")

SPEC = JobSpec("cosmo-a", "#!/bin/bash\ntrue\n")


class Recorded:
    """Answers by command, the last one again and again. `{mark}` stands for the mark of the submission."""

    def __init__(self, **answers: str | SlurmError | Sequence[str | SlurmError]) -> None:
        self.asked: list[list[str]] = []
        self._answers = {
            name: iter(chain(given, repeat(given[-1]))) if isinstance(given, list) else repeat(given)
            for name, given in answers.items()
        }
        self._mark = ""

    def run(self, arguments: Sequence[str], *, input: str = "", timeout: float = 60.0) -> str:
        self.asked.append(list(arguments))
        comments = [part for part in arguments if part.startswith("--comment=")]
        self._mark = comments[0].rpartition("submission=")[2] if comments else self._mark
        answer = next(self._answers[arguments[0]])
        if isinstance(answer, SlurmError):
            raise answer
        return answer.replace("{mark}", self._mark).replace("|", "\x1f")

    def count(self, command: str) -> int:
        return sum(asked[0] == command for asked in self.asked)


def queue(*jobs: str, state: str = "RUNNING", code: int = 0) -> str:
    return "".join(f"{job}|{job}|N/A|cosmo-a|{state}|0|n1|None|submission={{mark}}|{code}|0:01||\n" for job in jobs)


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock) * 0.5)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: [next(clock) for _ in range(int(seconds * 2))])


def test_a_submission_without_an_answer_is_found_by_its_mark() -> None:
    commands = Recorded(sbatch=[NO_ANSWER, "99\n"], squeue=[DOWN, DOWN, queue("17")])
    assert Slurm(commands).submit(SPEC) == "17"
    assert commands.count("sbatch") == 1


def test_a_submission_that_shows_only_once_the_controller_caught_up_is_found() -> None:
    commands = Recorded(sbatch=[NO_ANSWER, "99\n"], squeue=["", queue("17")])
    assert Slurm(commands).submit(SPEC) == "17"
    assert commands.count("sbatch") == 1


def test_a_submission_that_never_arrived_is_made_again() -> None:
    commands = Recorded(sbatch=[DOWN, "17\n"], squeue=["", "", queue("17")])
    assert Slurm(commands).submit(SPEC) == "17"
    assert commands.count("sbatch") == 2


def test_a_submission_that_arrived_after_all_is_undone_when_made_again() -> None:
    commands = Recorded(sbatch=[NO_ANSWER, "18\n"], squeue=["", "", queue("18", "17")], scancel="")
    assert Slurm(commands).submit(SPEC) == "17"
    assert ["scancel", "18"] in commands.asked


def test_a_refusal_is_final() -> None:
    commands = Recorded(sbatch=REFUSED)
    with pytest.raises(SlurmError, match="sinfo"):
        Slurm(commands).submit(SPEC)
    assert commands.count("sbatch") == 1


def test_patience_ends() -> None:
    commands = Recorded(squeue=DOWN)
    with pytest.raises(SlurmError, match=r"(?s)Unable to contact.*scontrol ping") as given_up:
        Slurm(commands, patience=20).jobs("")
    assert given_up.value.temporary
    assert 3 <= commands.count("squeue") <= 10


def test_another_job_of_the_name_that_is_older_wins() -> None:
    commands = Recorded(squeue=["", queue("9", "10")], sbatch="10;cluster\n", scancel="")
    assert Slurm(commands).submit_once(SPEC) == "9"
    assert ["scancel", "10"] in commands.asked
    assert "--dependency=singleton" in next(asked for asked in commands.asked if asked[0] == "sbatch")


def test_submitting_once_keeps_the_dependency_that_was_asked_for() -> None:
    commands = Recorded(squeue=["", queue("10")], sbatch="10\n")
    Slurm(commands).submit_once(JobSpec("cosmo-a", "#!/bin/bash\n", {"dependency": "afterok:3"}))
    assert "--dependency=afterok:3,singleton" in next(asked for asked in commands.asked if asked[0] == "sbatch")


def row(state: str, *, code: str = "0:0", name: str = "cosmo-a", job: str = "17") -> str:
    return f"{job}|{name}|{state}|{code}|5|n1||None|2026-11-22T00:00:01|2026-11-22T00:00:09\n"


OUTCOMES: dict[str, tuple[str | SlurmError, str | SlurmError, list[str], bool]] = {
    "both-know": (queue("17", state="COMPLETED"), row("COMPLETED"), ["COMPLETED"], True),
    "accounting-lags": (queue("17", state="FAILED", code=768), "", ["FAILED"], False),
    "accounting-has-only-the-life-before": (queue("17", state="COMPLETED"), row("REQUEUED"), ["COMPLETED"], True),
    "accounting-is-down": (queue("17", state="COMPLETED"), DATABASE_DOWN, ["COMPLETED"], True),
    "the-controller-forgot": (GONE, row("NODE_FAIL") + row("COMPLETED"), ["COMPLETED"], True),
    "the-last-life-failed": (GONE, row("COMPLETED") + row("FAILED", code="1:0"), ["FAILED"], False),
    "only-a-requeue-is-known": (GONE, row("REQUEUED"), ["UNKNOWN"], False),
    "an-older-job-had-the-id": (GONE, row("COMPLETED", name="other"), ["UNKNOWN"], False),
    "nobody-knows": (GONE, "", ["UNKNOWN"], False),
    "nobody-can-be-asked": (GONE, DATABASE_DOWN, ["UNKNOWN"], False),
    "it-dies-to-be-requeued": (queue("17", state="COMPLETING"), row("COMPLETED"), [], False),
    "it-lives-again": (queue("17", state="PENDING"), row("REQUEUED"), [], False),
}


@pytest.mark.parametrize("case", OUTCOMES, ids=str)
def test_how_a_job_ended(case: str) -> None:
    squeue, sacct, states, succeeded = OUTCOMES[case]
    outcome = Slurm(Recorded(squeue=squeue, sacct=sacct)).outcome("17", name="cosmo-a")
    assert [end.state for end in outcome.ended] == states
    assert outcome.succeeded is succeeded
    assert outcome.over is bool(states)


def test_a_task_that_ended_is_told_while_others_live() -> None:
    squeue = "9|9|1|cosmo-a|RUNNING|0|n1|None||0|0:01||\n"
    sacct = row("COMPLETED", job="9_0") + row("FAILED", job="9_2", code="1:0")
    outcome = Slurm(Recorded(squeue=squeue, sacct=sacct)).outcome("9")
    assert not outcome.over
    assert [(end.id, end.state) for end in outcome.ended] == [("9_0", "COMPLETED"), ("9_2", "FAILED")]


@pytest.mark.parametrize(
    "make",
    [
        lambda: JobSpec("a,b", "#!/bin/bash\n"),
        lambda: JobSpec("", "#!/bin/bash\n"),
        lambda: JobSpec("a" * 101, "#!/bin/bash\n"),
        lambda: JobSpec("a", "echo\n"),
        lambda: JobSpec("a", "#!/bin/bash\n", {"comment": "two\nlines"}),
        lambda: JobSpec("a", "#!/bin/bash\n", environment={"A-B": "x"}),
    ],
    ids=["comma", "empty", "long", "no-interpreter", "comment", "variable"],
)
def test_specifications_that_slurm_would_garble_are_refused(make: Callable[[], JobSpec]) -> None:
    with pytest.raises(CosmoError):
        make()


def test_the_environment_stands_after_the_directives() -> None:
    spec = JobSpec("a", "#!/bin/bash\n#SBATCH --mem=1G\n\n# said\necho\n", environment={"A": "it's", "B": "$A `b`"})
    assert spec.full_script == (
        "#!/bin/bash\n#SBATCH --mem=1G\nexport A='it'\\''s'\nexport B='$A `b`'\n\n# said\necho\n"
    )
    assert JobSpec("a", "#!/bin/bash", environment={"A": "1"}).full_script == "#!/bin/bash\nexport A='1'\n"


def test_a_machine_without_slurm_says_so() -> None:
    with pytest.raises(SlurmError, match=r"(?s)cannot be run here.*install") as missing:
        LocalCommands().run(["no-such-command-of-slurm"])
    assert not missing.value.temporary


def test_a_command_that_does_not_end_in_time_is_temporary() -> None:
    with pytest.raises(SlurmError, match="did not end within") as late:
        LocalCommands().run(["sleep", "30"], timeout=0.1)
    assert late.value.temporary


def test_input_reaches_the_command_and_stderr_the_error() -> None:
    assert LocalCommands().run(["cat"], input="a script\n") == "a script\n"
    with pytest.raises(SlurmError, match="exit code 3: it broke"):
        LocalCommands().run(["bash", "-c", "echo it broke >&2; exit 3"])
