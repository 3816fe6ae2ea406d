"""The recipe of a training in one file: its parameters, and digests of the code by stage."""

import yaml

from features import durable_files, used_code
from settings import Settings

RECIPE_FILE = "recipe.yaml"
# By stage: the methods of the use case that it calls.
STAGE_CODE = {
    "validate": ("schema", "checks", "facts", "row_rules", "batch_bounds"),
    "features": ("schema", "tables"),
    "assemble": ("schema", "spine", "labels", "views"),
    "train": ("candidates", "baseline"),
    "evaluate": ("slices", "behaviours"),
}


def write_recipe(settings: Settings) -> None:
    """Write the recipe beside the use case's data; the stages of dvc.yaml depend on its parts."""
    code = {
        stage: used_code.methods_digest(settings.use_case, methods)
        for stage, methods in STAGE_CODE.items()
    }
    text = yaml.safe_dump({**settings.params(), "code": code}, sort_keys=False)
    durable_files.write_file(settings.data / RECIPE_FILE, text)
    durable_files.write_file(settings.data / "champion" / ".gitkeep", "")  # without one: empty
