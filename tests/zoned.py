"""The loop from batch to answer over two changes of summer time, in the zone of `TZ`.

`python -m tests.zoned HOME` prints digests of the data and the answers as JSON.
"""

import hashlib
import json
import os
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from features import partitions
from features.online_publisher import Publisher, publish_features
from features.publication_record import published_until
from pipelines.ingestion import ingest, validate
from pipelines.runtime import traffic
from pipelines.training import build_features
from settings import Settings
from tests.serving.in_process import post_json, service_parts
from tests.slice_params import slice_params
from tests.use_case import USE_CASE

FIRST_DAY = date(2013, 1, 1)  # of the source
# First day and change of summer time of each window: New York on 10 March 2013, Berlin on 31 March.
WINDOWS = (
    (date(2013, 3, 9), datetime(2013, 3, 10, 7, tzinfo=UTC)),
    (date(2013, 3, 30), datetime(2013, 3, 31, 1, tzinfo=UTC)),
)
CASES = 12  # in each window


def window(home: Path, first: date, change: datetime) -> dict[str, Any]:
    settings = Settings(home=home, pages=False)
    settings.params_file.parent.mkdir(parents=True)
    for name in ("MLOPS_FEAST_REGISTRY", "MLOPS_FEAST_ONLINE"):
        os.environ.pop(name, None)
    settings.apply_environment()
    end = (change + timedelta(days=1)).replace(hour=0)
    params = slice_params() | {"first_day": first.isoformat()}
    settings.params_file.write_text(yaml.safe_dump(params))
    ingest.fetch_due_batches(settings, end)
    validate.validate_new_batches(settings, end)
    for feed in USE_CASE.feeds:
        if not partitions.partition_days(
            settings.data, "validated", feed
        ):  # published once, before the window
            target = partitions.partition_path(settings.data, "validated", feed, FIRST_DAY)
            partitions.write_partition(USE_CASE.fetch(feed, FIRST_DAY), target)
    settings.params_file.write_text(yaml.safe_dump(params | {"first_day": FIRST_DAY.isoformat()}))
    build_features.build_feature_tables(settings, end)
    since = change - timedelta(hours=8)
    publish_features(settings, since)
    return {"data": digests(settings.data), "answers": answers(settings, since, end)}


def answers(settings: Settings, since: datetime, end: datetime) -> list[dict[str, Any]]:
    """Return the service's answer for each case, with the features published by its decision."""
    cases = traffic.cases_between(settings, since, end)
    cases = cases.iloc[:: len(cases) // CASES]
    publisher = Publisher(settings, since, end)
    moments = pd.DatetimeIndex([since, *publisher.moments(end)])
    parts, found = service_parts(settings), []
    for case in cases.to_dict("records"):
        number = moments.searchsorted(case["decision_time"], side="right") - 1
        publisher.step(moments[number].to_pydatetime())
        answer = post_json(
            parts, "/predict", USE_CASE.payload(case), **{"X-Request-Id": case["key"]}
        ).json()
        found.append(answer | {"stands_at": str(published_until(settings))})
    parts.close()
    return found


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


if __name__ == "__main__":
    found = {str(first): window(Path(sys.argv[1]) / str(first), first, at) for first, at in WINDOWS}
    print(json.dumps(found))
