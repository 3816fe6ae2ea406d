"""Versions in the MLflow registry: registered, downloaded, reproduced, packaged, with a model
card.
"""
