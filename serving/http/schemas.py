"""What do the routes take and give, beside the use case's own request and answer?"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from usecase.columns import CATEGORIES, FEATURES
from usecase.request import Moment, PredictRequest, PredictResponse

MAX_ROWS = 1000
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

    requests: list[PredictRequest] = Field(min_length=1, max_length=MAX_ROWS)


class BatchResponse(BaseModel):
    """The answers, in the order of the requests."""

    predictions: list[PredictResponse]


class ScoreRequest(BaseModel):
    """A case with the features that its caller has, as they were at its decision time."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$", description="By which the truth is found")
    decision_time: Moment = Field(examples=["2013-04-01T12:15:00Z"])
    features: Features  # type: ignore[valid-type]


class ExplainResponse(BaseModel):
    """Why a case is answered as it is, in log-odds: `base` and all contributions add up to the
    answer's."""

    request_id: str
    model_version: str
    probability: float = Field(ge=0, le=1)
    decision: bool
    base: float = Field(description="What the model says of its average training row")
    contributions: dict[str, float] = Field(description="By column, the largest first")
    flipped_by: str | None = Field(
        description="The least change that would turn the decision; null if none that is tried does"
    )
    degraded: bool


class FeedbackRequest(BaseModel):
    """How a case that was predicted turned out."""

    model_config = ConfigDict(extra="forbid")

    request_id: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")
    outcome: bool = Field(strict=True, description="Whether what was predicted came true")
    known_at: Moment = Field(
        description="Since when it is known", examples=["2013-04-01T18:00:00Z"]
    )


class FeedbackResponse(BaseModel):
    """What became of it."""

    request_id: str
    status: Literal["recorded", "recorded late", "already recorded"]


class Error(BaseModel):
    """What every request that is not answered is told."""

    error: str
    detail: str
    fields: list[dict[str, str]]
    request_id: str
