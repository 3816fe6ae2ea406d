"""The command `mlops`."""
