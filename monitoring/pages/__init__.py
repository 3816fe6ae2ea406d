"""Pages and figures about evaluations, production and drift."""
