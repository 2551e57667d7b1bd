"""The networks. The network NAME is the class in models/NAME.py; the class's arguments are the keys of its section.

Each is imported by its name when it is needed, so that an edit of one network retrains no other.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import create_model

from models.parts import EncoderDecoder
from params import available_networks, validated
from params.values import Section
from utils import Refusal

GIVEN = ("in_channels", "out_channels")  # arguments that follow from `train`, not from the network's section


def network_class(name: str) -> type[EncoderDecoder]:
    if name not in available_networks():
        raise Refusal(f"src/models holds no network {name}; there are {', '.join(available_networks())}", 2)
    module = import_module(f"models.{name}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, EncoderDecoder) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise Refusal(f"{file_of(name)}: should define one EncoderDecoder, but defines {len(found)}", 2)
    return found[0]


def file_of(name: str) -> Path:
    return Path(__file__).with_name(f"{name}.py")


def build(name: str, in_channels: int, out_channels: int, config: Mapping[str, Any]) -> EncoderDecoder:
    return network_class(name)(in_channels=in_channels, out_channels=out_channels, **config)


def arguments(name: str) -> dict[str, Any]:
    """The keys of a network's section, and the kind of each; in the order of its class, not of params.yaml."""
    found = inspect.signature(network_class(name), eval_str=True).parameters
    return {key: argument.annotation for key, argument in found.items() if key not in GIVEN}


def checked_config(name: str, config: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """A network's section, less `train`, typed."""
    fields: Any = {key: (kind, ...) for key, kind in arguments(name).items()}
    return validated(create_model(name, __base__=Section, **fields), config, name, origin).model_dump()
