"""Governance of the model: owner, purpose and approved risks. Required for every version."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from settings import LoopError

NonEmptyText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
FRONT_MATTER_FENCE = "---\n"


class Risk(BaseModel):
    """Who may be harmed, how, and what limits the harm."""

    model_config = ConfigDict(extra="forbid")

    harmed: NonEmptyText
    how: NonEmptyText
    limited_by: NonEmptyText


class Governance(BaseModel):
    """The front matter of `usecase/card.md`; every field is required."""

    model_config = ConfigDict(extra="forbid")

    owner: NonEmptyText
    contact: NonEmptyText
    purpose: NonEmptyText
    monitoring: list[NonEmptyText] = Field(min_length=1)
    risks: list[Risk] = Field(min_length=1)
    risks_approved_by: NonEmptyText
    risks_approved_at: date


def parse_governance(text: str) -> tuple[Governance, str]:
    """Return the front matter of the card, and the prose after it.

    Raises `LoopError` with the names of missing or empty fields.
    """
    try:
        before, front, prose = text.split(FRONT_MATTER_FENCE, 2)
        fields = yaml.safe_load(front)
        if before.strip() or not isinstance(fields, dict):
            raise ValueError("it must start with a mapping between two lines of ---")
        return Governance(**fields), prose.strip()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise LoopError(
            f"The front matter of usecase/card.md is incomplete ({problems}). A version needs an "
            "owner, a contact, a purpose, a monitoring plan and approved risks. Add them."
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        raise LoopError(f"The front matter of usecase/card.md can't be read: {error}") from error
