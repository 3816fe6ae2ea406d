"""What a request and a response are, and which case a request asks about."""

from __future__ import annotations

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

# Of departures that can be asked about: the source's year, and a year of schedules after it.
EARLIEST, BEFORE = datetime(2013, 1, 1, tzinfo=UTC), datetime(2015, 1, 1, tzinfo=UTC)
WRITTEN_OUT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)$"


def _written_out(value: Any) -> Any:
    # pydantic would take a number, too: for seconds or for milliseconds, as it sees fit.
    if isinstance(value, datetime) or (isinstance(value, str) and re.match(WRITTEN_OUT, value)):
        return value
    raise ValueError("must be a text such as 2013-04-01T14:15:00Z, with its offset from UTC")


def _within(moment: datetime) -> datetime:
    if not EARLIEST <= moment < BEFORE:
        raise ValueError(f"must be from {EARLIEST:%Y-%m-%d} to before {BEFORE:%Y-%m-%d}")
    return moment


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_written_out),
    AfterValidator(_within),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": WRITTEN_OUT}),
]
Airport = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class PredictRequest(BaseModel):
    """One scheduled flight, by the keys of its schedule."""

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
    """The answer, with what is needed to find it again and to know what it was based on."""

    request_id: str
    probability: float = Field(ge=0, le=1, description="That the flight will be disrupted")
    disrupted: bool = Field(description="Whether the probability reaches the model's threshold")
    model_version: str
    decision_time: AwareDatetime = Field(description="Two hours before scheduled departure")
    features_as_of: AwareDatetime | None = Field(
        description="Event time of the newest feature used; null when none was found"
    )
    degraded: bool = Field(
        description="Whether the features were out of reach, so that all count as missing"
    )
    fallback: bool = Field(
        description="Whether the packaged version answered, as no release was in reach"
    )


def key(request: PredictRequest) -> str:
    """The case that the request asks about: the same text as `usecase.target.key` gives."""
    departure = request.sched_dep.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
    return f"{departure}:{request.carrier}:{request.flight}:{request.origin}"


def decision_time(request: PredictRequest) -> datetime:
    return request.sched_dep.astimezone(UTC) - LEAD


def entity_row(request: PredictRequest) -> dict[str, Any]:
    """The entity keys and request data by which the features of this case are looked up."""
    return {
        "carrier": request.carrier,
        "origin": request.origin,
        "dest": request.dest,
        "route": f"{request.origin}-{request.dest}",
        "tailnum": request.tailnum or UNKNOWN_TAIL,
        "sched_dep_epoch": int(request.sched_dep.timestamp()),
    }


def alternatives(request: PredictRequest) -> list[tuple[str, PredictRequest]]:
    """What could be changed about the case, in words, and the case so changed; the least first.

    A schedule can be moved within the day, by half an hour or more; where a flight goes, who
    operates it and the weather can't.
    """
    found = []
    for half_hours in range(1, 13):
        for sign, word in ((-1, "earlier"), (1, "later")):
            moved = request.sched_dep + sign * timedelta(minutes=30 * half_hours)
            told = f"{half_hours / 2:g} h {word}"
            found.append((told, request.model_copy(update={"sched_dep": moved})))
    return found


def payload(case: dict[str, Any]) -> dict[str, Any]:
    """The request body for one row of `usecase.target.spine`."""
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
    request_id: str, probability: float, decision: bool, version: str, decided_at: datetime,
    features_as_of: datetime | None, degraded: bool, fallback: bool,
) -> PredictResponse:  # fmt: skip
    """The answer in the use case's own words."""
    return PredictResponse(
        request_id=request_id, probability=probability, disrupted=decision,
        model_version=version, decision_time=decided_at, features_as_of=features_as_of,
        degraded=degraded, fallback=fallback,
    )  # fmt: skip
