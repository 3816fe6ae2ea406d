"""CPU time of a feature lookup by Feast's SDK and by the stores with a single query."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3]))
from measure import compare
from prepare import AT, END, load_or_build, setup_home


def main() -> None:
    from features.feast_store import LOOKUP, keyed_views, open_online_values, open_store
    from pipelines.runtime.traffic import cases_between

    load_or_build()
    settings = setup_home()
    store, read = open_store(settings), open_online_values(settings)
    service = store.get_feature_service(LOOKUP)
    rows = cases_between(settings, AT, END).head(100).to_dict("records")
    names = {key.name for view in keyed_views(settings.use_case) for key in view.entity_columns}
    keys = [{name: row[name] for name in names} for row in rows]

    def sdk(wanted: list[dict[str, str]]) -> None:
        store.get_online_features(features=service, entity_rows=wanted).to_dict(
            include_event_timestamps=True
        )

    compare(
        "lookup of one case: Feast's SDK, relative to one query",
        lambda: [sdk([key]) for key in keys[:20]],
        lambda: [read([row]) for row in rows[:20]],
    )  # fmt: skip
    compare(
        "lookup of a hundred cases at once: Feast's SDK, relative to one query",
        lambda: sdk(keys), lambda: read(rows),
    )  # fmt: skip


if __name__ == "__main__":
    main()
