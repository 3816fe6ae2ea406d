"""Feast plumbing: one definition of the features for training and serving."""

import typeguard


def _unchecked(target: object = None, **_: object) -> object:
    return target


# Feast has typeguard rewrite its classes so that every call checks its types: most of the time of
# its import, in each process anew (`make bench`, tests/bench/imports.py). typeguard says that this
# is not meant for production and does nothing under `python -O`, which would drop all assertions.
typeguard.typechecked = _unchecked  # type: ignore[assignment]
