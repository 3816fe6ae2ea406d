"""How the model does in production, whether its world has changed, and what follows from it."""
