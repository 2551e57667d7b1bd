"""All of params.yaml, typed, but for the shapes of the networks, which src/models/ knows.

No stage depends on this file, though each runs it: it can stop a stage, but it cannot change an output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from params import available_networks, networks, shown, unknown_key, validated
from params.data import Data
from params.evaluation import Evaluate
from params.training import Train, of_network
from params.values import Section, Threads, Whole
from utils import Refusal


class Network(NamedTuple):
    config: dict[str, Any]  # arguments of its class
    train: Train


class Common(Section):
    """What stands in params.yaml beside the networks."""

    seed: Annotated[Whole, Field(ge=0, lt=2**63)]
    threads: Threads
    data: Data
    train: Train
    evaluate: Evaluate


class Params(NamedTuple):
    seed: int
    threads: int
    data: Data
    train: Train
    evaluate: Evaluate
    networks: dict[str, Network]


def check(values: Mapping[str, Any], origin: str) -> Params:
    names = networks(values)
    for key in values:
        if key not in (known := [*Common.model_fields, *available_networks()]):
            raise Refusal(f"{origin}: {key} = {shown(values[key])}: {unknown_key(key, known)}", 2)
    if not names:
        raise Refusal(f"{origin}: no network has a section; known are {', '.join(available_networks())}", 2)
    common = validated(Common, {key: value for key, value in values.items() if key not in names}, "", origin)
    refuse_reversed(common.train, "train", origin)
    found = Params(**dict(common), networks={name: network(values, name, origin) for name in names})
    for name, own in found.networks.items():
        refuse_sizes(own.train, found.data.image_size, f"{origin}: train.sizes = {own.train.sizes} of {name}")
    return found


def network(values: Mapping[str, Any], name: str, origin: str) -> Network:
    section = values[name]
    if not isinstance(section, Mapping):
        raise Refusal(f"{origin}: {name} = {shown(section)}: should be a mapping", 2)
    if "train" not in section:
        raise Refusal(f"{origin}: {name}.train is missing", 2)
    if not isinstance(section["train"], Mapping):
        raise Refusal(
            f"{origin}: {name}.train = {shown(section['train'])}: should be a mapping of training keys, {{}} for none",
            2,
        )
    train: Train = validated(Train, of_network(values, name), f"{name}.train", origin)
    refuse_reversed(train, f"{name}.train", origin)
    return Network({key: value for key, value in section.items() if key != "train"}, train)


def refuse_reversed(train: Train, where: str, origin: str) -> None:
    if train.lr_min > train.lr:
        raise Refusal(f"{origin}: {where}.lr_min = {train.lr_min}: should not exceed lr = {train.lr}", 2)


def refuse_sizes(train: Train, side: int, what: str) -> None:
    """The last size is that of the photographs that validate, choose a threshold and are scored."""
    sizes, wrong = train.sizes, ""
    if sizes and (sizes[-1] != side or sizes != sorted(sizes)):
        wrong = f"must grow to data.image_size, which is {side}"
    elif len(sizes) > train.epochs:
        wrong = f"are more than the epochs, of which there are {train.epochs}"
    if wrong:
        raise Refusal(f"{what}: {wrong}; take [] to train at data.image_size alone", 2)
