"""The service's request and response, and the case that a request is about."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from usecase.target import LEAD, UNKNOWN_TAIL

# Accepted departures: the year of the source, and a year of schedules after it.
EARLIEST, END = datetime(2013, 1, 1, tzinfo=UTC), datetime(2015, 1, 1, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
ISO_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)$"


def _require_iso_time(value: Any) -> Any:
    # pydantic also accepts a number, and guesses whether it is seconds or milliseconds.
    if isinstance(value, datetime) or (isinstance(value, str) and re.match(ISO_TIME, value)):
        return value
    raise ValueError("must be a string such as 2013-04-01T14:15:00Z, with an offset from UTC")


def _require_range(moment: datetime) -> datetime:
    if not EARLIEST <= moment < END:
        raise ValueError(f"must be from {EARLIEST:%Y-%m-%d} to before {END:%Y-%m-%d}")
    return moment


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_require_iso_time),
    AfterValidator(_require_range),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": ISO_TIME}),
]
Airport = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class PredictRequest(BaseModel):
    """One scheduled flight, identified by its schedule."""

    model_config = ConfigDict(extra="forbid")

    carrier: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{2}$")] = Field(
        description="IATA code of the carrier", examples=["UA"]
    )
    flight: int = Field(strict=True, ge=1, le=9999, description="Flight number", examples=[1545])
    origin: Literal["EWR", "JFK", "LGA"] = Field(description="IATA code of the origin")
    dest: Airport = Field(description="IATA code of the destination", examples=["IAH"])
    tailnum: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{1,8}$")] | None = Field(
        description="Registration of the plane; null when none is assigned yet"
    )
    sched_dep: Moment = Field(
        description="Scheduled departure, with its offset", examples=["2013-04-01T14:15:00Z"]
    )


class PredictResponse(BaseModel):
    """The answer, with its ids, the model version, and the age of its features."""

    prediction_id: str = Field(description="The answer's own id; name it in `/feedback`")
    request_id: str = Field(description="The `X-Request-Id`; in a batch with `-` and the position")
    probability: float = Field(ge=0, le=1, description="Probability of a disruption")
    disrupted: bool = Field(description="Whether the probability reaches the model's threshold")
    model_version: str
    decision_time: AwareDatetime = Field(description="Two hours before scheduled departure")
    features_as_of: AwareDatetime | None = Field(
        description="Event time of the newest feature used; null when none was found"
    )
    degraded: bool = Field(
        description="Whether all stored features are missing, as the online store was unavailable"
    )
    fallback: bool = Field(
        description="Whether the packaged version answered because no release was available"
    )


def key(request: PredictRequest) -> str:
    """Return the key of the requested case, the same string as `usecase.target.key`."""
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


def payload(case: dict[str, Any]) -> dict[str, Any]:
    """Return the request body for one row of `usecase.target.spine`."""
    departure = datetime.fromtimestamp(case["sched_dep_epoch"], UTC)
    return {
        "carrier": case["carrier"],
        "flight": int(case["flight"]),
        "origin": case["origin"],
        "dest": case["dest"],
        "tailnum": None if case["tailnum"] == UNKNOWN_TAIL else case["tailnum"],
        "sched_dep": departure.isoformat(),
    }


def response(
    prediction_id: str, request_id: str, probability: float, decision: bool, version: str,
    decided_at: datetime, features_as_of: datetime | None, degraded: bool, fallback: bool,
) -> PredictResponse:  # fmt: skip
    """Return the answer in the use case's own fields."""
    return PredictResponse(
        prediction_id=prediction_id, request_id=request_id, probability=probability,
        disrupted=decision, model_version=version, decision_time=decided_at,
        features_as_of=features_as_of, degraded=degraded, fallback=fallback,
    )  # fmt: skip
