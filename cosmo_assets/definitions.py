"""The code location: what Dagster loads.

Belongs here: reading the environment, once. Does not belong here: anything else (`build`).
"""

import os

import dagster as dg

from cosmo_assets.build import build_defs
from cosmo_assets.recipe.recipe import load_recipe
from cosmo_resources.deployments import deployment, settings


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the recipe and deployment that the environment names."""
    chosen = settings(os.environ)
    recipe = load_recipe(chosen.recipe)
    return build_defs(recipe, deployment(chosen, recipe.name))
