"""The audit trail of releases: who changed what, when and why, and proof that it is complete.

The release document says what is served. Each change of it is an audit entry; the entries are
chained by digest, and the document holds the newest digest.

- `recorder.py`: records a change and applies it; completes a change that was killed.
- `publish.py`: release file, aliases and tags that follow the document.
- `trail.py`: the audit entry, and the verification of the chain. Pure functions.
- `verification.py`: whether trail, document, release file and evidence files agree.
- `entry_store.py`: audit entries as runs of MLflow's experiment `releases`.
- `release_document.py`: the release document, a tag of the registered model.
- `approval_rules.py`: active approvals, overrides and bars. Pure functions.
- `repair.py`: rewrites a lost or damaged release document.
- `prediction_lineage.py`: from one prediction to its features, version and approval.
- `rescoring.py`: repeats a logged prediction.
- `release_lock.py`: one change at a time.
"""
