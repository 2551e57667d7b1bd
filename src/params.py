"""params.yaml, typed and checked: a bad value ends any stage in one line, before anything is written."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints, ValidationError

from oxford_pet import SIDES
from utils import Refusal

FILE = Path("params.yaml")


def _number(value: Any) -> Any:
    """PyYAML reads `1e-3` as text; a boolean is not a number."""
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
Text = Annotated[str, StringConstraints(strict=True, strip_whitespace=True, min_length=1)]
NetworkName = Literal["unet", "resnet34_unet"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    source: Text
    breeds: list[Text]
    limit: Annotated[Whole, Field(ge=0)]
    image_size: Annotated[Whole, Field(ge=SIDES.start, lt=SIDES.stop)]
    on_bad: Literal["fail", "skip"]


class Augment(Section):
    hflip: Share
    vflip: Share
    rotate: Annotated[Number, Field(ge=0, le=180)]
    scale: Annotated[Number, Field(ge=0, le=4)]
    translate: BelowOne
    crop: BelowOne
    elastic: Annotated[Number, Field(ge=0, le=0.5)]
    elastic_p: Share
    brightness: BelowOne
    contrast: BelowOne
    saturation: BelowOne
    gray: Share
    blur: Annotated[Number, Field(ge=0, le=10)]
    cutout: BelowOne


class Train(Section):
    epochs: Annotated[Count, Field(le=100_000)]
    batch_size: Annotated[Count, Field(le=1_000_000)]
    shuffle: Flag
    input: Literal["rgb", "gray", "gray_edges"]
    loss: Literal["bce", "ce", "dice", "bce_dice"]
    dice_weight: Share
    border_weight: Annotated[Number, Field(ge=0, le=100)]
    deep_supervision: Share
    optimizer: Literal["adam", "adamw", "muon", "sgd", "rmsprop"]
    lr: Annotated[Positive, Field(le=10)]
    weight_decay: Annotated[NotNegative, Field(le=10)]
    momentum: BelowOne
    schedule: Literal["constant", "step", "exponential", "cosine", "one_cycle", "plateau"]
    warmup: NotNegative
    lr_min: NotNegative
    step_size: Count
    gamma: Annotated[Positive, Field(le=1)]
    plateau_patience: Annotated[Whole, Field(ge=0)]
    clip: NotNegative
    ema: BelowOne
    patience: Annotated[Whole, Field(ge=0)]
    precision: Literal["fp32", "bf16", "fp16"]
    channels_last: Flag
    compile: Flag
    deterministic: Flag
    processes: Literal["auto"] | Annotated[Count, Field(le=4096)]
    augment: Augment


class UNetParams(Section):
    width: Annotated[Count, Field(le=1024)]
    upsample: Literal["transposed", "bilinear", "nearest"]
    padding: Literal["zeros", "reflect"]
    dropout: BelowOne
    attention: Flag
    norm_affine: Flag


class ResNet34UNetParams(UNetParams):
    decoder: Annotated[list[Annotated[Count, Field(le=4096)]], Field(min_length=5, max_length=5)]
    bridge: Annotated[Whole, Field(ge=0, le=8192)]


class Evaluate(Section):
    threshold: Literal["auto"] | Annotated[Number, Field(gt=0, lt=1)]
    tta: Literal["none", "flip", "flip_scales"]


class Network(Section):
    """One network: its shape, and the training values that hold for it."""

    config: UNetParams
    train: Train


class Params(Section):
    seed: Annotated[Whole, Field(ge=0, lt=2**63)]
    threads: Annotated[Count, Field(le=1024)]
    data: Data
    train: Train
    unet: Network
    resnet34_unet: Network
    evaluate: Evaluate

    def network(self, name: NetworkName) -> Network:
        return self.unet if name == "unet" else self.resnet34_unet


SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxstring, SHORT.maxlong, SHORT.maxother = 3, 100, 100, 100
UNION_TAGS = ("literal[", "constrained-", "function-")  # pydantic names a union's branches
SHAPES: dict[NetworkName, type[UNetParams]] = {"unet": UNetParams, "resnet34_unet": ResNet34UNetParams}


def load(file: Path = FILE) -> Params:
    """The parameters of the working directory (an experiment may run in another one)."""
    return check(read(file), str(file))


def read(file: Path) -> dict[str, Any]:
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), _UniqueKeys)
    except FileNotFoundError:
        raise Refusal(f"{file}: not found; run from the root of the repository", 2) from None
    except OSError:
        raise
    except Exception as error:  # on a date that is none, a number of 5,000 digits and the like PyYAML raises all kinds
        raise Refusal(f"{file}: not valid YAML: {error}", 2) from None
    if not isinstance(values, dict):
        raise Refusal(f"{file}: holds no parameters", 2)
    return values


def check(values: Mapping[str, Any], origin: str) -> Params:
    """Typed parameters, or a refusal that names the key, the value, what is allowed and where it stands."""
    shaped: dict[Any, Any] = dict(values)
    for name, shape in SHAPES.items():
        section = values.get(name)
        if isinstance(section, Mapping) and isinstance(values.get("train"), Mapping):
            own = section.get("train")
            if not isinstance(own, Mapping):
                raise Refusal(
                    f"{origin}: {name}.train = {_shown(own)}: should be a mapping of training keys, {{}} for none", 2
                )
            config = {key: value for key, value in section.items() if key != "train"}
            _validated(shape, config, name, origin)
            _validated(Train, values["train"], "train", origin)  # so that its own mistakes bear its own name
            train = _validated(Train, overlaid(values["train"], own), f"{name}.train", origin)
            shaped[name] = Network.model_construct(config=shape.model_validate(config), train=train)
    params: Params = _validated(Params, shaped, "", origin)
    for where, train in {"": params.train, **{f"{name}.": params.network(name).train for name in SHAPES}}.items():
        if train.lr_min > train.lr:
            raise Refusal(f"{origin}: {where}train.lr_min = {train.lr_min}: should not exceed lr = {train.lr}", 2)
    return params


def overlaid(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `overlay` in place of its own, at every depth."""
    result = dict(base)
    for key, value in overlay.items():
        below = result.get(key)
        result[key] = overlaid(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return result


def _validated(model: type[BaseModel], values: Any, where: str, origin: str) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Refusal(_one_line(error, model, where, origin), 2) from None


def _one_line(error: ValidationError, model: type[BaseModel], where: str, origin: str) -> str:
    details = error.errors(include_url=False)
    first = details[0]
    path = [str(part) for part in first["loc"] if not str(part).startswith(UNION_TAGS)]
    key = ".".join([where, *path] if where else path)
    more = len({detail["loc"][: len(path)] for detail in details}) - 1
    suffix = f" (and {more} more)" if more else ""
    if first["type"] == "missing":
        return f"{origin}: {key} is missing{suffix}"
    if first["type"] == "extra_forbidden":
        siblings = _keys(model, path[:-1])
        near = difflib.get_close_matches(path[-1], siblings, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(siblings)}"
        return f"{origin}: {key} = {_shown(first['input'])}: unknown key; {hint}{suffix}"
    same = [detail for detail in details if detail["loc"][: len(path)] == first["loc"][: len(path)]]
    allowed = " or ".join(dict.fromkeys(_allowed(detail["msg"]) for detail in same))
    return f"{origin}: {key} = {_shown(first['input'])}: {allowed}{suffix}"


def _shown(value: Any) -> str:
    """Not all of it: a few lists that hold each other are billions of values."""
    try:
        text = SHORT.repr(value)
    except ValueError:
        text = "a number too long to write"
    return text if len(text) < 80 else text[:77] + "..."


def _allowed(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return re.sub(r"dictionary or instance of \w+", "mapping", message[:1].lower() + message[1:])


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields[part].annotation
        assert isinstance(field, type) and issubclass(field, BaseModel)
        model = field
    return [*model.model_fields, *(["train"] if model in SHAPES.values() else [])]


class _UniqueKeys(yaml.SafeLoader):
    """YAML takes the last of two equal keys in silence; here the second is an error."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
