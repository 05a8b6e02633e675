"""Tables of runs: the same from every format and in every order, and every fault named."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmo_assets.composition.runs import read_runs
from cosmo_resources.errors import CosmoError
from tests.unit.cosmo_assets.composition.trainings import law, runs_of, simplex, write_csv

WEIGHTS = simplex(9)
RUNS = runs_of(WEIGHTS, law(WEIGHTS), law(WEIGHTS) ** 2)


def rows() -> list[dict[str, object]]:
    names = ["weight.d0", "weight.d1", "weight.d2", "loss.t0", "loss.t1"]
    return [dict(zip(names, row, strict=True)) for row in np.hstack([RUNS.weights, RUNS.losses]).tolist()]


def jsonl(path: Path, lines: list[object]) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


def test_every_format_gives_the_same_runs_in_any_order(tmp_path: Path) -> None:
    table = [{**row, "step": number} for number, row in enumerate(rows())]
    pq.write_table(pa.Table.from_pylist(table[::-1]), tmp_path / "runs.parquet")
    files = [
        write_csv(tmp_path / "runs.csv", RUNS),
        write_csv(tmp_path / "backwards.csv", RUNS, rows=[3, 1, 4, 0, 5, 8, 2, 6, 7], backwards=True),
        jsonl(tmp_path / "runs.jsonl", table),
        tmp_path / "runs.parquet",
    ]
    first, *others = map(read_runs, files)
    assert (first.domains, first.targets, first.bad) == (("d0", "d1", "d2"), ("t0", "t1"), ())
    assert first.weights == pytest.approx(WEIGHTS[np.lexsort(WEIGHTS.T[::-1])])
    assert first.losses[:, 0] == pytest.approx(law(first.weights))
    for other in others:
        assert (other.weights == first.weights).all()
        assert (other.losses == first.losses).all()


def test_only_the_wanted_targets_are_read(tmp_path: Path) -> None:
    table = rows()
    table[0]["loss.t1"] = None
    path = jsonl(tmp_path / "runs.jsonl", table)
    assert len(read_runs(path).weights) == 8
    found = read_runs(path, ["t0"])
    assert (found.targets, found.losses.shape, found.bad) == (("t0",), (9, 1), ())


def test_runs_of_the_same_mixture_have_one_number() -> None:
    weights = np.array([[0.5, 0.5], [0.2, 0.8], [0.5, 0.5]])
    numbers = runs_of(weights, np.zeros(3)).mixtures
    assert numbers[0] == numbers[2] != numbers[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weight.d1": -0.25}, "weight.d1 is -0.25, below 0; weights are shares of the tokens"),
        ({"weight.d1": None}, "weight.d1 is missing; write 0"),
        ({"loss.t1": ""}, "loss.t1 is missing; leave the row out"),
        ({"loss.t0": "high"}, "loss.t0 is 'high', not a finite number; write one"),
        ({"loss.t0": float("nan")}, "loss.t0 is 'nan', not a finite number"),
        ({"weight.d0": float("inf")}, "weight.d0 is 'inf', not a finite number"),
        ({"weight.d0": True}, "weight.d0 is 'True', not a finite number"),
        ({"weight.d0": [1]}, "weight.d0 is '[1]', not a finite number"),
        ({"weight.d0": 0.5, "weight.d1": 0.25, "weight.d2": 0.250002}, "the weights sum to 1.000002, not to 1; divide"),
    ],
)
def test_a_bad_row_is_named_and_does_not_stop_the_others(tmp_path: Path, change: dict[str, object], says: str) -> None:
    table = rows()
    table[3] = {**table[3], **change}
    found = read_runs(jsonl(tmp_path / "runs.jsonl", table))
    assert len(found.weights) == 8
    (bad,) = found.bad
    assert bad.startswith(f"row 4: {says}")


def test_weights_within_the_tolerance_are_made_to_sum_to_one(tmp_path: Path) -> None:
    table = rows()
    table[3].update({"weight.d0": 0.5, "weight.d1": 0.25, "weight.d2": 0.2500009})
    found = read_runs(jsonl(tmp_path / "runs.jsonl", table))
    assert found.bad == ()
    assert found.weights.sum(axis=1) == pytest.approx(1, abs=1e-15)


def test_rows_that_are_none_are_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "runs.csv", RUNS)
    path.write_text(path.read_text("utf-8") + "1,2\n", encoding="utf-8")
    assert read_runs(path).bad == ("row 10: it has 2 fields where the first line has 5; write as many",)
    found = read_runs(jsonl(tmp_path / "runs.jsonl", ["{broken", [1], *rows()]))
    assert found.bad[0].startswith("row 1: it is no JSON (")
    assert found.bad[1] == "row 2: it is no JSON object; write one object a line"
    assert len(found.weights) == 9


def refused(path: Path, *wanted: str) -> CosmoError:
    with pytest.raises(CosmoError, match=re.escape(str(path))) as raised:
        read_runs(path, wanted)
    return raised.value


@pytest.mark.parametrize(
    ("name", "text", "says", "remedy"),
    [
        ("runs.txt", "a", "not a table that is read", ".csv, .jsonl or .parquet"),
        ("runs.parquet", "a", "cannot be read", "readable file"),
        ("runs.csv", "weight.a,loss.x\n1,2\n", "fewer than two columns weight.DOMAIN", "weight.DOMAIN for each domain"),
        ("runs.csv", "", "fewer than two columns", "loss.TARGET"),
        ("runs.csv", "weight.a,weight.b\n.5,.5\n", "no column loss.TARGET", "loss.TARGET"),
        ("runs.csv", "weight.a,weight.a,loss.x\n.5,.5,1\n", "'weight.a' stands there twice", "rename"),
    ],
)
def test_a_file_that_is_no_table_of_runs_is_refused(
    tmp_path: Path, name: str, text: str, says: str, remedy: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    error = refused(path)
    assert says in error.message
    assert remedy in error.remedy


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "none.csv").message
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in refused(tmp_path / "bytes.csv").remedy


def test_a_target_that_is_not_there_is_refused(tmp_path: Path) -> None:
    error = refused(write_csv(tmp_path / "runs.csv", RUNS), "t7")
    assert "no column loss.t7" in error.message
    assert "t0, t1" in error.remedy


def test_too_few_runs_are_refused_with_the_first_bad_row(tmp_path: Path) -> None:
    enough = jsonl(tmp_path / "five.jsonl", [*rows()[:5]])
    assert len(read_runs(enough).weights) == 5
    few = refused(jsonl(tmp_path / "four.jsonl", [*rows()[:4], {**rows()[4], "loss.t0": "x"}]))
    assert (
        "4 different mixtures of 3 domains are too few; 1 rows cannot be used, the first is row 5: loss" in few.message
    )
    assert "at least 5 (domains + 2)" in few.remedy
    again = refused(jsonl(tmp_path / "same.jsonl", [*rows()[:4], rows()[0], rows()[0]]))
    assert "4 different mixtures" in again.message


def test_domains_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    never = [{**row, "weight.d3": 0} for row in rows()]
    assert "weight.d3 is 0 in every run" in refused(jsonl(tmp_path / "never.jsonl", never)).message
    together = [{**row, "weight.d2": row["weight.d2"] / 2, "weight.d3": row["weight.d2"] / 2} for row in rows()]  # type: ignore[operator]
    error = refused(jsonl(tmp_path / "together.jsonl", together))
    assert "follow from those of the others" in error.message
    assert "merge" in error.remedy
