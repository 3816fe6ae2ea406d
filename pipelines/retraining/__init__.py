"""Measures production and decides whether to retrain."""
