"""The use case on which the machinery is tested."""

from contract import load_use_case

USE_CASE = load_use_case("flights")
CATEGORIES, NUMBERS, FEATURES = USE_CASE.categories, USE_CASE.numbers, USE_CASE.features
PARAMS_FILE = USE_CASE.folder / "params.yaml"
