"""The use case, which a fork replaces: data, label, features, model, costs and limits.

The shipped one predicts, two hours before scheduled departure, whether a flight from New York will
be disrupted: 15 or more minutes late, cancelled or diverted. CONTRIBUTING.md has the contract.

- `source.py`: the feeds and their batches; `schema.py`: their columns, types and keys
- `expectations.py`, `facts.py`: rules for rows and batches, and the facts that they check
- `target.py`: the cases, their decision time and their label; `statements.py`: which row counts
- `feature_tables.py`: how each feature is computed; `windows.py`, `columns.py`: its helpers
- `feature_views.py`: Feast's definitions of the features
- `model.py`: the candidates and the baseline; `evaluation.py`: metrics, costs, slices, behaviours
- `request.py`: the service's request and response
- `faults.py`, `feed_faults.py`, `feed_changes.py`: faults that the gates and monitoring must detect
- `params.yaml`, `slice.yaml`, `card.md`: parameters, and the model card
"""
