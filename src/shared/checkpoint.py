"""Weights files: everything that is needed to use a network, and nothing that can run code."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import pickle
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import arguments, build
from oxford_pet import SIDES
from params import available_networks
from shared.inputs import CHANNELS
from utils import Refusal, write_bytes

FORMAT = "pet segmentation weights, version 1"


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

    def build(self) -> nn.Module:
        """The network, ready to predict."""
        network = build(self.network, CHANNELS[self.input], self.out_channels, self.config)
        network.load_state_dict(self.state)
        return network.eval()


def checksum(weights: Weights) -> str:
    described = {key: value for key, value in vars(weights).items() if key != "state"}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, tensor in weights.state.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save(path: Path, weights: Weights) -> None:
    """Equal weights give equal bytes: torch.save would write the file's own name into it."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.state.items()}
    weights = replace(weights, state=state)
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **vars(weights), "checksum": checksum(weights)}, buffer)
    write_bytes(path, buffer.getvalue())


def load(path: Path) -> Weights:
    """Weights that this project wrote, whole. Anything else is refused, and nothing in it is executed."""
    content, size = unpickled(path)
    if not isinstance(content, dict) or "format" not in content:
        raise Refusal(f"{path}: not weights of this project (train.py writes what this reads)")
    if content.pop("format") != FORMAT:
        raise Refusal(f"{path}: written by another version of this project; expected '{FORMAT}': train again")
    refuse_unknown(path, content.get("network"), content.get("config"))
    try:
        expected = content.pop("checksum")
        weights = Weights(**content)
        if not plausible(weights, size) or checksum(weights) != expected:
            raise ValueError
        weights.build()
    except Exception:  # somebody else's file may hold anything: whatever is wrong inside, it is not what was saved
        raise Refusal(f"{path}: damaged: not the tensors that were saved; train again or fetch it again") from None
    if not all(tensor.isfinite().all() for tensor in weights.state.values()):
        raise Refusal(f"{path}: holds numbers that are not finite, so it predicts nothing; train again")
    return weights


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
    channels = CHANNELS[weights.input]
    with torch.device("meta"):  # shapes without memory
        network = build(weights.network, channels, weights.out_channels, weights.config)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    return (
        isinstance(weights.image_size, int)
        and weights.image_size in SIDES
        and len(weights.mean) == len(weights.std) == channels
        and all(map(math.isfinite, [*weights.mean, *weights.std]))
        and min(weights.std) > 0
        and {name: tensor.shape for name, tensor in weights.state.items()} == shapes
        and sum(tensor.nbytes for tensor in weights.state.values()) <= size
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
