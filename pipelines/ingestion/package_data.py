"""Data that come in an installed package, as those of the use cases that ship."""

import importlib.util
from pathlib import Path


def package_folder(package: str) -> Path:
    """Return the folder of an installed package, which is not imported.

    Raise `LookupError` if it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LookupError(f"The package {package} is not installed. Run `make install`.")
    return Path(spec.submodule_search_locations[0])
