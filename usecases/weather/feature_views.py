"""Feast's definition of the one table."""

from contract import FeatureViews
from features.views import entity, table_view
from usecases.weather import BAD, CHANGES, HOUR, OBSERVED

ORIGIN = entity("origin")
VIEW = table_view("weather", "observed", ORIGIN, [*OBSERVED, *BAD, *CHANGES], ttl=3 * HOUR)
DEFINITIONS = FeatureViews([ORIGIN], [VIEW])
