"""Candidates on the newest weeks, beside baseline and champion, and the gates they must pass.

evaluate.py: the stage that measures all models on the holdout, runs the gates, chooses the winner;
    the list of gates on a candidate, in order
gates/: the gates, by subject; gates/champion_and_baseline.py compares with the champion
evaluation_page.py: the HTML page of an evaluation
formatting.py: numbers, limits, refusals and metrics as text, for pages and model cards

Metrics and costs are in monitoring/measures/scores.py, slices and behaviours in the use case,
limits in the section `gates` of params.yaml.
"""
