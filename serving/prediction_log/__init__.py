"""The prediction log: one record for each prediction, appended before the response is sent.

`writer.py`: appends records (`PredictionLog`).
`reader.py`: reads the log as one frame (`read_predictions`).
`compaction.py`: turns closed segments into Parquet files.
`erasure.py`: erases predictions by age or by value.
`search.py`: finds one prediction by its request id.
`reported_outcomes.py`: outcomes that clients reported.
`segments.py`, `records.py`, `json_lines.py`: files of JSON lines, and how they are parsed.
`parquet_files.py`: the compacted files.
"""
