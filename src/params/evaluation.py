"""The section `evaluate` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from params.values import Number, Section


class Evaluate(Section):
    threshold: Literal["auto"] | Annotated[Number, Field(gt=0, lt=1)]
    tta: Literal["none", "flip", "flip_scales"]
