"""Measurements of production, from the prediction log and the labels known so far.

- `scores.py`: metrics, costs and calibration of probabilities, and the bootstrap of days
- `performance.py`: join of late labels, coverage, cost, calibration, estimated cost
- `slices.py`: the same per slice, and labels that are missing in a slice
- `drift.py`: drift of features, predictions and labels
- `curves.py`: points of ROC and calibration curves
- `arms.py`: evidence on a challenger in shadow or canary
- `experiment.py`: the planned analysis of an experiment with two versions
- `sequential.py`: intervals that may be looked at every day
- `serving_cost.py`: cost of a thousand predictions
"""
