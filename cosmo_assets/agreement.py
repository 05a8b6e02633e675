"""Agreement: what the recipe asks of the datasets that a stage reads.

Belongs here: which assets are held to the recipe, each by its own parameters. Does not belong here: these parameters
(the stages name them), or which version an input has (`cosmo_resources.storage.provenance`).
"""

from cosmo_assets.decontamination import stage as decontamination
from cosmo_assets.deduplication.signatures import signed_as
from cosmo_assets.mixture import stage as mixture
from cosmo_assets.prompts import table as prompt_table
from cosmo_assets.quality import stage as quality
from cosmo_assets.real import eligible as real
from cosmo_assets.seeds import documents as seed_documents
from cosmo_assets.selection import stage as selection
from cosmo_assets.stage import Asked
from cosmo_assets.tokenization import shards
from cosmo_assets.tokenization.tokenizer import recipe_tokenizer

ASKED: Asked = {
    "seed_documents": seed_documents.params,
    "prompt_table": prompt_table.params,
    "generation_quality": quality.params,
    "benchmark_index": decontamination.index_params,
    "contaminated_seeds": decontamination.rule_params,
    "decontaminated": decontamination.params,
    "text_signatures": lambda recipe: signed_as(recipe.deduplication),
    "real_documents": lambda recipe: seed_documents.params_of(real.wanted_texts(recipe)),
    "real_eligible": lambda recipe: real.params(recipe, recipe_tokenizer(recipe)),
    "duplicate_clusters": lambda recipe: recipe.deduplication.model_dump(),
    "selection": selection.params,
    "mixture": mixture.params,
    "tokenized_shards": lambda recipe: shards.params(recipe, recipe_tokenizer(recipe)),
}
"""`generations` is not held to it: buckets of one corpus may be by several models, and a new choice is for the buckets
that are built from then on."""
