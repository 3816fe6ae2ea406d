"""The models that the service holds: loaded, verified, swapped, scored and explained."""
