"""An interpreter that trains nothing: it writes results as the program of proxies would, by a rule that tests know.

Whoever is trained on one token file alone gives every row a smaller likelihood; all else is chance, by the seed.
"""

import sys
from pathlib import Path

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


def untrained(folder: Path, *, crash: int = -1) -> Path:
    """The interpreter; what it has done stands in `trained.log` beside it. It ends before training number `crash`."""
    program = folder / "python"
    log = str(folder / "trained.log")
    program.write_text(PROGRAM.format(python=sys.executable, crash=crash, log=log), encoding="utf-8")
    program.chmod(0o755)
    return program
