"""Lay a recipe over params.yaml and run it as a DVC experiment of that name.

A recipe is recipes/NAME.yaml. Arguments after NAME go to `dvc exp run`, and win over the recipe:
  python src/recipe.py oxford -S train.epochs=100
  python src/recipe.py oxford --queue -S 'seed=1,2,3'
"""

from __future__ import annotations

import argparse
import difflib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError

import params
from download import ARCHIVES, DOWNLOADS, MIRRORS
from params.whole import check
from shared.driver import no_gpu
from utils import Refusal, described, exit_code, printable, run, write_bytes

RECIPES = Path("recipes")
CONNECT = 5  # seconds to wait for a mirror
AUTHOR = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
# Keys below these may be missing in params.yaml, so DVC needs `++key=value` to set one.
OWN = tuple(f"{name}.train." for name in params.available_networks())


def arguments(words: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """What is not known here goes to `dvc exp run`."""
    parser = described(__doc__)
    parser.add_argument("name", nargs="?", help="the recipe")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="show every recipe and what its author reported")
    action.add_argument("--apply", action="store_true", help="only write the recipe into params.yaml")
    parser.add_argument(
        "-S", "--set-param", action="append", default=[], metavar="KEY=VALUE", help="wins over the recipe"
    )
    return parser.parse_known_args(words)


def main(args: argparse.Namespace, further: list[str]) -> None:
    if args.list or not args.name:
        for name in names():
            recipe = read(name)
            print(printable(f"{name:16} {recipe['about']}"))
            if "reported" in recipe:
                print(printable(f"{'':16} reported: {recipe['reported']}"))
        return
    recipe, values = read(args.name), params.read(params.FILE)
    back, gone = leftovers(args.name)
    overlay = params.overlaid(back, recipe["params"])
    laid = params.overlaid(without(values, gone), overlay)
    refuse_bad(laid, f"{path(args.name)} over {params.FILE}")
    together = laid
    for change in args.set_param:
        further += ["-S", quoted(change)]
        together = next(varied(together, change), together)
    for change in args.set_param:
        for changed in varied(together, change):
            refuse_bad(changed, f"-S {' -S '.join(args.set_param)}")
    if args.apply and further:
        raise Refusal(f"--apply runs nothing, so {' '.join(further)} has no meaning with it", 2)
    if back or gone:
        said = [f"{key}={text(value)}" for key, value in params.flat(back)] + [f"no {key}" for key in gone]
        print(printable(f"set back to the last commit, since only other recipes set it: {', '.join(said)}"), flush=True)
    if args.apply:
        apply(overlay, gone)
        print(f"{params.FILE} now holds the recipe {args.name}; `git diff {params.FILE}` shows it, `dvc repro` runs it")
        return
    refuse_hopeless({**recipe, "params": laid}, args.set_param)
    refuse_nameless()
    name = free_name(args.name)
    overrides = [part for key, value in params.flat(overlay) for part in ("-S", override(key, value))]
    command = [dvc(), "exp", "run", "--name", name, *overrides, *further]
    print(printable(f"experiment {name}: dvc exp run {' '.join(command[3:])}"), flush=True)
    apply({}, gone)  # DVC takes keys away too, but where none is left it writes what is no YAML
    sys.exit(exit_code(command))


def refuse_bad(values: Mapping[str, Any], origin: str) -> None:
    import models  # with torch, which takes seconds

    for name, network in check(values, origin).networks.items():
        models.checked_config(name, network.config, origin)


def varied(values: Mapping[str, Any], change: str) -> Iterator[dict[str, Any]]:
    """The values with `KEY=VALUE`, or with each of a sweep's, as far as they are plain YAML; DVC checks the others."""
    key, given, several = change.lstrip("+").partition("=")
    if given and key[:1] != "~" and "(" not in several:
        for value in [several] if several[:1] in ("[", "{", "'", '"') else several.split(","):
            try:
                found = YAML(typ="safe").load(value)
            except ValueError:  # a date that is none
                found = value
            except YAMLError:
                return
            yield params.overlaid(values, nested(key, value if isinstance(found, date) else found))


def names() -> list[str]:
    return sorted(file.stem for file in RECIPES.glob("*.yaml"))


def path(name: str) -> Path:
    return RECIPES / f"{name}.yaml"


def read(name: str) -> dict[str, Any]:
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names()) or 'none'}"
        raise Refusal(f"{RECIPES}: no recipe {name!r}; {hint}", 2)
    recipe = params.read(path(name))
    unknown = set(recipe) - {"about", "reported", "needs_gpu", "params"}
    if unknown or not isinstance(recipe.get("about"), str) or not isinstance(recipe.get("params"), Mapping):
        raise Refusal(f"{path(name)}: a recipe has the keys about and params, and may have reported and needs_gpu", 2)
    return recipe


def leftovers(name: str) -> tuple[dict[str, Any], list[str]]:
    """What an earlier experiment left in params.yaml of another recipe's choices, with the last commit's values.

    Then what that commit does not have at all.
    """
    chosen = {other: dict(params.flat(read(other)["params"])) for other in names()}
    others = {key for other in chosen for key in chosen[other] if key not in chosen[name]}
    shown = subprocess.run(["git", "show", f"HEAD:./{params.FILE}"], capture_output=True, encoding="utf-8", check=False)
    here, committed = map(values_of, (params.FILE.read_text(encoding="utf-8"), shown.stdout))
    back: dict[str, Any] = {}
    for key, value in committed.items():
        if key in others and here.get(key, value) != value:
            back = params.overlaid(back, nested(key, value))
    gone = [key for key in here if key in others and key.startswith(OWN) and key not in committed]
    return back, gone if committed else []


def values_of(text: str) -> dict[str, Any]:
    """By their flat names; none of a text that is no YAML."""
    with suppress(YAMLError, AttributeError):
        return dict(params.flat(YAML(typ="safe").load(text) or {}))  # for which 1e-05 is a number, as DVC writes it
    return {}


def without(values: Mapping[str, Any], names: Collection[str], prefix: str = "") -> dict[str, Any]:
    """`values` less what bears one of the names, such as `unet.train.lr`."""
    return {
        key: without(value, names, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in values.items()
        if f"{prefix}{key}" not in names
    }


def nested(name: str, value: Any) -> dict[str, Any]:
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def override(key: str, value: Any) -> str:
    """An argument of `dvc exp run -S`; with ++ a key may be new."""
    return f"{'++' if key.startswith(OWN) else ''}{key}={text(value)}"


def quoted(change: str) -> str:
    """A `KEY=VALUE` whose value Hydra reads only in quotes: a folder with letters beyond English, or with ~."""
    key, _, value = change.partition("=")
    bare = not value.isascii() or "~" in value
    return f"{key}={text(value)}" if bare and not re.search(r"[\[{(,'\"]", value) else change


def text(value: Any) -> str:
    """A value in the grammar of `dvc exp run -S` (Hydra's)."""
    if isinstance(value, list):
        return "[" + ",".join(text(item) for item in value) + "]"
    if isinstance(value, str):  # a backslash means itself, except before a quote
        return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + m[2].replace("'", "\\'"), value) + "'"
    return json.dumps(value)


def apply(overlay: Mapping[str, Any], gone: Collection[str] = ()) -> None:
    """Into params.yaml, with its comments; what is `gone` goes."""
    if not overlay and not gone:
        return
    writer = YAML()
    writer.preserve_quotes = True
    writer.width = 200
    document = writer.load(params.FILE.read_text(encoding="utf-8"))
    for name, value in params.flat(overlay):
        *sections, key = name.split(".")
        section(document, sections)[key] = in_one_line(value) if isinstance(value, list) else value
    for name in gone:
        *sections, key = name.split(".")
        place = section(document, sections)
        del place[key]
        if not place:
            place.fa.set_flow_style()  # {}, or nothing would stand below the comment
    buffer = io.StringIO()
    writer.dump(document, buffer)
    write_bytes(params.FILE, buffer.getvalue().encode())


def in_one_line(values: list[Any]) -> CommentedSeq:
    """With one item a line they would stand between their key and its comment."""
    written = CommentedSeq(values)
    written.fa.set_flow_style()
    return written


def section(document: Any, names: Iterable[str]) -> Any:
    for name in names:
        document = document.setdefault(name, {})
    return document


def refuse_hopeless(recipe: Mapping[str, Any], changes: Sequence[str]) -> None:
    """Say at once what would fail or never end: full size without a GPU, a download without a network.

    The recipe's `params` are all parameters.
    """
    chosen = dict(change.lstrip("+").split("=", 1) for change in changes if "=" in change)
    if recipe.get("needs_gpu") and "train.epochs" not in chosen:
        import torch

        if not torch.cuda.is_available():
            epochs = recipe["params"]["train"]["epochs"]
            raise Refusal(
                f"{no_gpu(torch.version.cuda)}, and an epoch of this recipe, which has {epochs}, may take two hours on "
                "a CPU: run it where a GPU is, take laptop, or choose a length yourself, such as -S train.epochs=3"
            )
    source = chosen.get("data.source", recipe["params"].get("data", {}).get("source"))
    if source == "oxford" and not at_hand() and not any(reachable(mirror) for mirror in MIRRORS):
        raise Refusal(
            f"no network: {', '.join(MIRRORS)} cannot be reached; bring the archives from elsewhere into a folder and "
            "name it: -S data.source=FOLDER"
        )


def refuse_nameless() -> None:
    """DVC keeps an experiment as a commit, and that needs an author."""
    of_git = (("git", "config", "user.name"), ("git", "config", "user.email"))
    known = all(subprocess.run(words, capture_output=True, check=False).stdout.strip() for words in of_git)
    if not known and not all(map(os.environ.get, AUTHOR)):
        raise Refusal(
            "git does not know who you are, and an experiment is a commit; run `git config --global user.name NAME` "
            "and `git config --global user.email ADDRESS`"
        )


def at_hand() -> bool:
    """Is the official dataset here already: its archives, or in DVC's cache by the last run?"""
    if all((DOWNLOADS / "oxford" / name).exists() for name in ARCHIVES):
        return True
    lock = Path("dvc.lock")
    stages = params.read(lock).get("stages", {}) if lock.exists() else {}
    return stages.get("download", {}).get("params", {}).get("params.yaml", {}).get("data.source") == "oxford"


def reachable(url: str) -> bool:
    """Does its server answer, or the proxy that a download would take?"""
    from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url))
    address = urlsplit(prepend_scheme_if_needed(proxy, "http") if proxy else url)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname, port), timeout=CONNECT).close()
    except OSError:
        return False
    return True


def free_name(name: str) -> str:
    """The recipe's name, or NAME-2 and so on: no experiment, done or queued, is overwritten."""
    taken = ""
    for words in (("exp", "list", "--all-commits", "--name-only"), ("queue", "status")):
        taken += subprocess.run([dvc(), *words], capture_output=True, text=True, check=False).stdout
    number = 1
    while re.search(
        rf"(?<!\S){re.escape(candidate(name, number))}(-\d+)?(?!\S)", taken
    ):  # DVC numbers those of a sweep
        number += 1
    return candidate(name, number)


def candidate(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def dvc() -> str:
    """The program of this environment."""
    beside = shutil.which("dvc", path=str(Path(sys.executable).parent)) or shutil.which("dvc")
    if not beside:
        raise Refusal("dvc is not installed in this environment; install requirements.txt")
    return beside


if __name__ == "__main__":
    run(lambda: main(*arguments()))
