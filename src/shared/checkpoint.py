"""Weights files: everything that is needed to use a network, and nothing that can run code."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import pickle
import re
import warnings
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import arguments, build
from oxford_pet import SIDES
from params import LARGEST, available_networks, modest
from shared.inputs import CHANNELS, logits, normalised
from utils import Refusal, write_bytes

FORMAT = "pet segmentation weights, version 2"
FIRST = "pet segmentation weights, version 1"  # read too: their `origin` is None


@dataclass(frozen=True)
class SplitUsed:
    photographs: int
    names: str  # sha256 of the photographs' names, each with a newline behind it
    pixels: str  # sha256 of the cached pixels, red, green, blue and trimap


@dataclass(frozen=True)
class Origin:
    """What the weights were made from, and what validation chose.

    Nothing of the test split is here, since no training may depend on it.
    """

    seed: int
    params: dict[str, Any]  # of params.yaml, whatever else the training depended on
    train: SplitUsed
    valid: SplitUsed
    code: str  # sha256 of the lines that `sha256sum` prints for the files of the training, in order, below src/
    best_epoch: int
    valid_dice: float  # of the best epoch, as training measured it, with a threshold of one half
    threshold: float  # the best on the validation photographs, without test-time augmentation


@dataclass(frozen=True)
class Weights:
    network: str
    config: dict[str, Any]  # the network's shape: arguments of its class
    out_channels: int  # 1, or 2 when trained on classes
    input: str  # input mode
    mean: list[float]  # of the training split, a value for each input channel
    std: list[float]
    image_size: int  # side of the squares it was trained on
    environment: dict[str, Any]  # what it was trained on
    state: dict[str, Tensor]
    origin: Origin | None = None  # None where it is not known: in files of version 1, or made by hand

    @property
    def threshold(self) -> float:
        """That which validation chose; one half where that is not known."""
        return self.origin.threshold if self.origin else 0.5

    def build(self) -> nn.Module:
        """The network, ready to predict."""
        network = build(self.network, CHANNELS[self.input], self.out_channels, self.config)
        network.load_state_dict(self.state)
        return network.eval()

    def probabilities(self, network: nn.Module, colours: Tensor) -> Tensor:
        """(B, H, W) probabilities of `pet` that the built network finds in (B, 3, H, W) colours."""
        seen = normalised(colours, self.input, self.mean, self.std).contiguous(memory_format=torch.channels_last)
        return logits(network(seen)).sigmoid()


def contents(weights: Weights) -> dict[str, Any]:
    """The fields of a file, but for its format and checksum."""
    return vars(weights) | {"origin": weights.origin and asdict(weights.origin)}


def checksum(weights: Weights) -> str:
    """Of everything in the file. What is not known is left out, so the checksums of version 1 hold."""
    fields = contents(weights).items()
    described = {key: value for key, value in fields if key != "state" and (key, value) != ("origin", None)}
    return hash_of_tensors(weights, json.dumps(described, sort_keys=True))


def hash_of_tensors(weights: Weights, before: str = "") -> str:
    """The sha256 of `before` and of each tensor: its name, type, shape and bytes."""
    digest = hashlib.sha256(before.encode())
    for name, tensor in weights.state.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save(path: Path, weights: Weights) -> None:
    """Equal weights give equal bytes: torch.save would write the file's own name into it."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.state.items()}
    weights = replace(weights, state=state)
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **contents(weights), "checksum": checksum(weights)}, buffer)
    write_bytes(path, buffer.getvalue())


def load(path: Path) -> Weights:
    """Weights that this project wrote, whole. Anything else is refused, and nothing in it is executed."""
    content, size = unpickled(path)
    if not isinstance(content, dict) or "format" not in content:
        raise Refusal(f"{path}: not weights of this project (train.py writes what this reads)")
    if (version := content.pop("format")) not in (FORMAT, FIRST):
        raise Refusal(f"{path}: written by another version of this project; expected '{FORMAT}': train again")
    refuse_unknown(path, content.get("network"), content.get("config"))
    try:
        expected = content.pop("checksum")
        weights = Weights(**content, origin=None) if version == FIRST else with_origin(**content)
        if not plausible(weights, size) or checksum(weights) != expected:
            raise ValueError
        weights.build()
    except Exception:  # somebody else's file may hold anything: whatever is wrong inside, it is not what was saved
        raise Refusal(f"{path}: damaged: not the tensors that were saved; train again or fetch it again") from None
    if not all(tensor.isfinite().all() for tensor in weights.state.values()):
        raise Refusal(f"{path}: holds numbers that are not finite, so it predicts nothing; train again")
    return weights


def with_origin(origin: dict[str, Any] | None, **fields: Any) -> Weights:
    """From the fields of a file of version 2."""
    if origin is None:
        return Weights(**fields)
    splits = {split: SplitUsed(**origin[split]) for split in ("train", "valid")}
    return Weights(**fields, origin=Origin(**{**origin, **splits}))


def refuse_unknown(path: Path, network: Any, config: Any) -> None:
    """Weights that may be whole, but not for the networks that stand in src/models/ now."""
    if not isinstance(network, str) or not isinstance(config, dict):
        return  # damaged, as `load` will say
    if network not in available_networks():
        raise Refusal(f"{path}: weights of the network {network!r}, and there is no src/models/{network}.py here")
    if not set(config) <= set(arguments(network)):
        raise Refusal(
            f"{path}: weights of another version of src/models/{network}.py, whose arguments were "
            f"{', '.join(map(str, config))}; train again"
        )


def plausible(weights: Weights, size: int) -> bool:
    """Looked at before anything is computed with it: a file of a few bytes can claim to hold terabytes."""
    if type(weights.environment) is not dict or not modest([weights.config, weights.environment]):
        return False
    channels = CHANNELS[weights.input]
    with torch.device("meta"):  # shapes without memory
        network = build(weights.network, channels, weights.out_channels, weights.config)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    return (
        (weights.origin is None or plausible_origin(weights.origin))
        and isinstance(weights.image_size, int)
        and weights.image_size in SIDES
        and len(weights.mean) == len(weights.std) == channels
        and all(map(math.isfinite, [*weights.mean, *weights.std]))
        and min(weights.std) > 0
        and {name: tensor.shape for name, tensor in weights.state.items()} == shapes
        and sum(tensor.nbytes for tensor in weights.state.values()) <= size
    )


def plausible_origin(origin: Origin) -> bool:
    counts = [origin.train.photographs, origin.valid.photographs, origin.best_epoch]
    hashes = [origin.code, *(text for split in (origin.train, origin.valid) for text in (split.names, split.pixels))]
    return (
        all(type(number) is int for number in [origin.seed, *counts])
        and 0 <= origin.seed < LARGEST
        and all(1 <= number < LARGEST for number in counts)
        and all(type(text) is str and re.fullmatch("[0-9a-f]{64}", text) for text in hashes)
        and type(origin.valid_dice) is type(origin.threshold) is float
        and 0 <= origin.valid_dice <= 1
        and 0 < origin.threshold < 1
        and type(origin.params) is dict
        and modest(origin.params)
    )


def unpickled(path: Path) -> tuple[Any, int]:
    """What is in the file, and its size; opened once, since a training may replace it meanwhile."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            size = os.fstat(file.fileno()).st_size
            if sum(member.file_size for member in zipfile.ZipFile(file).infolist()) > size:
                raise ValueError("unpacks to more than train.py packed")
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True), size
    except FileNotFoundError:
        raise Refusal(f"{path}: no such weights; train first (`dvc repro`) or name another file") from None
    except IsADirectoryError:
        raise Refusal(f"{path}: is a folder, not a weights file") from None
    except PermissionError:
        raise Refusal(f"{path}: may not be read by you") from None
    except pickle.UnpicklingError:
        raise Refusal(f"{path}: not weights of this project: more than tensors in it; nothing was executed") from None
    except Exception:  # on damaged bytes torch raises all kinds
        raise Refusal(f"{path}: not a weights file, or damaged; train again or fetch it again (`dvc pull`)") from None
