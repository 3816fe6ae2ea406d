"""The use case on which the machinery is tested."""

import shutil

import yaml

from contract import load_use_case
from settings import Settings

USE_CASE = load_use_case("flights")
CATEGORIES, NUMBERS, FEATURES = USE_CASE.categories, USE_CASE.numbers, USE_CASE.features
PARAMS_FILE = USE_CASE.folder / "params.yaml"


def change_params(settings: Settings, section: str, **values: object) -> None:
    """Change parameters of a section in a home's file."""
    own = yaml.safe_load(settings.params_file.read_text())
    if section:
        own[section] = (own.get(section) or {}) | values
    else:
        own |= values
    settings.params_file.write_text(yaml.safe_dump(own))


def copy_params(settings: Settings) -> Settings:
    """Give a home the shipped parameters."""
    settings.params_file.parent.mkdir(parents=True)
    shutil.copyfile(PARAMS_FILE, settings.params_file)
    return settings
