"""Request and response schemas of the routes, except the use case's own."""

from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from contract import UseCase
from serving.http.answer import Answer, Moment

MAX_ROWS = 1000
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
# A request id has up to 64 characters; in a batch the position follows.
Identity = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,68}$")]

Category = Annotated[str, Field(max_length=64)] | None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _ScoreRequest(_Body):
    """A case with its features as of the decision time."""

    key: str = Field(
        pattern=r"^[A-Za-z0-9._:-]{1,128}$", description="Joins the outcome to the prediction"
    )
    decision_time: Moment = Field(examples=["2025-04-01T12:15:00Z"])


class UseCaseSchemas(NamedTuple):
    """The bodies that depend on the use case."""

    request: type[BaseModel]
    response: type[Answer]
    batch_request: type[BaseModel]
    batch_response: type[BaseModel]
    score_request: type[BaseModel]


@cache
def use_case_schemas(use_case: UseCase) -> UseCaseSchemas:
    """Build the bodies from the use case's request, answer and columns."""
    request, response = use_case.request(), use_case.response()
    # The model's columns: all required, each nullable.
    columns: dict[str, Any] = {
        name: (Category if name in use_case.categories else float | None, ...)
        for name in use_case.features
    }
    features = create_model("Features", __config__=STRICT, **columns)
    requests = (list[request], Field(min_length=1, max_length=MAX_ROWS))  # type: ignore[valid-type]
    return UseCaseSchemas(
        request, response,
        create_model("BatchRequest", __base__=_Body, __doc__="Cases to predict in one request.",
                     requests=requests),
        create_model("BatchResponse", __doc__="The predictions, in the order of the requests.",
                     predictions=(list[response], ...)),  # type: ignore[valid-type]
        create_model("ScoreRequest", __base__=_ScoreRequest, __doc__=_ScoreRequest.__doc__,
                     features=(features, ...)),
    )  # fmt: skip


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
    """The outcome of a predicted case, named by one of its ids."""

    prediction_id: Identity | None = Field(
        default=None, description="The `prediction_id` of the answer"
    )
    request_id: Identity | None = Field(
        default=None, description="Its `request_id`, if no other prediction has the same one"
    )
    outcome: bool = Field(strict=True, description="Whether the predicted event happened")
    known_at: Moment = Field(
        description="When the outcome became known", examples=["2025-04-01T18:00:00Z"]
    )

    @model_validator(mode="after")
    def _require_one_id(self) -> Self:
        if (self.prediction_id is None) == (self.request_id is None):
            raise ValueError("name the prediction by prediction_id or by request_id")
        return self


class FeedbackResponse(BaseModel):
    """Whether the outcome was recorded."""

    prediction_id: str
    request_id: str
    status: Literal["recorded", "recorded late", "already recorded"]


class Error(BaseModel):
    """The body of every error response."""

    error: str
    detail: str
    fields: list[dict[str, str]]
    request_id: str
