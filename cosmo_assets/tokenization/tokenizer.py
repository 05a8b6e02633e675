"""The recipe's tokenizer.

Belongs here: which tokenizer a recipe means. Does not belong here: loading one (`cosmo_resources.tokenizers`).
"""

from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.hub import HUB
from cosmo_resources.inference.models import EMBEDDED
from cosmo_resources.tokenizers import NamedTokenizer, load_tokenizer


def recipe_tokenizer(recipe: Recipe) -> NamedTokenizer:
    """The tokenizer that extracts are measured with and shards are made of: the embedded model's, that of a model of
    the hub, or the file that the recipe names."""
    name = recipe.tokenization.tokenizer
    if name == EMBEDDED or name.startswith(HUB):
        return load_tokenizer(name)
    (path,) = recipe.paths(name, field="tokenization.tokenizer")[:1]
    return load_tokenizer(str(path))
