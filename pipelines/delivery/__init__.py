"""What a change of the code does to the model, measured on a slice beside main."""
