"""From validated batches to fitted candidates, in a workspace that DVC tracks and MLflow logs."""
