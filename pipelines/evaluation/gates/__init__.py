"""The gates that a candidate, its refit and its sources must pass before registration.

verdict.py: input and verdict of a gate, and the loop that runs gates; one that raises has failed
champion_and_baseline.py: not worse than the champion, overall and by slice; better than no model
soundness.py: data, calibration, slices and behaviour; results, columns and values that are too
    good to be known in time
refit_gates.py: the refit in its served form: files, parity, size, speed, columns, behaviour
source_gates.py: recorded data, point-in-time features, parity of the online store

docs/gates.md lists all gates with their codes.
"""
