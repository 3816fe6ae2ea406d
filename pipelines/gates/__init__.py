"""The gates on a candidate, a file per question; `pipelines.gate` lists them in order."""
