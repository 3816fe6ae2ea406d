"""The use case on which the machinery is tested."""

import shutil

from contract import load_use_case
from settings import Settings

USE_CASE = load_use_case("flights")
CATEGORIES, NUMBERS, FEATURES = USE_CASE.categories, USE_CASE.numbers, USE_CASE.features
PARAMS_FILE = USE_CASE.folder / "params.yaml"


def copy_params(settings: Settings) -> Settings:
    """Give a home the shipped parameters."""
    settings.params_file.parent.mkdir(parents=True)
    shutil.copyfile(PARAMS_FILE, settings.params_file)
    return settings
