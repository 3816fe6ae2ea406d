"""The service's request and response, and the case that a request is about."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from serving.http.answer import Answer, CaseRequest, Moment, within
from usecases.flights.target import LEAD, UNKNOWN_TAIL

# Accepted departures: the year of the source, and a year of schedules after it.
EARLIEST, END = datetime(2013, 1, 1, tzinfo=UTC), datetime(2015, 1, 1, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
Departure = Annotated[Moment, within(EARLIEST, END)]
Airport = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class PredictRequest(CaseRequest):
    """One scheduled flight, identified by its schedule."""

    carrier: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{2}$")] = Field(
        description="IATA code of the carrier", examples=["UA"]
    )
    flight: int = Field(strict=True, ge=1, le=9999, description="Flight number", examples=[1545])
    origin: Literal["EWR", "JFK", "LGA"] = Field(description="IATA code of the origin")
    dest: Airport = Field(description="IATA code of the destination", examples=["IAH"])
    tailnum: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{1,8}$")] | None = Field(
        description="Registration of the plane; null when none is assigned yet"
    )
    sched_dep: Departure = Field(
        description="Scheduled departure, with its offset", examples=["2013-04-01T14:15:00Z"]
    )


class PredictResponse(Answer):
    """The answer, with its ids, the model version, and the age of its features."""

    probability: float = Field(ge=0, le=1, description="Probability of a disruption")
    decision: bool = Field(
        serialization_alias="disrupted",
        description="Whether the probability reaches the model's threshold",
    )
    decision_time: AwareDatetime = Field(description="Two hours before scheduled departure")


def key(request: PredictRequest) -> str:
    """Return the key of the requested case, the same string as `usecases.flights.target.key`."""
    departure = request.sched_dep.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
    return f"{departure}:{request.carrier}:{request.flight}:{request.origin}"


def decision_time(request: PredictRequest) -> datetime:
    return request.sched_dep.astimezone(UTC) - LEAD


def entity_row(request: PredictRequest) -> dict[str, Any]:
    """Return the entity keys and request data for the feature lookup."""
    return {
        "carrier": request.carrier,
        "origin": request.origin,
        "dest": request.dest,
        "route": f"{request.origin}-{request.dest}",
        "tailnum": request.tailnum or UNKNOWN_TAIL,
        "sched_dep_epoch": int(request.sched_dep.timestamp()),
    }


def alternatives(request: PredictRequest) -> list[tuple[str, PredictRequest]]:
    """Return possible changes of the case, each with a description; the smallest first.

    A departure can move by half an hour to six hours. Destination, carrier and weather cannot
    change.
    """
    moves = [
        (f"{half_hours / 2:g} h {word}", request.sched_dep + sign * half_hours * HALF_HOUR)
        for half_hours in range(1, 13)
        for sign, word in ((-1, "earlier"), (1, "later"))
    ]
    return [(word, request.model_copy(update={"sched_dep": moved})) for word, moved in moves]


def payload(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request body for one row of `usecases.flights.target.spine`."""
    departure = datetime.fromtimestamp(case["sched_dep_epoch"], UTC)
    return {
        "carrier": case["carrier"],
        "flight": int(case["flight"]),
        "origin": case["origin"],
        "dest": case["dest"],
        "tailnum": None if case["tailnum"] == UNKNOWN_TAIL else case["tailnum"],
        "sched_dep": departure.isoformat(),
    }
