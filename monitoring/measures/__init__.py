"""Measurements of production: performance, drift, slices, paired comparisons and experiments."""
