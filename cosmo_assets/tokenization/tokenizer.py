"""The recipe's tokenizer.

Belongs here: which tokenizer a recipe means. Does not belong here: loading one (`cosmo_resources.tokenizers`).
"""

from cosmo_assets.recipe import Recipe
from cosmo_resources.inference.models import EMBEDDED
from cosmo_resources.tokenizers import NamedTokenizer, load_tokenizer


def recipe_tokenizer(recipe: Recipe) -> NamedTokenizer:
    """The tokenizer that extracts are measured with and shards are made of: the embedded model's, or the file that the
    recipe names."""
    name = recipe.tokenization.tokenizer
    if name == EMBEDDED:
        return load_tokenizer(name)
    (path,) = recipe.paths(name, field="tokenization.tokenizer")[:1]
    return load_tokenizer(str(path))
