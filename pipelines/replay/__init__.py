"""Replays: months of simulated days by retraining policy, and what each policy costs.

Fast, with the loop's steps only:
- `fast_replay.py`: runs and resumes the days of each policy
- `simulated_day.py`: one day, with its cases, models and predictions
- `replay_world.py`: the data of the period, and the trainings

Served, through flows, stores and the service:
- `served_replay.py`: in a home of its own, or on a running stack
- `served_days.py`: the process that runs the days
- `served_record.py`: a day's record

Reports:
- `policies.py`: policies and the comparison of their costs
- `replay_page.py`: the page of `mlops report`
- `platform_figures.py`: the time that a served day takes, and other figures of the platform
- `agreement.py`: costs of served days, and days on which the two replays differ
"""
