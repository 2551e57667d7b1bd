"""Input made to do harm: nothing in it is executed or obeyed, and nothing lands where it should not."""

from __future__ import annotations

import base64
import io
import platform
import re
import shutil
import socket
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from handmade import bright
from misbehaving import Request, serving
from reliability import fault
from scripts import DATASET, SRC, Ended, script, succeeded, tree, write_params
from shared import checkpoint

UNET = Path("saved_models/unet.pth")

pytestmark = pytest.mark.usefixtures("place")


def refused(line: str, name: str, *words: str) -> Ended:
    """Exit code and output; the last line holds `line`, and nothing is written."""
    before = tree()
    done = script(name, *words)
    assert done.code in (1, 2)
    assert line in done.line
    assert tree() == before
    return done


# --- names ------------------------------------------------------------------------------------------------------------

NAMES = [
    "two\nlines",
    "carriage\rreturn",
    "\x1b[2J\x1b]0;title\x07colours \x1b[31m",
    "$(touch executed)",
    "`touch executed`",
    "'; touch executed; '",
    '"quoted"',
    "-rf",
    "--out",
    "<img src=x onerror=alert(1)>",
    "\u202egnp.tac",
    "%s%n{0}",
]


@fault(
    "Hostile",
    "file names with newlines, quotes, options, markup and terminal escapes",
    "used as they are, shown escaped",
)
def test_names_of_photographs(place: Path) -> None:
    (place / "in").mkdir()
    for name in NAMES:
        shutil.copyfile(DATASET / "images/pug_4.jpg", place / "in" / f"{name}.jpg")
        (place / "in" / f"{name}.png").write_bytes(b"no picture")
    before = tree()
    done = script("inference", "--weights", str(UNET), "--out", "out", "in")
    assert f"named above: {len(NAMES)}; photographs done: {len(NAMES)}" in done.line
    assert len(done.err.splitlines()) == len(NAMES) + 1
    assert shown_safely(done)
    written = set(tree()) - set(before)
    assert {Path(name).parent for name in written} == {Path("out")}
    assert len(written) == 2 * len(NAMES)


def shown_safely(done: Ended) -> bool:
    return all(line.isprintable() for line in (done.out + done.err).split("\n"))


@fault(
    "Hostile", "list entries with terminal escapes, paths and markup", "one line names them, escaped; nothing is read"
)
def test_lines_of_a_list() -> None:
    lines = [
        "pug\x1b[2J_1 4 2 2",
        "../../pug_1 4 2 2",
        "/etc/passwd_1 1 1 1",
        "pug\u202e_1 4 2 2",
        "<a href=x>_1 4 2 2",
    ]
    with (DATASET / "annotations/test.txt").open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))
    done = refused(f"{len(lines)} cannot be used", "preprocess")
    assert shown_safely(done)
    assert [line for line in done.err.splitlines() if "is no line of a list" not in line] == []
    assert len(done.err.splitlines()) == len(lines) + 1


@fault("Hostile", "a breed that is a script", "it stands in the report as text")
def test_markup_from_the_list_to_the_report() -> None:
    breed = "<script>alert(1)<script>"
    for number in (101, 102):
        for kind in ("images/{}.jpg", "annotations/trimaps/{}.png"):
            shutil.copyfile(*(DATASET / kind.format(name) for name in ("pug_4", f"{breed}_{number}")))
    for name, number in (("trainval", 101), ("test", 102)):
        with (DATASET / f"annotations/{name}.txt").open("a") as file:
            file.write(f"{breed}_{number} 5 2 3\n")
    for stage in ("preprocess", "evaluate", "plot"):
        succeeded(stage)
    page = Path("plots/report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;script&gt;" in page


# --- YAML -------------------------------------------------------------------------------------------------------------

TAGS = [
    "!!python/object/apply:os.mkdir [executed]",
    "!!python/name:os.system",
    "!!python/object/new:os.mkdir [executed]",
]


@fault("Hostile", "params.yaml or a recipe with tags that make Python objects", "one line; nothing is executed")
@pytest.mark.parametrize("tag", TAGS)
def test_tags(tag: str) -> None:
    Path("recipes").mkdir()
    Path("recipes/mine.yaml").write_text(f"about: {tag}\nparams: {{seed: 1}}\n")
    refused("recipes/mine.yaml: not valid YAML", "recipe", "mine", "--apply")
    Path("params.yaml").write_text(f"seed: {tag}\n")
    refused("params.yaml: not valid YAML", "preprocess")
    assert not Path("executed").exists()


@fault("Hostile", "a recipe's name that leads out of the folder", "one line; the file is not read")
@pytest.mark.parametrize("name", ["../outside", "sub/../../outside", "sub/inside"])
def test_names_of_recipes(name: str) -> None:
    Path("recipes/sub").mkdir(parents=True)
    for file in ("outside.yaml", "recipes/sub/inside.yaml"):
        Path(file).write_text("about: x\nparams: {seed: 1}\n")
    refused(f"recipes: no recipe '{name}'", "recipe", name, "--apply")
    absolute = str(Path("outside").resolve())
    refused(f"recipes: no recipe '{absolute}'", "recipe", absolute, "--apply")


# --- archives ---------------------------------------------------------------------------------------------------------


@fault("Hostile", "a source's archive that reaches out of its folder", "one line; nothing of it is kept")
@pytest.mark.parametrize("name", ["../../../outside.txt", "/tmp/outside-of-the-folder.txt"])
def test_an_archive_that_reaches_out(name: str) -> None:
    for kind in ("images", "annotations"):
        with tarfile.open(f"source/{kind}.tar.gz", "w:gz") as tar:
            tar.add(f"source/{kind}", kind)
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    done = refused("would land outside the folder", "download")
    assert "nothing was kept of it" in done.line
    assert not Path("/tmp/outside-of-the-folder.txt").exists()


# --- weights ----------------------------------------------------------------------------------------------------------

TERA = 1 << 40
CLAIMS: dict[str, dict[str, Any]] = {
    "tensors": {"state": bright().state | {"head.bias": torch.zeros(1).expand(TERA)}},  # one number, so many times
    "network": {"config": {"width": 1 << 20}},
    "photographs": {"image_size": TERA},
    "channels": {"mean": [0.0] * 1000, "std": [1.0] * 1000},
}


@fault("Hostile", "weights that claim terabytes", "one line, before memory is taken")
@pytest.mark.parametrize("claim", CLAIMS)
def test_weights_of_absurd_size(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"format": checkpoint.FORMAT, **vars(bright()), **CLAIMS[claim], "checksum": ""}, UNET)
    computed: list[object] = []
    monkeypatch.setattr(checkpoint, "checksum", computed.append)
    monkeypatch.setattr(checkpoint.Weights, "build", computed.append)
    refused("unet.pth: damaged: not the tensors that were saved", "evaluate")
    assert not computed


@fault("Hostile", "weights that unpack to a thousand times their size", "one line, before they are unpacked")
def test_weights_that_are_a_zip_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = io.BytesIO(UNET.read_bytes())
    with zipfile.ZipFile(whole) as members, zipfile.ZipFile(UNET, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in members.namelist():
            bomb.writestr(name, members.read(name))
        bomb.writestr("archive/data/bomb", bytes(10 << 20))
    opened: list[object] = []
    monkeypatch.setattr(torch, "load", lambda *_, **__: opened.append(_))
    refused("unet.pth: not a weights file, or damaged", "evaluate")
    assert not opened


# --- what nobody should read ------------------------------------------------------------------------------------------


def guarded(login: str) -> Callable[[Request], None]:
    """A server that gives files to whom it knows."""
    expected = f"Basic {base64.b64encode(login.encode()).decode()}"

    def behave(request: Request) -> None:
        request.give() if request.headers.get("Authorization") == expected else request.answer(401)

    return behave


def address(url: str, login: str) -> str:
    return url.replace("//", f"//{login}@")


@fault("Hostile", "a login in the address of the source", "used, but neither shown nor written into any result")
def test_a_login_stays_where_it_is() -> None:
    files = {}
    for kind in ("images", "annotations"):
        with tarfile.open(f"{kind}.tar.gz", "w:gz") as tar:
            tar.add(f"source/{kind}", kind)
        files[f"{kind}.tar.gz"] = Path(f"{kind}.tar.gz").read_bytes()
    with serving(files, guarded("me:geheim")) as server:
        for login, code in (("me:geheim", 0), ("me:geheim2", 1)):
            write_params(data={"source": address(server.url, login)})
            done = script("download")
            assert done.code == code
            assert "geheim" not in done.out + done.err
    succeeded("plot")
    holding = [path for path in Path().rglob("*") if path.is_file() and b"geheim" in path.read_bytes()]
    assert holding == [Path("params.yaml")]
    assert not [path for path in Path().rglob("*") if "geheim" in path.name]


@fault("Hostile", "a login in an address that is none", "the one line does not show it")
@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://[::1/", "http:///", "http://127.0.0.1:99999/"])
def test_a_login_in_a_wrong_address(url: str) -> None:
    write_params(data={"source": address(url, "me:geheim")})
    done = script("download")
    assert done.code > 0 and done.err
    assert "geheim" not in done.out + done.err


@fault("Hostile", "names of the machine, its user and its folders", "in no result and no log")
def test_results_do_not_say_where_they_were_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody-at-home")
    monkeypatch.setenv("USER", "somebody-at-home")
    for module, name in ((socket, "gethostname"), (socket, "getfqdn"), (platform, "node")):
        monkeypatch.setattr(module, name, lambda *_: "some-host")
    write_params(train={"epochs": 1})
    for stage in (["download"], ["preprocess"], *(["train", "--model", name] for name in ("unet", "resnet34_unet"))):
        check_silence(succeeded(*stage), place)
    for stage in (["evaluate"], ["plot"], ["summary"], ["inference", "--weights", str(UNET), "--out", "out", "source"]):
        check_silence(succeeded(*stage), place)
    for name, content in tree().items():
        assert not [word for word in telling(place) if word.encode() in content], name


def telling(place: Path) -> list[str]:
    return [str(place), place.name, "some-host", "somebody-at-home", str(SRC.parent)]


def check_silence(done: Ended, place: Path) -> None:
    assert not [word for word in telling(place) if word in done.out + done.err]


ROOT = SRC.parent
SECRETS = {
    "a key": r"-----BEGIN [A-Z ]*PRIVATE KEY|\b(AKIA[0-9A-Z]{16}|gh[pousr]_\w{36}|hf_\w{34}|xox[bp]-\w{10})",
    "a login in an address": r"://[\w.-]+:[^\s/@\"'{}]+@\w",
    "a folder of a user": r"(?<![\w.~])(/home/|/Users/|C:\\Users\\)(?!somebody)\w+",
}


@fault("Hostile", "secrets, and folders of a machine, among the files of the repository", "there are none")
def test_the_repository_holds_no_secret_and_no_path_of_a_machine() -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    assert len(files) > 50
    patterns = {**SECRETS, "this folder": re.escape(f"{ROOT}/")}
    found = [
        (file.name, what)
        for file in files
        for what, pattern in patterns.items()
        if re.search(pattern.encode(), file.read_bytes())
    ]
    assert found == []
