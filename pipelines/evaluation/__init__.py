"""Candidates on the newest weeks, beside baseline and champion, and the gates they must pass."""
