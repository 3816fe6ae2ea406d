"""The prediction log: written as lines, compacted to Parquet, read, searched and erased."""
