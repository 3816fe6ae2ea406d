"""Daily batches: fetched from the source, checked with Great Expectations, accepted or refused."""
