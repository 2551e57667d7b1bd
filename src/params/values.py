"""The kinds of values that a parameter may have, and what a section of params.yaml is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints


def _number(value: Any) -> Any:
    """PyYAML reads `1e-3` as text, which pydantic takes for a number; but a boolean is not a number."""
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


Whole = Annotated[int, Strict()]
Count = Annotated[Whole, Field(ge=1)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
BelowOne = Annotated[Number, Field(ge=0, lt=1)]
Flag = Annotated[bool, Strict()]
AnyText = Annotated[str, StringConstraints(strict=True, strip_whitespace=True)]
Text = Annotated[str, StringConstraints(strict=True, strip_whitespace=True, min_length=1)]
Threads = Annotated[Count, Field(le=1024)]

# of a network
Channels = Annotated[Count, Field(le=1024)]
Upsample = Literal["transposed", "bilinear", "nearest"]
Padding = Literal["zeros", "reflect"]


class Section(BaseModel):
    """Every key is required, and no other is allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
