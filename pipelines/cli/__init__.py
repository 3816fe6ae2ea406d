"""The command `mlops`: options, output and exit codes; the work is done in other rooms.

- `main.py`: the application and its groups of commands
- `common.py`: shared options, settings and error reports
- `loop.py`, `release.py`, `record.py`, `service.py`, `operations.py`,
  `proofs_and_replay.py`: the commands
- `status.py`: the output of `mlops status`, `gate` and `alerts`
- `release_history.py`: the output of `mlops history`
- `reference.py`: the page docs/cli.md
"""
