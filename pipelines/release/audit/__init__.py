"""The audit trail of releases: who changed what, when and why, and proof that it is complete.

The release document says what is served. Each change of it is an audit entry; the entries are
chained by digest, and the document holds the newest digest. Document and entries are signed.

- `recorder.py`: records a change and applies it, one at a time; completes a change that was killed.
- `trail.py`: the audit entry, and the verification of the chain. Pure functions.
- `entry_store.py`: audit entries as runs of MLflow's experiment `releases`.
- `release_document.py`: the document, a tag of the registered model; release file and aliases.
- `verification.py`: whether trail, document, release file and evidence files agree; repair.
- `key_changes.py`: signs the release again with a new key, or for the first time.
- `vouched_files.py`: downloads a version whose files are signed, or in the record.
- `approval_rules.py`: active approvals, overrides and bars. Pure functions.
- `prediction_lineage.py`: from one prediction to its features, version and approval.
"""
