"""Reads params.yaml. A bad value ends any stage in one line, before anything is written.

The allowed values of each section stand in the files beside this one, those of a network in its class's arguments
(src/models/). A stage imports only the sections that it reads, so a new loss does not make DVC download again.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from utils import Refusal

FILE = Path("params.yaml")
MODELS = Path(__file__).parents[1] / "models"

SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxstring, SHORT.maxlong, SHORT.maxother = 3, 100, 100, 100

MOST_VALUES, LONGEST_TEXT, LARGEST = 2000, 1000, 2**63  # of what somebody else's file says

Model = TypeVar("Model", bound=BaseModel)


def load(file: Path = FILE) -> dict[str, Any]:
    """The values of params.yaml in the working directory (an experiment may run in another one).

    All of them are checked, also those that the stage does not read: a mistake in `evaluate` must not show after hours
    of training. What checks them is found by its name, since no output of a stage follows from it.
    """
    values = read(file)
    import_module("params.whole").check(values, str(file))
    return values


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


def networks(values: Mapping[str, Any]) -> list[str]:
    """The networks that are trained and scored: those that have a section in params.yaml, in its order."""
    known = available_networks()
    return [key for key in values if key in known]


def available_networks() -> list[str]:
    """Those that could be: src/models/NAME.py is the network NAME."""
    return sorted(file.stem for file in MODELS.glob("*.py") if file.stem not in ("__init__", "parts"))


def overlaid(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `overlay` in place of its own, at every depth."""
    result = dict(base)
    for key, value in overlay.items():
        below = result.get(key)
        result[key] = overlaid(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return result


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`train.lr`, value for every value, at every depth."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
        else:
            yield name, value


def modest(described: Any) -> bool:
    """Few short values of the kinds that JSON has: a few lists that hold each other can be billions of values."""
    left, seen = [described], 0
    while left:
        value = left.pop()
        seen += 1
        match value:
            case dict() | list() | tuple() if seen + len(left) + len(value) <= MOST_VALUES:
                left += [*value, *value.values()] if isinstance(value, dict) else value
            case str() if len(value) <= LONGEST_TEXT:
                pass
            case bool() | None:
                pass
            case int() | float() if -LARGEST < value < LARGEST:  # no NaN either
                pass
            case _:
                return False
    return seen <= MOST_VALUES


def validated(model: type[Model], values: Any, where: str, origin: str) -> Model:
    """A typed section, or a refusal that names the key, the value, what is allowed and the file."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Refusal(_one_line(error, model, values, where, origin), 2) from None


def _one_line(error: ValidationError, model: type[BaseModel], values: Any, where: str, origin: str) -> str:
    details = error.errors(include_url=False)
    first = details[0]
    path = _path(first["loc"], values)
    key = ".".join([where, *path] if where else path)
    more = len({detail["loc"][: len(path)] for detail in details}) - 1
    suffix = f" (and {more} more)" if more else ""
    if first["type"] == "missing":
        return f"{origin}: {key} is missing{suffix}"
    if first["type"] == "extra_forbidden":
        return f"{origin}: {key} = {shown(first['input'])}: {unknown_key(path[-1], _keys(model, path[:-1]))}{suffix}"
    same = [detail for detail in details if detail["loc"][: len(path)] == first["loc"][: len(path)]]
    allowed = " or ".join(dict.fromkeys(_allowed(detail["msg"]) for detail in same))
    return f"{origin}: {key} = {shown(first['input'])}: {allowed}{suffix}"


def _path(place: Sequence[str | int], values: Any) -> list[str]:
    """Where in `values` pydantic found something; beside keys, its places hold names of the branches of a union."""
    path = []
    for part in place:
        if isinstance(values, Mapping) and isinstance(part, str):
            path.append(part)
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int):
            path.append(str(part))
            values = values[part]
    return path


def unknown_key(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    return f"unknown key; {hint}"


def shown(value: Any) -> str:
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
    return list(model.model_fields)


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


def _whole_number(loader: _UniqueKeys, node: yaml.ScalarNode) -> int:
    """Only decimal digits: in YAML 1.1, which is read here, 010 is 8 and 1:30 is 90; in DVC's YAML 1.2 they are not."""
    if not re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", node.value):
        raise _ambiguous(node)
    return loader.construct_yaml_int(node)


def _number(loader: _UniqueKeys, node: yaml.ScalarNode) -> float:
    if ":" in node.value or "_" in node.value:
        raise _ambiguous(node)
    return loader.construct_yaml_float(node)


def _flag(loader: _UniqueKeys, node: yaml.ScalarNode) -> bool:
    if node.value.lower() not in ("true", "false"):
        raise _ambiguous(node, "flag", "true or false, or in quotes if it is a word")
    return loader.construct_yaml_bool(node)


def _ambiguous(
    node: yaml.ScalarNode, kind: str = "number", advice: str = "in decimal digits"
) -> yaml.constructor.ConstructorError:
    why = f"{shown(node.value)} is not the same {kind} for every program that reads YAML; write it {advice}"
    return yaml.constructor.ConstructorError(None, None, why, node.start_mark)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_UniqueKeys.add_constructor("tag:yaml.org,2002:bool", _flag)
_UniqueKeys.add_constructor("tag:yaml.org,2002:int", _whole_number)
_UniqueKeys.add_constructor("tag:yaml.org,2002:float", _number)
