"""Feast plumbing: one definition of the features for training and serving."""
