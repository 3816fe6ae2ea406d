"""The stages from raw batches to a released model, the flows that run them, and the commands."""
