"""Request and response schemas of the routes, except the use case's own."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from usecase.columns import CATEGORIES, FEATURES
from usecase.request import Moment, PredictRequest, PredictResponse

MAX_ROWS = 1000
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Category = Annotated[str, Field(max_length=64)] | None

# The model's columns: all required, each nullable.
COLUMNS: dict[str, Any] = {
    name: (Category if name in CATEGORIES else float | None, ...) for name in FEATURES
}
Features = create_model("Features", __config__=STRICT, **COLUMNS)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BatchRequest(_Body):
    """Cases to predict in one request."""

    requests: list[PredictRequest] = Field(min_length=1, max_length=MAX_ROWS)


class BatchResponse(BaseModel):
    """The predictions, in the order of the requests."""

    predictions: list[PredictResponse]


class ScoreRequest(_Body):
    """A case with its features as of the decision time."""

    key: str = Field(
        pattern=r"^[A-Za-z0-9._:-]{1,128}$", description="Joins the outcome to the prediction"
    )
    decision_time: Moment = Field(examples=["2013-04-01T12:15:00Z"])
    features: Features


class ExplainResponse(BaseModel):
    """Contributions to a prediction, in log-odds.

    `base` and all contributions add up to the log-odds of `probability`.
    """

    request_id: str
    model_version: str
    probability: float = Field(ge=0, le=1)
    decision: bool
    base: float = Field(description="The model's mean log-odds over its training rows")
    contributions: dict[str, float] = Field(description="By column, the largest first")
    flipped_by: str | None = Field(
        description="The smallest tried change that would flip the decision; null if none does"
    )
    degraded: bool


class FeedbackRequest(_Body):
    """The outcome of a predicted case."""

    request_id: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")
    outcome: bool = Field(strict=True, description="Whether the predicted event happened")
    known_at: Moment = Field(
        description="When the outcome became known", examples=["2013-04-01T18:00:00Z"]
    )


class FeedbackResponse(BaseModel):
    """Whether the outcome was recorded."""

    request_id: str
    status: Literal["recorded", "recorded late", "already recorded"]


class Error(BaseModel):
    """The body of every error response."""

    error: str
    detail: str
    fields: list[dict[str, str]]
    request_id: str
