"""Every case of the year with its features and its label, for the other benchmarks.

Built once below `var/bench`, by the same code as a training.
"""

import os
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

import settings as configuration

ROOT = Path(__file__).parents[4]
HOME = ROOT / "var" / "bench"
END = datetime(2014, 1, 1, tzinfo=UTC)


def home() -> configuration.Settings:
    """Return the settings of the scratch home, with today's parameters; set MLOPS_HOME."""
    target = HOME / "usecases" / "flights" / "params.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "usecases" / "flights" / "params.yaml", target)
    for name in [name for name in os.environ if name.startswith("MLOPS_")]:
        del os.environ[name]
    os.environ["MLOPS_HOME"] = str(HOME)
    return configuration.load_settings()


def cases() -> tuple[configuration.Settings, pd.DataFrame]:
    """Return all cases of the year by decision time, as a training sees them."""
    settings = home()
    frame = settings.data / "training" / "training.parquet"
    if not frame.exists():
        from pipelines.ingestion import ingest, validate
        from pipelines.training import assemble, build_features

        for step in (
            ingest.fetch_due_batches,
            validate.validate_new_batches,
            build_features.build_feature_tables,
            assemble.assemble_training_set,
        ):
            started = time.monotonic()
            step(settings, END)
            line = f"the year: {step.__name__}, {time.monotonic() - started:.0f} s"
            print(line, file=sys.stderr, flush=True)
    return settings, pd.read_parquet(frame)


if __name__ == "__main__":
    print(f"{len(cases()[1]):,} cases", file=sys.stderr)
