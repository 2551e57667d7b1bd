"""The section `data` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from oxford_pet import SIDES
from params.values import AnyText, Section, Text, Whole


class Data(Section):
    source: Text
    lists: AnyText
    breeds: list[Text]
    limit: Annotated[Whole, Field(ge=0)]
    image_size: Annotated[Whole, Field(ge=SIDES.start, lt=SIDES.stop)]
    border: Literal["pet", "background", "ignore"]
    on_bad: Literal["fail", "skip"]
    on_leak: Literal["warn", "fail"]
