"""Arms of data compared by proxies: each is trained with several seeds, and their differences decide.

Belongs here: finding the tokens of arms, the folders of their trainings, running these, reading results. Does not
belong here: the training (`train`), the interval of a difference (`bootstrap`), tables and the report (`show`).

Trainings of one seed start from the same weights and draw the same places in arms of equal length. A folder is named
by the digest of its spec: a finished training is never repeated, and what has changed stands beside it.
"""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa

import cosmo_assets
from cosmo_assets.proxy.bootstrap import LEAST_SEEDS, Decision, Difference, paired_difference
from cosmo_assets.proxy.rows import Item, Rows
from cosmo_assets.proxy.scoring import Array
from cosmo_assets.proxy.spec import RESULT, ROWS, SPEC, Proxy, Shard, Spec
from cosmo_assets.tokenization.shards import TOKENIZER_NAME, map_shard
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest, file_digest, json_digest
from cosmo_resources.storage.files import exclusive, write_parquet, write_text
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.tokenizers import NamedTokenizer, load_tokenizer

HELD_OUT = "held-out "
"""What the names of measures of held-out domains begin with."""
ANSWERS = "answers"
LAUNCH = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1));"
    "runpy.run_module('cosmo_assets.proxy.train', run_name='__main__', alter_sys=True)"
)
"""The project comes last on the path: another interpreter's packages are not those beside it."""
LOG = "train.log"


@dataclass(frozen=True)
class Measure:
    """Scores of every arm by one measure: items (or documents) x seeds."""

    name: str
    scores: Mapping[str, Array]
    lower_is_better: bool
    sizes: Array | None = None
    """What each document counts; items count the same."""

    def mean(self, arm: str) -> float:
        """Over items and seeds."""
        return float(np.average(self.scores[arm].mean(axis=1), weights=self.sizes))


@dataclass(frozen=True)
class Verdict:
    measure: str
    arm: str
    other: str
    difference: Difference
    decision: Decision
    """Of the arm, compared with the other."""


@dataclass(frozen=True)
class Ablation:
    """Arms with their trainings, one for each seed, under a folder."""

    folder: Path
    proxy: Proxy
    seeds: int
    arms: Mapping[str, Sequence[Path]]
    rows: Rows
    runs: Mapping[tuple[str, int], Path]
    """The folder of each arm and seed."""

    @classmethod
    def prepare(
        cls,
        folder: Path,
        arms: Mapping[str, Sequence[Path]],
        items: Sequence[Item],
        held_out: Mapping[str, Sequence[Path]],
        proxy: Proxy,
        seeds: int,
    ) -> "Ablation":
        """Write the folder of each training. Cost: one pass over the bytes of all shards.

        Raises:
            CosmoError: too few arms or seeds, tokens of different tokenizers, an arm shorter than a sequence.
        """
        if len(arms) < 2 or seeds < LEAST_SEEDS:
            raise CosmoError(
                f"{len(arms)} arms and {seeds} seeds are too few to compare",
                remedy=f"name two arms (--arm) or more, and {LEAST_SEEDS} seeds (--seeds) or more",
            )
        every = [shard for shards in [*arms.values(), *held_out.values()] for shard in shards]
        tokenizer = _tokenizer_of(every)
        vocabulary = 1 + max(tokenizer.tokenizer.get_vocab(with_added_tokens=True).values())
        digests = {shard: _checked(shard, vocabulary) for shard in sorted({*every})}
        widths = {map_shard(shard).dtype.itemsize for shard in every}
        if len(widths) > 1:
            raise CosmoError(
                "some shards have tokens of two bytes, some of four", remedy="build all with the same version of Cosmo"
            )
        eos = int(map_shard(every[0])[int(np.fromfile(f"{every[0]}.index", "<u8", count=1)[0]) - 1])
        rows = Rows(items, held_out, tokenizer, eos, proxy.sequence)
        arrays = rows.arrays()
        rows_digest = digest(*(part for name, array in arrays.items() for part in (name, array.tobytes())))
        runs = {}
        for arm, shards in arms.items():
            for seed in range(seeds):
                spec = Spec(
                    proxy=proxy,
                    shards=tuple(Shard(path=shard.absolute(), digest=digests[shard]) for shard in shards),
                    token_bytes=widths.copy().pop(),  # type: ignore[arg-type]
                    vocabulary=vocabulary,
                    rows=rows_digest,
                    seed=seed,
                )
                _long_enough(arm, spec)
                runs[arm, seed] = run = folder / "runs" / f"{arm}-{seed}-{_identity(spec)[:12]}"
                run.mkdir(parents=True, exist_ok=True)
                if not (run / SPEC).exists():
                    np.savez(run / ROWS, **arrays)  # type: ignore[arg-type]
                write_text(run / SPEC, spec.model_dump_json(indent=1) + "\n")
        return cls(folder, proxy, seeds, arms, rows, runs)

    @property
    def pending(self) -> list[Path]:
        """The folders of trainings that are not finished."""
        return [run for run in self.runs.values() if not (run / RESULT).exists()]

    def train(self, python: str, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Run the pending trainings one after the other in that interpreter; `progress` is told steps done and in all.

        Raises:
            CosmoError: another process trains here; the interpreter lacks torch or transformers; a training failed.
        """
        with exclusive(self.folder / ".lock", wait=False) as held:
            if not held:
                raise CosmoError(f"{self.folder}: another process trains here", remedy="wait for it, or end it")
            if pending := self.pending:
                self._run(python, pending, progress)

    def _run(self, python: str, pending: Sequence[Path], progress: Callable[[int, int], None]) -> None:
        steps, total, finished = self.proxy.steps, self.proxy.steps * len(self.runs), len(self.runs) - len(pending)
        root, log = Path(cosmo_assets.__path__[0]).parent, self.folder / LOG
        command = [python, "-P", "-c", LAUNCH, str(root), *map(str, pending)]
        with log.open("w", encoding="utf-8") as errors:
            try:
                process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            except OSError as error:
                raise CosmoError(f"{python} cannot be started: {error}", remedy=_INTERPRETER) from error
            with process:
                assert process.stdout is not None  # noqa: S101
                for line in process.stdout:
                    step, _, _ = line.partition(" ")
                    finished += step == "done"
                    progress(finished * steps + (int(step) if step.isdecimal() else 0), total)
        if process.returncode:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it was killed"]
            missing = "No module named" in said[-1]
            raise CosmoError(
                f"{python} ended with exit code {process.returncode}: {said[-1]}",
                remedy=_INTERPRETER if missing else f"read {log}; the same command goes on with what is not done",
            )

    def measures(self) -> list[Measure]:
        """The scores of all arms; the first is the one to decide by.

        Writes losses.parquet, items.parquet and held_out.parquet beside the runs.

        Raises:
            CosmoError: a training is not finished.
        """
        if pending := self.pending:
            raise CosmoError(f"{pending[0]} is not trained", remedy="train first: the same command goes on")
        losses, items, documents = [], [], []
        for (arm, seed), run in self.runs.items():
            with np.load(run / RESULT) as found:
                loss, likelihoods = found["losses"], found["log_likelihoods"]
            of: dict[str, str | int] = {"arm": arm, "seed": seed}
            losses.append(_table(of, step=np.arange(1, len(loss) + 1), loss=loss))
            answered = self.rows.answers(likelihoods)
            numbers = np.arange(1, len(answered.accuracy) + 1)
            items.append(_table(of, item=numbers, **vars(answered)))
            for domain, texts in self.rows.held_out(likelihoods).items():
                documents.append(
                    _table(
                        {**of, "domain": domain},
                        document=np.arange(1, len(texts.tokens) + 1),
                        tokens=texts.tokens,
                        bytes=texts.sizes,
                        loss=-texts.log_likelihoods / texts.tokens,
                        bits_per_byte=texts.bits_per_byte,
                    )
                )
        answered_by = pa.concat_tables(items)
        write_parquet(self.folder / "losses.parquet", pa.concat_tables(losses))
        write_parquet(self.folder / "items.parquet", answered_by)
        found_measures = [
            Measure(f"{ANSWERS}: bits per byte", self._scores(answered_by, "bits_per_byte"), True),
            Measure(f"{ANSWERS}: accuracy", self._scores(answered_by, "accuracy"), False),
            Measure(f"{ANSWERS}: accuracy by character", self._scores(answered_by, "accuracy_norm"), False),
        ]
        if documents:
            held_out = pa.concat_tables(documents)
            write_parquet(self.folder / "held_out.parquet", held_out)
            for domain in held_out["domain"].unique().to_pylist():
                of_domain = held_out.filter(pa.compute.equal(held_out["domain"], domain))
                sizes = of_domain["bytes"].to_numpy()[: pa.compute.max(of_domain["document"]).as_py()]
                scores = self._scores(of_domain, "bits_per_byte")
                found_measures.append(Measure(f"{HELD_OUT}{domain}: bits per byte", scores, True, sizes))
        return found_measures

    def _scores(self, table: pa.Table, column: str) -> dict[str, Array]:
        """By arm, a column as items x seeds; rows are in the order of arms, seeds and items."""
        values = table[column].to_numpy().reshape(len(self.arms), self.seeds, -1)
        return {arm: of_arm.T for arm, of_arm in zip(self.arms, values, strict=True)}


def verdicts(measures: Sequence[Measure]) -> list[Verdict]:
    """The differences of all pairs of arms by all measures."""
    found = []
    for measure in measures:
        for arm, other in combinations(measure.scores, 2):
            of = paired_difference(measure.scores[arm], measure.scores[other], sizes=measure.sizes)
            decision = of.decision(lower_is_better=measure.lower_is_better)
            found.append(Verdict(measure.name, arm, other, of, decision))
    return found


def shards_of(path: Path) -> list[Path]:
    """The token files of a corpus (its folder under the data root), of a folder, or the file itself, in order.

    Raises:
        CosmoError: there are none.
    """
    folder = CorpusStore(path).open("tokenized_shards").folder if (path / "tokenized_shards").is_dir() else path
    found = [folder] if folder.is_file() else sorted(folder.rglob("*.ds"))
    for shard in found:
        for suffix in (".index", ".metadata"):
            if not Path(f"{shard}{suffix}").is_file():
                raise CosmoError(f"{shard}{suffix} is missing", remedy="copy it along, or build the shards again")
    if not found:
        raise CosmoError(
            f"{path}: there are no token files (.ds)", remedy="name a corpus, a folder of shards or a file"
        )
    return found


_INTERPRETER = (
    "install cosmo[proxy], or name with --python (or COSMO_PROXY_PYTHON) an interpreter that has torch and "
    "transformers; `make vllm-cpu` builds one, .venv-vllm/bin/python"
)


def _tokenizer_of(shards: Sequence[Path]) -> NamedTokenizer:
    """The tokenizer that lies beside the shards, the same for all."""
    found: dict[str, tuple[Path, NamedTokenizer]] = {}
    for folder in sorted({shard.parent for shard in shards}):
        beside = next((path for at in (folder, folder.parent) if (path := at / TOKENIZER_NAME).is_file()), None)
        if beside is None:
            raise CosmoError(
                f"{folder}: there is no {TOKENIZER_NAME}", remedy="copy that of the corpus beside its shards"
            )
        tokenizer = load_tokenizer(str(beside))
        found.setdefault(tokenizer.digest, (beside, tokenizer))
    if len(found) > 1:
        one, other, *_ = (str(path) for path, _ in found.values())
        raise CosmoError(
            f"{one} and {other} are different tokenizers",
            remedy="build all arms and held-out domains with the same one",
        )
    return next(iter(found.values()))[1]


def _checked(shard: Path, vocabulary: int) -> str:
    """The digest of a shard whose tokens are all in the vocabulary."""
    tokens = map_shard(shard)
    if len(tokens) and int(tokens.max()) >= vocabulary:
        raise CosmoError(
            f"{shard}: token {int(tokens.max())} is not in the tokenizer, which has {vocabulary}",
            remedy=f"put the {TOKENIZER_NAME} of these shards beside them",
        )
    return file_digest(shard)


def _long_enough(arm: str, spec: Spec) -> None:
    longest = max((shard.path.stat().st_size // spec.token_bytes for shard in spec.shards), default=0)
    if longest <= spec.proxy.sequence:
        raise CosmoError(
            f"arm {arm!r}: its longest shard has {longest} tokens, a sequence has {spec.proxy.sequence}",
            remedy="give it more text, or --set sequence to less",
        )


def _identity(spec: Spec) -> str:
    """The digest of a spec, wherever its shards lie."""
    said = spec.model_dump(mode="json")
    return json_digest({**said, "shards": [shard.digest for shard in spec.shards]})


def _table(
    constant: Mapping[str, str | int], **columns: Array | np.ndarray[tuple[int], np.dtype[np.int64]]
) -> pa.Table:
    rows = len(next(iter(columns.values())))
    return pa.table({**{name: [value] * rows for name, value in constant.items()}, **columns})
