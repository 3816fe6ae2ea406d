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
    from pipelines.release.audit import release_document
    from pipelines.training.mlflow_tracking import mlflow_client

    client = mlflow_client(settings)
    versions = client.search_model_versions(f"name = '{settings.usecase}'")
    file = settings.release_file
    return {
        "versions": len(versions),
        "champion": _champion(release_document.read_document_text(settings, client)),
        "released": _champion(file.read_text() if file.exists() else None),
    }


def _champion(document: str | None) -> str | None:
    """The champion's version. Counted and not followed, so the signature does not matter here."""
    champion = json.loads(document)["champion"] if document else None
    return champion and champion["version"]


if __name__ == "__main__":
    counted = count_predictions(sys.stdin.buffer)
    print(json.dumps({"predictions": counted, **registry_facts(load_settings())}))
