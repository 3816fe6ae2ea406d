"""Figures of the source that the documents quote."""

from datetime import date

from year import END, cases

from features import partitions
from tests.use_case import USE_CASE
from usecases.flights.source import FIRST_DAY


def main() -> None:
    settings, frame = cases()
    days: tuple[date, date] = (FIRST_DAY, END.date())
    schedule = partitions.read_days(settings.data, "raw", USE_CASE.spine_feed, *days)
    outcomes = partitions.read_days(settings.data, "raw", USE_CASE.label_feed, *days)
    absent = schedule[schedule["tailnum"].isna()]
    known = outcomes[outcomes["tailnum"].isna()]
    print("\n## The source (`tests/usecases/flights/bench/source_figures.py`)\n")
    print(f"- flights in the schedule of batches up to {END:%Y-%m-%d}: {len(schedule):,}")
    lost = known["arr_delay"].isna().mean()
    print(f"- flights without a tail number: {len(absent):,}")
    print(f"- the outcome of {len(known):,} of them is known by then: {lost:.1%} never arrived")
    print(f"- cases with a label: {len(frame):,}; rate {frame['label'].mean():.3f}")
    by_month = frame.groupby(frame["decision_time"].dt.month)["label"].mean()
    print("- rate by month: " + " ".join(f"{rate:.2f}" for rate in by_month))


if __name__ == "__main__":
    main()
