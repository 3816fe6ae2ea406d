"""The loop from raw batches to a monitored, retrained model, and the command `mlops`.

Rooms, each with a guide to its files:

- `ingestion/`: fetch and validate daily batches
- `training/`: build features, assemble the training set, fit candidates
- `evaluation/`: evaluate candidates; `evaluation/gates/` decides which may be registered
- `registry/`: register, download and reproduce versions; model cards
- `release/`: promote, roll back, roll out, approve; `release/audit/` records every change
- `retraining/`: measure the champion in production and decide whether to retrain
- `operations/`: health, metrics and alerts
- `flows/`: the Prefect flows, and one whole turn of the loop
- `replay/`: months of simulated days, by retraining policy
- `proofs/`: prove that the guards refuse what they must
- `delivery/`: report what a code change does to the model
- `cli/`: the command `mlops`; `stack/`: what the Compose stack needs; `runtime/`: processes, clock
"""

import gc

# The libraries' hundreds of thousands of objects stay. At Python's threshold of 700 new objects,
# going through them again and again costs a tenth of an import and of a run.
gc.set_threshold(50_000, 20, 10)
