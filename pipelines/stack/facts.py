"""Count what a backup holds: predictions, versions, champion and release.

Runs in a container of the image and prints one line of JSON. Reads the prediction log as a tar from
stdin, because the files grow but the archive does not.
"""

import io
import json
import sys
import tarfile
from typing import IO, Any

from settings import Settings, load_settings


def count_predictions(archive: IO[bytes]) -> int:
    """Return the number of records in an archived log.

    An unterminated last line was never acknowledged and does not count.
    """
    import pyarrow.parquet as pq

    from serving.prediction_log import parquet_files, segments

    lines, held, rows = {}, set[str](), 0
    with tarfile.open(fileobj=archive, mode="r|") as members:
        for member in members:
            name = member.name.rpartition("/")[2]
            if not (content := members.extractfile(member)):
                continue  # a folder
            if name.endswith(segments.SEGMENT_SUFFIX):
                lines[name] = content.read().count(b"\n")
            elif name.endswith(parquet_files.PARQUET_SUFFIX):
                metadata = pq.read_metadata(io.BytesIO(content.read()))
                rows += metadata.num_rows
                held |= set(json.loads(metadata.metadata[parquet_files.FOOTER_KEY])["segments"])
    return rows + sum(count for name, count in lines.items() if name not in held)


def registry_facts(settings: Settings) -> dict[str, Any]:
    """Return the number of registered versions, the champion and the released version."""
    from pipelines.registry.versions import REGISTERED_MODEL
    from pipelines.release.audit.recorder import read_recorded_release
    from pipelines.training.mlflow_tracking import mlflow_client
    from serving.release.document import read_release

    versions = mlflow_client(settings).search_model_versions(f"name = '{REGISTERED_MODEL}'")
    recorded, served = read_recorded_release(settings).document, read_release(settings.release_file)
    return {
        "versions": len(versions),
        "champion": recorded.champion and recorded.champion.version,
        "released": served and served.champion.version,
    }


if __name__ == "__main__":
    counted = count_predictions(sys.stdin.buffer)
    print(json.dumps({"predictions": counted, **registry_facts(load_settings())}))
