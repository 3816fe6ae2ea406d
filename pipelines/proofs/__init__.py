"""The candidates that `mlops prove` makes, a file per part of the way to a release."""
