"""The use cases, one folder each; a fork adds its own. `contract.py` says what one is."""
