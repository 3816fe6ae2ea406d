"""The gates that a candidate, its refit and its sources must pass before registration."""
