"""The prediction log: one record for each prediction, appended before the response is sent.

`writer.py`: appends records (`PredictionLog`).
`reader.py`: reads the log as one frame (`read_predictions`), one prediction, reported outcomes.
`decisions.py`: the predictions that were decisions on time (`read_decisions`).
`compaction.py`: turns closed segments into Parquet files.
`erasure.py`: erases predictions by age or by value.
`segments.py`, `records.py`: files of JSON lines; their declared columns, and how they are parsed.
`parquet_files.py`: the compacted files.
"""
