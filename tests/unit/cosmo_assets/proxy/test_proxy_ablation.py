"""Arms, their folders and their comparison, with results that the tests write instead of a training."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cosmo_assets.cli.main import main
from cosmo_assets.proxy.ablation import Ablation, verdicts
from cosmo_assets.proxy.batches import FLOOR, Batches, scheduled
from cosmo_assets.proxy.domains import doge, doremi
from cosmo_assets.proxy.launch import identity
from cosmo_assets.proxy.rows import Item
from cosmo_assets.proxy.show import report, values
from cosmo_assets.proxy.spec import RESULT, ROWS, SPEC, Doge, Proxy, Shard, Spec
from cosmo_assets.proxy.tokens import shards_of
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import exclusive
from tests.facts import EOS, VOCABULARY, items, texts, write_shard

PROXY = Proxy(d_model=8, layers=1, heads=1, sequence=16, batch=4, steps=10)


def world(tmp_path: Path, **arguments: Any) -> Ablation:
    """Two arms of two shards, a held-out domain, three seeds."""
    arms = {}
    for name, noise in (("good", 0.0), ("bad", 1.0)):
        arms[name] = [tmp_path / name / f"{part}.ds" for part in range(2)]
        for part, path in enumerate(arms[name]):
            if not (path.exists() or "arms" in arguments):
                write_shard(path, texts(noise, part, 50))
    held_out = {"facts": [write_shard(tmp_path / "held-out" / "a.ds", texts(0.0, 9, 40))]}
    given = {"arms": arms, "held_out": held_out, "proxy": PROXY, "seeds": 3} | arguments
    return Ablation.prepare(
        tmp_path / "proof",
        items=[Item.model_validate(one) for one in items()],
        **given,
    )


def finish(ablation: Ablation, better: float = 5.0) -> None:
    """Results by which the first arm knows the right choices, held-out text is alike, and all vary by chance."""
    for number, ((arm, _), run) in enumerate(ablation.runs.items()):
        random = np.random.default_rng(number)
        with np.load(run / ROWS) as rows:
            scores = -10 + random.normal(scale=0.1, size=len(rows["ends"]))
        places = [4 * place + int(str(item["answer"])) for place, item in enumerate(items())]
        scores[places] += better * (arm == "good")
        np.savez(run / RESULT, losses=np.linspace(5, 1, ablation.proxy.steps), log_likelihoods=scores)


def test_the_better_arm_is_found_and_what_is_alike_stays_undecided(tmp_path: Path) -> None:
    ablation = world(tmp_path)
    assert len(ablation.pending) == 6
    finish(ablation)
    assert ablation.pending == []
    measures = ablation.measures()
    found = {one.measure: one for one in verdicts(measures)}
    assert {name: one.decision for name, one in found.items()} == {
        "answers: bits per byte": "better",
        "answers: accuracy": "better",
        "answers: accuracy by character": "better",
        "held-out facts: bits per byte": "undecided",
    }
    assert all((one.arm, one.other) == ("good", "bad") for one in found.values())
    scores = values(ablation, measures, list(found.values()))["scores"]["answers: accuracy"]
    assert scores["good"] == 1
    assert 0.05 < scores["bad"] < 0.5


def test_tables_hold_every_step_item_and_document_of_every_training(tmp_path: Path) -> None:
    ablation = world(tmp_path)
    finish(ablation)
    ablation.measures()
    losses, answered, held_out = (
        pq.read_table(tmp_path / "proof" / f"{name}.parquet") for name in ("losses", "items", "held_out")
    )
    assert losses.num_rows == 6 * PROXY.steps
    assert answered.num_rows == 6 * len(items())
    assert held_out.num_rows == 6 * 40
    rows = held_out.filter((held_out["arm"].to_numpy() == "bad") & (held_out["seed"].to_numpy() == 2))
    with np.load(ablation.runs["bad", 2] / RESULT) as found:
        of_documents = found["log_likelihoods"][4 * len(items()) :]
    assert (-rows["loss"].to_numpy() * rows["tokens"].to_numpy()).sum() == pytest.approx(of_documents.sum())
    assert rows["bits_per_byte"].to_numpy() * rows["bytes"].to_numpy() == pytest.approx(-of_documents / np.log(2))


def test_a_finished_training_stays_and_a_changed_arm_is_another_one(tmp_path: Path) -> None:
    before = world(tmp_path)
    finish(before)
    write_shard(tmp_path / "bad" / "0.ds", texts(1.0, 77, 50))
    after = world(tmp_path)
    assert sorted(run.name for run in after.pending) == sorted(after.runs["bad", seed].name for seed in range(3))
    assert len(world(tmp_path, proxy=PROXY.model_copy(update={"rate": 0.01})).pending) == 6
    assert world(tmp_path, seeds=4).pending[0].name.startswith("good-3-")


def test_where_shards_lie_is_no_part_of_what_a_training_is(tmp_path: Path) -> None:
    finish(world(tmp_path))
    (tmp_path / "good").rename(tmp_path / "moved")
    moved = {"good": shards_of(tmp_path / "moved"), "bad": shards_of(tmp_path / "bad")}
    ablation = world(tmp_path, arms=moved)
    assert ablation.pending == []
    spec = Spec.model_validate_json((ablation.runs["good", 0] / SPEC).read_text(encoding="utf-8"))
    assert [shard.path.parent.name for shard in spec.shards] == ["moved", "moved"]


@pytest.mark.parametrize(
    ("change", "said", "remedy"),
    [
        ({"seeds": 2}, "2 arms and 2 seeds are too few", "3 seeds"),
        ({"arms": {}}, "0 arms", "two arms"),
        ({"proxy": PROXY.model_copy(update={"sequence": 500})}, "the longest shard for 'good' has", "--set sequence"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, change: dict[str, Any], said: str, remedy: str) -> None:
    with pytest.raises(CosmoError, match=said) as refused:
        world(tmp_path, **change)
    assert remedy in refused.value.remedy


def test_arms_of_different_tokenizers_are_refused(tmp_path: Path) -> None:
    other = {**VOCABULARY, "more": len(VOCABULARY)}
    arms = {
        name: [write_shard(tmp_path / name / "a.ds", texts(0, 1, 50), words)]
        for name, words in (("one", VOCABULARY), ("other", other))
    }
    with pytest.raises(CosmoError, match="different tokenizers"):
        world(tmp_path, arms=arms)
    write_shard(tmp_path / "one" / "a.ds", ["more"] * 50, other)
    write_shard(tmp_path / "one" / "unused.ds", ["value1"])  # and with it, the smaller tokenizer
    with pytest.raises(CosmoError, match=r"a\.ds: token \d+ is not in the tokenizer"):
        world(tmp_path, arms={"one": arms["one"], "same": arms["one"]})
    (tmp_path / "one" / "tokenizer.json").unlink()
    with pytest.raises(CosmoError, match=r"there is no tokenizer\.json"):
        world(tmp_path, arms={"one": arms["one"], "same": arms["one"]})


def test_shards_are_those_of_a_folder_or_the_file(tmp_path: Path) -> None:
    one, other = (write_shard(tmp_path / "stage" / f"{name}.ds", ["value1"]) for name in "ab")
    (tmp_path / "stage" / "empty.ds").touch()
    assert shards_of(tmp_path) == [one, other]
    assert shards_of(other) == [other]
    Path(f"{other}.index").unlink()
    with pytest.raises(CosmoError, match=r"b\.ds\.index is missing"):
        shards_of(tmp_path)
    with pytest.raises(CosmoError, match="no token files"):
        shards_of(tmp_path / "nowhere")


def test_an_interpreter_without_torch_or_none_at_all_is_named_with_what_to_do(tmp_path: Path) -> None:
    ablation = world(tmp_path)
    for python, said in ((sys.executable, "No module named 'torch'"), ("absent-python", "cannot be started")):
        with pytest.raises(CosmoError, match=said) as refused:
            ablation.train(python)
        assert "--python" in refused.value.remedy


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    ablation = world(tmp_path)
    with exclusive(ablation.folder / ".lock"), pytest.raises(CosmoError, match="another process trains here"):
        ablation.train(sys.executable)


def test_unfinished_trainings_have_no_scores(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="is not trained"):
        world(tmp_path).measures()


def test_batches_follow_from_seed_and_step_and_lie_within_shards(tmp_path: Path) -> None:
    ablation = world(tmp_path)
    specs = [
        Spec.model_validate_json((ablation.runs[run] / SPEC).read_text(encoding="utf-8"))
        for run in (("good", 0), ("good", 1))
    ]
    one, other = map(Batches, specs)
    assert (one.of(3)[0] == Batches(specs[0]).of(3)[0]).all()
    assert (one.of(3)[0] != one.of(4)[0]).any()
    assert (one.of(3)[0] != other.of(3)[0]).any()
    text = [np.fromfile(shard.path, "<u2").tobytes() for shard in specs[0].shards]
    drawn = np.concatenate([one.of(step)[0] for step in range(200)]).astype("<u2")
    assert drawn.shape == (200 * PROXY.batch, PROXY.sequence + 1)
    assert all(any(row.tobytes() in shard for shard in text) for row in drawn)
    first = sum(row.tobytes() in text[0] for row in drawn) / len(drawn)
    assert 0.4 < first < 0.6


def test_an_even_training_draws_each_domain_as_often_whatever_its_size(tmp_path: Path) -> None:
    ablation = world(tmp_path)
    long = write_shard(tmp_path / "long" / "a.ds", texts(0.0, 3, 500))
    spec = Spec.model_validate_json((ablation.runs["good", 0] / SPEC).read_text(encoding="utf-8"))
    shards = (*spec.shards, Shard(path=long, digest="", domain=1))
    shares = {}
    for even in (False, True):
        batches = Batches(spec.model_copy(update={"shards": shards, "even": even}))
        shares[even] = np.concatenate([batches.of(step)[1] for step in range(200)]).mean()
    assert shares[True] == pytest.approx(0.5, abs=0.06)
    assert shares[False] == pytest.approx(5 / 6, abs=0.05)


def test_domains_that_cannot_be_weighed_are_refused(tmp_path: Path) -> None:
    one = [write_shard(tmp_path / "one" / "a.ds", texts(0.0, 1, 50))]
    short = [write_shard(tmp_path / "short" / "a.ds", texts(0.0, 1, 2))]
    with pytest.raises(CosmoError, match="nothing to weigh against"):
        doremi(tmp_path / "proof", {"one": one}, PROXY, sys.executable)
    with pytest.raises(CosmoError, match="nothing to weigh against"):
        doge(tmp_path / "proof", {"one": one}, PROXY, sys.executable)
    with pytest.raises(CosmoError, match=r"short/a\.ds: the longest shard for 'reference' has 8 tokens"):
        doremi(tmp_path / "proof", {"one": one, "short": short}, PROXY, sys.executable)


def test_a_target_is_held_out_long_enough_and_of_the_same_tokens(tmp_path: Path) -> None:
    domains = {name: [write_shard(tmp_path / name / "a.ds", texts(0.0, seed, 50))] for seed, name in enumerate("ab")}
    folder = tmp_path / "proof"
    copy = [write_shard(tmp_path / "copy" / "a.ds", texts(0.0, 1, 50))]
    with pytest.raises(CosmoError, match=r"copy/a\.ds: a domain has this shard of the target"):
        doge(folder, domains, PROXY, sys.executable, target=copy)
    short = [write_shard(tmp_path / "short" / "a.ds", texts(0.0, 9, 2))]
    with pytest.raises(CosmoError, match=r"short/a\.ds: the longest shard for 'proxy' has 8 tokens"):
        doge(folder, domains, PROXY, sys.executable, target=short)
    other = [write_shard(tmp_path / "other" / "a.ds", ["x y"] * 20, {"x": 0, "y": 1, EOS: 2})]
    with pytest.raises(CosmoError, match="are different tokenizers"):
        doge(folder, domains, PROXY, sys.executable, target=other)


def test_the_target_is_drawn_at_each_step_apart_from_the_domains(tmp_path: Path) -> None:
    ablation = world(tmp_path)
    spec = Spec.model_validate_json((ablation.runs["good", 0] / SPEC).read_text(encoding="utf-8"))
    domains, target = Batches(spec), Batches.of_target(spec, spec.shards)
    for step in range(3):
        ours, theirs = domains.of(step)[0], target.of(step)[0]
        assert ours.shape == theirs.shape
        assert (ours != theirs).any(), "of the same shards other places"
        assert (theirs == Batches.of_target(spec, spec.shards).of(step)[0]).all()


def test_a_training_without_a_target_is_named_as_it_always_was(tmp_path: Path) -> None:
    """By its digest; a target, but not where it lies, is part of that."""
    spec = Spec.model_validate_json((world(tmp_path).runs["good", 0] / SPEC).read_text(encoding="utf-8"))

    def named(**fields: Any) -> str:
        return identity(spec.model_copy(update={"weighing": Doge(mu=0.01, **fields)}))

    shard = {"path": tmp_path / "a.ds", "digest": "1"}
    assert "target" not in Doge(mu=0.01).model_dump()
    first = named(target=(Shard(**shard),))
    assert first == named(target=(Shard(**{**shard, "path": tmp_path / "b.ds"}),))
    assert len({first, named(), named(target=(Shard(**{**shard, "digest": "2"}),))}) == 3


def test_the_rate_rises_and_falls_to_its_floor() -> None:
    proxy = Proxy(steps=100, warm_up=0.1)
    rates = [scheduled(proxy, step) for step in range(100)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert max(rates) == rates[10] == 1
    assert (np.diff(rates[10:]) < 0).all()
    assert FLOOR < rates[-1] < FLOOR + 0.001


def test_the_command_writes_a_report_and_says_the_same_in_all_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(world(tmp_path))
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items())), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    arguments = ["ablation", "proof", "--items", "items.jsonl", "--held-out", "facts=held-out"]
    arguments += ["--arm", "good=good/0.ds", "--arm", "good=good/1.ds", "--arm", "bad=bad"]
    for name in ("d_model", "layers", "heads", "sequence", "batch", "steps"):
        arguments += ["--set", f"{name}={getattr(PROXY, name)}"]
    shown, plain = CliRunner().invoke(main, arguments), CliRunner().invoke(main, [*arguments, "--json"])
    assert shown.exit_code == plain.exit_code == 0, shown.output + plain.output
    found = json.loads(plain.output)
    assert found == json.loads(Path("proof/report.json").read_text(encoding="utf-8"))
    decided = {one["measure"]: one["arm_is"] for one in found["verdicts"]}
    page = Path("proof/report.md").read_text(encoding="utf-8")
    for measure, decision in decided.items():
        assert f"| {measure} | good | bad |" in page
        assert [line.split(" | ")[-1] for line in page.splitlines() if f"| {measure} | good |" in line] == [
            f"{decision} |"
        ]
    assert "undecided" in shown.output
    wrong = CliRunner().invoke(main, [*arguments, "--set", "steps=none"])
    assert wrong.exit_code == 1
    assert "--set steps" in wrong.stderr
    wrong = CliRunner().invoke(main, [*arguments, "--set", "heads=3"])
    assert "d_model (8) must be a multiple" in " ".join(wrong.stderr.split())
    wrong = CliRunner().invoke(main, [*arguments, "--arm", "../x=bad"])
    assert "not NAME=PATH" in wrong.stderr


def test_a_name_with_a_bar_does_not_break_the_report(tmp_path: Path) -> None:
    held_out = {"a|b": [write_shard(tmp_path / "held-out" / "a.ds", texts(0.0, 9, 40))]}
    ablation = world(tmp_path, held_out=held_out)
    finish(ablation)
    measures = ablation.measures()
    lines = report(ablation, measures, verdicts(measures)).splitlines()
    assert {line.count("|") for line in lines if "held-out a" in line} == {4, 7}


def test_the_end_of_text_is_that_of_the_shards(tmp_path: Path) -> None:
    with np.load(world(tmp_path).runs["good", 0] / ROWS) as rows:
        assert rows["tokens"][0] == VOCABULARY[EOS]
