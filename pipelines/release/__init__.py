"""Releases: which version serves production, and how a new version gets there.

A gated version goes through staging, shadow and canary before it becomes champion. Every change
is an audit entry (room `audit`).

- `rollout_policy.py`: what a shadow or canary does on errors, slow scores, cost; the limits.
- `rollout_controller.py`: reads the evidence and applies the policy (`mlops rollout`).
- `rollout_evidence.py`: the challenger's requests and their labels.
- `approvals.py`: approve, reject, override a guard.
- `promotion.py`: promote, challenge, withdraw.
- `rollback.py`: back to an earlier champion; freeze and unfreeze.
- `staging_checks.py`: the smoke test in the staging service.
- `experiment.py`: a planned comparison of two versions.
"""
