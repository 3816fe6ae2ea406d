"""The audit trail of releases: entries chained by digest, the release document, repair."""
