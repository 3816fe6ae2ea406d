"""Months of simulated days, by policy: with pure steps, or through the real service."""
