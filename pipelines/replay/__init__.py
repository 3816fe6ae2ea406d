"""Replays: months of simulated days by retraining policy, and what each policy costs.

Fast, with the loop's steps only:
- `fast_replay.py`: runs and resumes the days of each policy
- `simulated_day.py`: one day; `replay_state.py`: cases, models and predictions
- `trained_models.py`: the trainings; `world_data.py`: batches, features and labels

Served, through flows, stores and the service:
- `served_replay.py`: in a home of its own; `stack_replay.py`: on a running stack
- `served_days.py`: the process that runs the days
- `served_record.py`, `served_costs.py`, `time_meter.py`: a day's record, cost and time

Reports:
- `policies.py`: policies and the comparison of their costs
- `replay_page.py`, `platform_section.py`: the page of `mlops report`
- `agreement.py`: days on which the two replays differ
"""
