"""What a use case builds its request and answer from: moments, and the fields of an answer."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

# Times beyond these are mistakes: arithmetic with them may overflow.
EARLIEST, END = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
ISO_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)$"


def _require_iso_time(value: Any) -> Any:
    # pydantic also accepts a number, and guesses whether it is seconds or milliseconds.
    if isinstance(value, datetime) or (isinstance(value, str) and re.match(ISO_TIME, value)):
        return value
    raise ValueError("must be a string such as 2025-04-01T14:15:00Z, with an offset from UTC")


def within(earliest: datetime, end: datetime) -> AfterValidator:
    """Return a validator of a `Moment`: from `earliest` to before `end`."""

    def check(moment: datetime) -> datetime:
        if not earliest <= moment < end:
            raise ValueError(f"must be from {earliest:%Y-%m-%d} to before {end:%Y-%m-%d}")
        return moment

    return AfterValidator(check)


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_require_iso_time),
    within(EARLIEST, END),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": ISO_TIME}),
]


class CaseRequest(BaseModel):
    """A request; a field that it does not declare is refused."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """The answer, with its ids, the model version, and the age of its features."""

    model_config = ConfigDict(serialize_by_alias=True)

    prediction_id: str = Field(description="The answer's own id; name it in `/feedback`")
    request_id: str = Field(description="The `X-Request-Id`; in a batch with `-` and the position")
    probability: float = Field(ge=0, le=1, description="Probability that the label is 1")
    decision: bool = Field(description="Whether the probability reaches the model's threshold")
    model_version: str
    decision_time: AwareDatetime
    features_as_of: AwareDatetime | None = Field(
        description="Event time of the newest feature used; null when none was found"
    )
    degraded: bool = Field(
        description="Whether all stored features are missing, as the online store was unavailable"
    )
    fallback: bool = Field(
        description="Whether the packaged version answered because no release was available"
    )
