"""What do the routes take and give, beside the use case's own request and answer?"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from usecase.columns import CATEGORIES, FEATURES
from usecase.request import Moment, PredictRequest, PredictResponse

MOST_ROWS = 1000
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Number = float | None
Category = Annotated[str, Field(max_length=64)] | None


def _features() -> type[BaseModel]:
    """The columns that the model sees, each of its kind; all have to be there, and may be null."""
    fields: dict[str, Any] = {
        name: (Category if name in CATEGORIES else Number, ...) for name in FEATURES
    }
    return create_model("Features", __config__=STRICT, **fields)


Features = _features()


class BatchRequest(BaseModel):
    """Cases to answer at once."""

    model_config = ConfigDict(extra="forbid")

    requests: list[PredictRequest] = Field(min_length=1, max_length=MOST_ROWS)


class BatchResponse(BaseModel):
    """The answers, in the order of the requests."""

    predictions: list[PredictResponse]


class ScoreRequest(BaseModel):
    """A case with the features that its caller has, as they were at its decision time."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$", description="By which the truth is found")
    decision_time: Moment = Field(examples=["2013-04-01T12:15:00Z"])
    features: Features  # type: ignore[valid-type]


class Error(BaseModel):
    """What every request that is not answered is told."""

    error: str
    detail: str
    fields: list[dict[str, str]]
    request_id: str
