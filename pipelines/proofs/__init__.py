"""Proofs that the guards work: `mlops prove` runs bad cases through them, and some healthy ones.

Gates:
- `gate_proofs.py`: all cases, the gates they run through, and what proves one
- `bad_candidates.py`, `bad_sources.py`: the cases, with those of the use case

Monitoring:
- `monitoring_proofs.py`: the use case's faults of feeds, and what proves one
- `fault_simulation.py`: the loop on feeds with a fault

Rollout:
- `rollout_proofs.py`: takes challengers through shadow and canary
- `challengers.py`: the challengers, and the cases that they score

All:
- `base_training.py`: the training that the cases start from, and their homes
- `proof_runs.py`: runs cases in parallel, and prints and writes the results
"""
