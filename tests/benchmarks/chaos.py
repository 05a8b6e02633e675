"""Chaos: generations on a real Slurm while everything breaks, round after round, and nothing lost in any.

Belongs here: running rounds and printing them. Does not belong here: what a round is (`tests.slurm.rounds`), or a test
(`tests/slurm/test_chaos.py` runs one round).

    python -m tests.benchmarks.chaos [--rounds 20] [--seed 1] [--round K ...] [--keep FOLDER]

Each round draws from the seed and its number a way (batch or service), a partition, a pool's size and three to six
disturbances: processes, nodes, controllers and daemons that are killed, preemptions, time limits, servers that hang or
talk nonsense, full disks, clocks that jump; in a quarter of the rounds also a job that hangs until its time limit kills
it, which takes up to half a minute. Afterwards every prompt must be one row with the very content of an
undisturbed run, and no more may have been asked twice than was in flight. Needs root, as the Slurm of the tests does.
Exit code 1 where a round fails; the command that repeats it is printed.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.slurm.cluster import Cluster, NoClusterError, Reservation, install_packages
from tests.slurm.rounds import Plan, Verdict, draw_plan, prepare, repeat_command

COLUMNS = "{:<6} {:<7} {:<4} {:<5} {:>7} {:>4} {:>8} {:>6} {:>8} {:>5} {:>6} {:>7}  {:<4} {}"


def line(verdict: Verdict) -> str:
    plan = verdict.plan
    return COLUMNS.format(
        plan.name,
        plan.way,
        plan.partition,
        "queue" if plan.daemon else "cosmo",
        f"{plan.tasks}x{plan.servers}x{plan.concurrency}",
        verdict.rows,
        verdict.requests,
        verdict.faults,
        verdict.repeated,
        verdict.bound,
        verdict.starts,
        f"{verdict.seconds:.0f} s",
        "bad" if verdict.wrong else "good",
        plan.what,
    )


def report(verdict: Verdict) -> None:
    print(line(verdict), flush=True)
    if verdict.wrong:
        for problem in verdict.wrong:
            print(f"       {problem}")
        for said in verdict.output[-3:]:
            print("       | " + said.strip().replace("\n", "\n       | "))
        print(f"       again: {repeat_command(verdict.plan)}", flush=True)


def totals(verdicts: list[Verdict]) -> None:
    bad = sum(bool(verdict.wrong) for verdict in verdicts)
    kinds = Counter(kind for verdict in verdicts for _, kind in verdict.plan.moments)
    print(f"{len(verdicts) - bad} of {len(verdicts)} rounds good", end="; ")
    print(f"{sum(verdict.rows for verdict in verdicts)} rows", end="; ")
    print(f"{sum(verdict.requests for verdict in verdicts)} requests", end=", of which ")
    print(f"{sum(verdict.faults for verdict in verdicts)} met a fault", end=" and ")
    print(f"{sum(verdict.repeated for verdict in verdicts)} were repeated", end=", at most ")
    print(f"{sum(verdict.bound for verdict in verdicts)}", end="; ")
    print(f"{sum(verdict.seconds for verdict in verdicts):.0f} s")
    print("disturbances: " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())))


def plans(options: argparse.Namespace) -> list[Plan]:
    numbers = range(options.rounds) if options.round is None else options.round
    return [draw_plan(options.seed, number) for number in numbers]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, nargs="+", help="only these")
    parser.add_argument("--keep", type=Path, help="folder for what the rounds leave; default: a temporary one")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):  # leave no cluster behind
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        install_packages()
        reservation = Reservation()
    except NoClusterError as error:
        print(f"no Slurm: {error}", file=sys.stderr)
        return 2
    folder = options.keep or Path(tempfile.mkdtemp(prefix="cosmo-chaos-"))
    cluster = Cluster(reservation.port)
    os.environ.update(cluster.environment)
    verdicts = []
    try:
        cluster.up()
        rounds = prepare(cluster, folder)
        names = ("round", "way", "part", "by", "pool", "rows", "requests", "faults", "repeated", "bound", "starts")
        print(COLUMNS.format(*names, "time", "", "disturbances"), flush=True)
        for plan in plans(options):
            verdict = rounds.run(plan, folder / plan.name.replace("/", "-"))
            verdicts.append(verdict)
            report(verdict)
    finally:
        cluster.down()
        reservation.release()
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    totals(verdicts)
    return int(any(verdict.wrong for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
