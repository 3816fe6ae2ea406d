"""The command `mlops`: options, output and exit codes; the work is done in other rooms.

- `main.py`: the application and its groups of commands
- `common.py`: shared options, settings and error reports
- `loop.py`, `training.py`, `release.py`, `rollout.py`, `record.py`, `service.py`, `monitoring.py`,
  `schedules.py`, `proofs.py`, `replay.py`: the commands of a group
- `status.py`: the output of `mlops status`, `doctor`, `gate` and `alerts`
- `release_history.py`: the output of `mlops history`
- `reference.py`: the page docs/cli.md
"""
