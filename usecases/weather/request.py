"""The service's request."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.http.answer import Moment


class HourRequest(BaseModel):
    """An airport, and the hour in which the decision is taken."""

    model_config = ConfigDict(extra="forbid")

    origin: Literal["EWR", "JFK", "LGA"] = Field(description="IATA code of the airport")
    time: Moment = Field(description="Start of the hour", examples=["2013-04-01T14:00:00Z"])
