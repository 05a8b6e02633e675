"""Interpreters that run no model: they write results as the programs of proxies and of signals would, by rules that
tests know.

Of proxies, whoever is trained on one token file alone gives every row a smaller likelihood; all else is chance, by the
seed.
"""

import sys
from pathlib import Path

from cosmo_resources.inference.models import EMBEDDED
from cosmo_resources.tokenizers import load_tokenizer

PROGRAM = """#!{python}
import json, sys
from pathlib import Path
import numpy as np
for done, folder in enumerate(map(Path, sys.argv[5:])):
    if (folder / "result.npz").exists():
        continue
    if done == {crash}:
        sys.exit("it was cut short")
    spec = json.loads((folder / "spec.json").read_text())
    random = np.random.default_rng([spec["seed"], len(spec["shards"])])
    with np.load(folder / "rows.npz") as rows:
        size = len(rows["ends"])
    scores = random.normal(-20 - 6 * (len(spec["shards"]) == 1), 0.2, size)
    np.savez(folder / "result.npz", losses=np.linspace(5, 1, spec["proxy"]["steps"]), log_likelihoods=scores)
    with Path({log!r}).open("a") as log:
        print(folder.name, file=log)
    print("done", folder, flush=True)
"""

SCORER = """#!{python}
import sys
from pathlib import Path
import numpy as np
folder = Path(sys.argv[5])
with np.load(folder / "texts.npz") as texts:
    lengths = np.diff(texts["ends"], prepend=0)
    starts = texts["ends"] - lengths
    continued = np.stack([np.resize(texts["tokens"][start + 32 : start + 64], 32) for start in starts])
np.savez(folder / "scores.npz", nats=2.0 * lengths, el2n=np.full((1, len(lengths)), 0.5), continued=continued)
"""


def untrained(folder: Path, *, crash: int = -1) -> Path:
    """The interpreter; what it has done stands in `trained.log` beside it. It ends before training number `crash`."""
    program = folder / "python"
    log = str(folder / "trained.log")
    program.write_text(PROGRAM.format(python=sys.executable, crash=crash, log=log), encoding="utf-8")
    program.chmod(0o755)
    return program


def unread(folder: Path) -> Path:
    """The interpreter, which finds that each token costs two nats and that every text is known by heart; `model` beside
    it is a folder that names its files and holds no weights."""
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    (model / "model.safetensors").write_text("", encoding="utf-8")
    load_tokenizer(EMBEDDED).tokenizer.save(str(model / "tokenizer.json"))
    program = folder / "scorer"
    program.write_text(SCORER.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    return program
