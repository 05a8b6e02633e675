"""Quotas: they are what the recipe asks for, or are refused with the numbers.

Belongs here: their arithmetic, on made-up cells. Does not belong here: which seeds are drawn (`test_allocation_draws`).
"""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from cosmo_assets.prompts.allocation import Cell, quotas
from cosmo_assets.recipe.prompts import Prompts
from cosmo_resources.errors import CosmoError

COLUMNS = ("source", "audience", "format")
CASES = st.integers(0, 2**32).map(random.Random)
SIZES = st.lists(st.tuples(st.integers(0, 10**6), st.floats(0.001, 1)), min_size=1, max_size=8)


def cell(seeds: int, per_seed: float = 1.0, **columns: str) -> Cell:
    names = {"mix": "web", "source": "pages", "template": "a", "audience": "general", "format": "blogpost", **columns}
    return Cell(seeds=seeds, per_seed=per_seed, **names)


def cells_of(sizes: Sequence[tuple[int, float]]) -> list[Cell]:
    return [cell(seeds, per_seed, template=f"t{place}") for place, (seeds, per_seed) in enumerate(sizes)]


def asked(cells: Sequence[Cell], targets: Mapping[str, int] | None = None, **fields: Any) -> Prompts:
    """The prompts section of a recipe with the templates of some cells."""
    mixes: dict[str, Any] = {part.mix: {"prompts": (targets or {}).get(part.mix), "templates": []} for part in cells}
    for part in cells:
        use = {"template": part.template}
        if use not in mixes[part.mix]["templates"]:
            mixes[part.mix]["templates"].append(use)
    return Prompts.model_validate({"mixes": mixes, **fields})


def made(cells: Sequence[Cell], counts: Sequence[int], column: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for part, count in zip(cells, counts, strict=True):
        found[getattr(part, column)] += count
    return found


@given(SIZES, st.randoms())
def test_a_quota_is_per_seed_times_seeds_whatever_the_other_templates(
    sizes: list[tuple[int, float]], shuffle: random.Random
) -> None:
    cells = cells_of(sizes)
    wanted = {part: int(part.seeds * part.per_seed + 0.5) for part in cells}
    assert dict(zip(cells, quotas(cells, asked(cells)), strict=True)) == wanted
    shuffle.shuffle(cells)
    added = [*cells, cell(77, 0.5, template="new"), cell(10, mix="book", source="books", template="b")]
    assert quotas(added, asked(added, {"book": 3})) == [*(wanted[part] for part in cells), 39, 3]


@settings(deadline=None)
@given(SIZES, st.floats(0.0001, 1), st.floats(0.001, 1), st.randoms())
def test_targets_are_met_exactly(
    sizes: list[tuple[int, float]], scale: float, full: float, shuffle: random.Random
) -> None:
    cells = cells_of(sizes)
    most = sum(part.seeds for part in cells)
    assume(most)
    target = max(int(most * full), 1)
    prompts = asked(cells, {"web": target}, scale=scale)
    counts = quotas(cells, prompts)
    assert sum(counts) == max(round(target * scale), 1)
    assert all(0 <= count <= part.seeds for count, part in zip(counts, cells, strict=True))
    factor = max((count - 1) / (part.seeds * part.per_seed + 1e-9) for count, part in zip(counts, cells, strict=True))
    for count, part in zip(counts, cells, strict=True):  # in proportion, but for those that meet all of their seeds
        assert count >= min(part.seeds, factor * part.seeds * part.per_seed - 1.01)
    order = shuffle.sample(cells, len(cells))
    assert dict(zip(order, quotas(order, prompts), strict=True)) == dict(zip(cells, counts, strict=True))


def test_a_template_that_meets_all_seeds_leaves_the_rest_to_the_others() -> None:
    cells = [cell(10, 1.0, template="a"), cell(40, 0.1, template="b"), cell(40, 0.2, template="c")]
    assert quotas(cells, asked(cells, {"web": 40})) == [10, 10, 20]


@settings(deadline=None)
@given(SIZES, SIZES, st.floats(1.001, 500), st.floats(0.1, 500))
def test_more_prompts_than_seeds_are_refused_with_a_scale_that_works(
    sizes: list[tuple[int, float]], others: list[tuple[int, float]], over: float, other: float
) -> None:
    books = [cell(*size, mix="book", source="books", template=f"b{place}") for place, size in enumerate(others)]
    cells = [*cells_of(sizes), *books]
    most, room = (sum(part.seeds for part in cells if part.mix == mix) for mix in ("web", "book"))
    assume(most and room)
    targets = {"web": int(most * over) + 1, "book": max(int(room * other), 1)}
    with pytest.raises(CosmoError) as refusal:
        quotas(cells, asked(cells, targets))
    assert f"prompts.mixes.web.prompts asks for {targets['web']:,} prompts" in refusal.value.message
    assert f"at most {most:,} (t0 of pages: {cells[0].seeds:,} seeds" in refusal.value.message
    scale = float(re.findall(r"set prompts\.scale to (\S+)", refusal.value.remedy)[0])
    assert sum(quotas(cells, asked(cells, targets, scale=scale))) >= 2
    if min(targets.values()) >= 100:  # two digits, of targets that are whole numbers
        assert scale >= 0.9 * min(most / targets["web"], room / targets["book"])


@pytest.mark.parametrize("column", COLUMNS)
def test_a_share_of_what_no_template_makes_is_refused(column: str) -> None:
    cells = [cell(100, 0.1)]
    with pytest.raises(CosmoError, match=rf"shares\.{column}: no template of the recipe has {column} 'martians'"):
        quotas(cells, asked(cells, shares={column: {"martians": 0.5}}))


def random_cells(case: random.Random) -> list[Cell]:
    cells = []
    for mix in ("web", "book")[: case.randint(1, 2)]:
        sizes = {f"{mix}{place}": int(10 ** case.uniform(2, 6)) for place in range(case.randint(1, 2))}
        for place in range(case.randint(1, 4)):
            columns = {"template": f"{mix}{place}", "audience": case.choice("xyz"), "format": case.choice("pqr")}
            rate = case.choice([1.0, 0.5, 0.1, 0.02])
            cells += [
                cell(int(size * case.choice([1, 1, 0.5])), rate, mix=mix, source=source, **columns)
                for source, size in sizes.items()
            ]
    return cells


def some(case: random.Random, parts: Counter[str], total: float, slack: float) -> dict[str, float]:
    """Shares, or with some slack caps, of some of the parts."""
    names = case.sample(sorted(parts), case.randint(0, len(parts)))
    return {name: min(parts[name] / total * (1 + slack), 1.0) for name in names}


@settings(deadline=None)
@given(CASES)
def test_what_can_be_met_is_met(case: random.Random) -> None:
    cells = random_cells(case)
    planned = [max(int(part.seeds * case.uniform(0.02, 0.98)), 1) for part in cells]
    total = sum(planned)
    by = {column: made(cells, planned, column) for column in (*COLUMNS, "mix")}
    shares = {column: some(case, by[column], total * (1 + 1e-12), 0) for column in COLUMNS}
    caps = {column: some(case, by[column], total, 0.02) for column in COLUMNS}
    counts = quotas(cells, asked(cells, by["mix"], shares=shares, caps=caps))
    assert all(0 <= count <= part.seeds for count, part in zip(counts, cells, strict=True))
    assert made(cells, counts, "mix") == by["mix"]
    for column in COLUMNS:
        found, near = made(cells, counts, column), 0.001 * total + len(cells)
        assert all(abs(found[name] - share * total) <= near for name, share in shares[column].items())
        assert all(found[name] <= cap * total + near for name, cap in caps[column].items())
    wanted = np.array([part.seeds * part.per_seed for part in cells])
    for mix, count in by["mix"].items():
        chosen = np.array([part.mix == mix for part in cells])
        wanted[chosen] *= count / wanted[chosen].sum()
    assert entropy(np.array(counts), wanted) <= entropy(np.array(planned), wanted) + 0.001 * total + len(cells)


def entropy(counts: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    """Of some numbers relative to others of the same sum."""
    return float((counts * np.log(np.maximum(counts, 1e-9) / wanted)).sum())


def solvable(cells: Sequence[Cell], prompts: Prompts, slack: float) -> bool:
    """Whether any numbers meet what is asked for with some slack, as a share of all prompts; negative to be lenient."""
    seeds = np.array([part.seeds for part in cells])
    wanted = seeds * np.array([part.per_seed for part in cells])
    exact: list[Any] = []
    rows: list[Any] = []
    most: list[float] = []
    for name, mix in prompts.mixes.items():
        if mix.prompts:
            exact.append(np.array([part.mix == name for part in cells]))
            wanted = np.where(exact[-1], wanted * mix.prompts / wanted[exact[-1]].sum(), wanted)
    total = wanted.sum()
    asked_for = [(row, wanted[row].sum()) for row in [*exact, seeds > 0]]
    for column in COLUMNS:
        for values, is_share in ((prompts.shares, True), (prompts.caps, False)):
            for name, share in getattr(values, column).items():
                row = np.array([getattr(part, column) == name for part in cells])
                if is_share:
                    asked_for.append((row, share * total))
                else:
                    rows, most = [*rows, row], [*most, (share - slack) * total]
    lenient = max(-slack * total, 0.0)
    for row, count in asked_for:
        rows, most = [*rows, row, -1.0 * row], [*most, count + lenient, lenient - count]
    least = np.minimum(max(slack, 0.0) * seeds, seeds)
    result = linprog(0.0 * seeds, np.array(rows, dtype=float), most, bounds=np.column_stack([least, seeds - least]))
    return bool(result.status == 0)


@settings(deadline=None, max_examples=300)
@given(CASES)
def test_what_is_solved_or_refused_is_what_another_solver_says(case: random.Random) -> None:
    cells = random_cells(case)
    room = made(cells, [part.seeds for part in cells], "mix")
    targets = {mix: int(seeds * case.uniform(0.02, 0.9)) for mix, seeds in room.items() if case.random() < 0.5}
    fields: dict[str, Any] = {"shares": {}, "caps": {}}
    for field, largest in (("shares", 0.9), ("caps", 1.0)):
        for column in case.sample(COLUMNS, case.randint(0, 2)):
            name = case.choice(sorted({str(getattr(part, column)) for part in cells}))
            fields[field][column] = {name: case.uniform(0.02, largest)}
    assume(any(fields.values()))
    prompts = asked(cells, targets, **fields)
    try:
        counts = quotas(cells, prompts)
    except CosmoError as error:
        assert not solvable(cells, prompts, 1e-4)
        named = [f"{field}.{column}" for field, columns in fields.items() for column in columns]
        assert any(name in error.message for name in [*named, "mixes.web", "mixes.book"])
        less = re.findall(r"multiply (.*)every per_seed of a mix without prompts by (\S+)", error.remedy)
        if less:
            factor = float(less[0][1])
            fewer = [cell(**{**vars(part), "per_seed": part.per_seed * factor}) for part in cells]
            scaled = {"scale": factor} if less[0][0] == "prompts.scale and " else {}
            assert sum(quotas(fewer, prompts.model_copy(update=scaled))) > 0
    else:
        assert solvable(cells, prompts, -0.002 - len(cells) / sum(counts))
        assert all(0 <= count <= part.seeds for count, part in zip(counts, cells, strict=True))
        assert {mix: made(cells, counts, "mix")[mix] for mix in targets} == targets
        total, near = sum(counts), 0.002 * sum(counts) + len(cells)
        for column in COLUMNS:
            found = made(cells, counts, column)
            for name, share in fields["shares"].get(column, {}).items():
                assert abs(found[name] - share * total) <= near
            for name, cap in fields["caps"].get(column, {}).items():
                assert found[name] <= cap * total + near


def test_numbers_that_must_be_zero_are_found() -> None:
    cells = [
        cell(900, 0.5, template="a", audience="x", format="p"),
        cell(900, 0.5, template="b", audience="x", format="q"),
        cell(900, 0.5, template="c", audience="y", format="p"),
    ]
    prompts = asked(cells, {"web": 1000}, shares={"audience": {"x": 0.5}, "format": {"p": 0.5}})
    assert quotas(cells, prompts) == [0, 500, 500]
