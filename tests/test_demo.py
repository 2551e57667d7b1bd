"""The page of the demonstration: what its server answers, whom it refuses, and what a browser shows."""

from __future__ import annotations

import base64
import errno
import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image

import browser
import inference
import pets
import serve
from commands import published
from handmade import bright, untrained, with_origin
from hostile import bomb
from oxford_pet import BORDER, BORDERS, PET
from photos import FORMATS
from reliability import fault
from shared import checkpoint
from shared.metrics import is_pet
from shared.thresholds import THRESHOLDS
from utils import Refusal

FOLDER = Path(serve.__file__).parent
NETWORKS = ("unet.pth", "resnet34_unet.pth")
WIDE = "pug_8"  # the test photograph that is larger than what is shown


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, and a dataset with one photograph that is wider than the page shows it."""
    folder = tmp_path_factory.mktemp("demo")
    checkpoint.save(folder / "unet.pth", with_origin(bright(), 0.62))
    checkpoint.save(folder / "resnet34_unet.pth", untrained())
    pets.make_dataset(folder / "data", trainval=3, test=6, side=90)
    image, trimap = pets.make_pet(900, 1500, np.random.default_rng(7))
    Image.fromarray(image).save(folder / f"data/images/{WIDE}.jpg", quality=95)
    Image.fromarray(trimap).save(folder / f"data/annotations/trimaps/{WIDE}.png")
    return folder


@pytest.fixture(scope="module")
def demo(place: Path) -> serve.Demo:
    return make(place)


def make(place: Path, border: str = "pet", networks: tuple[str, ...] = NETWORKS) -> serve.Demo:
    return serve.Demo([place / name for name in networks], serve.test_photographs(place / "data"), border)


@contextmanager
def served(demo: serve.Demo) -> Iterator[int]:
    with serve.Server(0, demo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def port(demo: serve.Demo) -> Iterator[int]:
    with served(demo) as number:
        yield number


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def line(self) -> str:
        assert self.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert b"\n" not in self.content
        return self.content.decode()

    @property
    def found(self) -> dict[str, Any]:
        assert self.status == 200, self.content
        return json.loads(self.content)


def ask(port: int, path: str, body: bytes | None = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def pet(side: int = 70, seed: int = 0) -> Image.Image:
    return Image.fromarray(pets.make_pet(side, side + 10, np.random.default_rng(seed))[0])


def stored(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def levels(found: dict[str, Any]) -> list[np.ndarray]:
    width, height = found["shown"]
    return [np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width) for text in found["levels"]]


def shown(found: dict[str, Any]) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(found["photo"].partition(",")[2]))) as photo:
        return np.asarray(photo)


def masks(place: Path, photograph: Path, threshold: float, *networks: str) -> np.ndarray:
    """What inference.py writes."""
    with tempfile.TemporaryDirectory() as out:
        words = ["--weights", *(place / name for name in networks), "--out", out, "--threshold", threshold, photograph]
        inference.main(inference.arguments([str(word) for word in words]))
        with Image.open(Path(out) / f"{photograph.stem}_mask.png") as mask:
            return np.asarray(mask) > 0


# --- what is answered -------------------------------------------------------------------------------------------------


def test_the_page_learns_networks_thresholds_and_test_photographs(port: int, place: Path) -> None:
    start = ask(port, "/start").found
    titles = [(one["title"], one["threshold"]) for one in start["networks"]]
    assert titles == [("UNet", 0.62), ("ResNet34-UNet", 0.5), ("Ensemble", 0.56)]
    assert start["networks"][0]["about"].endswith(" parameters, sees 32 × 32 pixels")
    assert start["thresholds"] == [percent / 100 for percent in range(5, 96)]
    listed = (place / "data/annotations/test.txt").read_text().splitlines()
    assert start["tests"] == [line.split()[0] for line in listed]
    assert start["border"] == "the border counts as pet"


def test_several_weights_of_one_network_are_called_by_their_files(place: Path, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "second.pth", bright())
    demo = serve.Demo([place / "unet.pth", tmp_path / "second.pth"], {}, "pet")
    assert [one["title"] for one in demo.networks] == ["unet", "second", "Ensemble"]
    assert [one["title"] for one in make(place, networks=("unet.pth",)).networks] == ["UNet"]


def test_one_network_has_no_ensemble(place: Path) -> None:
    assert len(make(place, networks=("unet.pth",)).test(WIDE)["levels"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.05, 0.46, 0.95])
def test_masks_are_those_of_inference(port: int, place: Path, tmp_path: Path, threshold: float) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(stored(pet()))
    found = levels(ask(port, "/segment", file.read_bytes()).found)
    place_of = THRESHOLDS.index(threshold)
    for level, networks in zip(found, [NETWORKS[:1], NETWORKS[1:], NETWORKS], strict=True):
        assert ((level > place_of) == masks(place, file, threshold, *networks)).all()


def test_levels_follow_the_rule_of_a_threshold() -> None:
    """Also where a probability is exactly a threshold."""
    values = np.array([0, *THRESHOLDS, *(t - 1e-6 for t in THRESHOLDS), *(t + 1e-6 for t in THRESHOLDS), 1], np.float32)
    found = serve.levels(torch.from_numpy(values)).numpy()
    for place, threshold in enumerate(THRESHOLDS):
        assert ((found > place) == is_pet(values, threshold)).all()


@pytest.mark.parametrize("border", BORDERS)
def test_the_dice_follows_the_threshold_under_each_border_rule(place: Path, border: str) -> None:
    """Against a count in plain NumPy."""
    found = make(place, border).test("american_bulldog_6")
    with Image.open(place / "data/annotations/trimaps/american_bulldog_6.png") as trimap:
        values = np.asarray(trimap)
    truth = values == PET if border == "background" else (values == PET) | (values == BORDER)
    counts = values != BORDER if border == "ignore" else np.full(values.shape, True)
    drawn = np.frombuffer(base64.b64decode(found["truth"]), bool).reshape(values.shape)
    assert (drawn == truth).all()
    for level, dice in zip(levels(found), found["dice"], strict=True):
        assert len(dice) == len(THRESHOLDS)
        for index, value in enumerate(dice):
            mask = level > index
            both, sizes = (mask & truth & counts).sum(), (mask & counts).sum() + (truth & counts).sum()
            assert value == pytest.approx(2 * both / sizes)
    assert max(found["dice"][0]) > 0.9


@pytest.mark.slow
def test_the_dice_is_that_of_the_photographs_own_size(port: int, place: Path) -> None:
    found = ask(port, f"/test?name={WIDE}").found
    assert found["own"] == [1500, 900] and found["shown"] == [1024, 614]
    assert shown(found).shape == (614, 1024, 3) and levels(found)[0].shape == (614, 1024)
    mask = masks(place, place / f"data/images/{WIDE}.jpg", 0.46, *NETWORKS)
    with Image.open(place / f"data/annotations/trimaps/{WIDE}.png") as trimap:
        truth = np.asarray(trimap) != 2
    assert found["dice"][2][41] == pytest.approx(2 * (mask & truth).sum() / (mask.sum() + truth.sum()), abs=1e-6)


def test_of_an_own_photograph_no_truth_is_known(port: int) -> None:
    found = ask(port, "/segment", stored(pet())).found
    assert "truth" not in found and "dice" not in found
    assert (shown(found) == np.asarray(pet())).all(), "the cut-out has the photograph's own colours"


@pytest.mark.parametrize(("orientation", "turned"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_own_photographs_are_turned_upright(port: int, orientation: int, turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = ask(port, "/segment", stored(pet(), exif=exif)).found
    assert (shown(found) == np.rot90(np.asarray(pet()), turned)).all()
    assert levels(found)[0].shape == shown(found).shape[:2]


def test_a_test_photograph_is_turned_as_its_mask_is(place: Path, tmp_path: Path) -> None:
    """Masks of the dataset were drawn on the stored pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    (tmp_path / "x.png").write_bytes(stored(pet(), exif=exif))
    for name, size in (("stored", pet().size), ("turned", pet().size[::-1])):
        mask = tmp_path / f"{name}.png"
        Image.new("L", size, 1).save(mask)
        demo = serve.Demo([place / "unet.pth"], {"x": (tmp_path / "x.png", mask)}, "pet")
        assert demo.test("x")["own"] == size


@pytest.mark.slow
def test_a_photograph_of_24_megapixels_is_shown_smaller(port: int) -> None:
    found = ask(port, "/segment", stored(pet().resize((6000, 4000)), "JPEG")).found
    assert found["own"] == [6000, 4000] and found["shown"] == [1024, 683]


def test_thumbnails_are_small(port: int) -> None:
    answer = ask(port, f"/thumbnail?name={WIDE}")
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert answer.headers["Content-Type"] == "image/png" and picture.size == (160, 96)


# --- what is refused --------------------------------------------------------------------------------------------------


@fault("Hostile", "a bad upload to the demonstration", "one line on the page says why; nothing of it is kept")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is not a picture"),
        (b"no picture at all", "is not a picture"),
        (stored(pet(), "JPEG")[:900], "cannot be read: "),
        (bomb(20_000, 20_000), r"(is|has) .*more than 89,478,485 pixels"),
    ],
    ids=["empty", "text", "truncated", "bomb"],
)
def test_a_bad_upload_is_refused_in_a_line(
    port: int, body: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answer = ask(port, "/segment", body)
    assert answer.status == 422
    assert re.fullmatch(f"photograph {said}.*; choose another: JPEG, .* can be read", answer.line)
    assert list(tmp_path.iterdir()) == []


def test_the_kinds_that_are_named_can_be_read() -> None:
    named = re.findall(r"[A-Z]\w{2,}", serve.CHOOSE)
    assert len(named) == 7 and {name.upper() for name in named} <= set(FORMATS)


@fault("Hostile", "an upload to the demonstration that is too large, or of unknown length", "refused before it is read")
@pytest.mark.parametrize(
    ("length", "status", "said"),
    [
        (str((50 << 20) + 1), 413, "has more than 50 MB; choose another"),
        ("99999999999999999999", 413, "has more than 50 MB; choose another"),
        ("-1", 411, "does not say how long"),
        ("much", 411, "does not say how long"),
        (None, 411, "does not say how long"),
    ],
)
def test_the_length_of_an_upload_is_looked_at_first(port: int, length: str | None, status: int, said: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("POST", "/segment")
    if length:
        connection.putheader("Content-Length", length)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == status and said in answer.read().decode()
    connection.close()


def test_an_upload_that_breaks_off_is_refused_and_forgotten(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    content = stored(pet())
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        head = f"POST /segment HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
        line.sendall(head.encode() + content[:500])
        line.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: line.recv(4096), b""))
    assert b" 422 " in answer and b"cannot be read" in answer
    assert list(tmp_path.iterdir()) == []


@fault("Hostile", "other web pages that use the demonstration", "refused: only its own page at 127.0.0.1 may ask")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:9000"}, 200),  # through a tunnel
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "example.org"}, 403),  # a name of theirs that leads here
        ({"Host": "127.0.0.1.example.org:8000"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:9000", "Origin": "http://localhost:9000"}, 200),
        ({"Origin": "http://example.org"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_only_the_page_itself_may_ask(port: int, headers: dict[str, str], status: int) -> None:
    assert ask(port, "/segment", stored(pet()), **headers).status == status
    assert ask(port, "/start", None, **headers).status == status


@fault("Hostile", "paths that lead out of the demonstration's folder", "404; only the known paths are answered")
@pytest.mark.parametrize(
    "path",
    [
        *("/serve.py", "/../README.md", "/..%2fREADME.md", "//page.html", "/page.html", "/test", "/thumbnail?name="),
        *(f"/test?name={quote(name, safe='')}" for name in ("../images/pug_8", "/etc/passwd", "nobody_1")),
    ],
)
def test_only_known_paths_are_answered(port: int, path: str) -> None:
    answer = ask(port, path)
    assert answer.status == 404 and answer.line.startswith("no such ")
    assert ask(port, path, b"x").status == 404


def test_a_damaged_test_photograph_is_named(place: Path, tmp_path: Path) -> None:
    (tmp_path / "pug_1.jpg").write_text("no picture")
    masks = place / f"data/annotations/trimaps/{WIDE}.png"
    with served(serve.Demo([place / "unet.pth"], {"pug_1": (tmp_path / "pug_1.jpg", masks)}, "pet")) as port:
        for path in ("/test", "/thumbnail"):
            answer = ask(port, f"{path}?name=pug_1")
            assert answer.status == 422 and answer.line.startswith("pug_1.jpg is not a picture; choose another")


@fault("Disk", "no room for an upload to the demonstration", "one line on the page says where; the server goes on")
def test_a_full_disk_is_said(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        answer = ask(port, "/segment", stored(pet()))
    assert answer.status == 507 and answer.line.startswith("no room for the photograph in ")
    assert ask(port, "/segment", stored(pet())).status == 200


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried ..."), RuntimeError("other")])
def test_too_little_memory_is_said_and_other_errors_are_not_hidden(error: Exception) -> None:
    if str(error) == "other":
        with pytest.raises(RuntimeError):
            serve.refusal(error)
    else:
        status, line = serve.refusal(error)
        assert status == 503 and "no memory left" in line


def test_every_answer_forbids_to_ask_another_machine(port: int) -> None:
    for answer in (ask(port, "/"), ask(port, "/start"), ask(port, "/nothing"), ask(port, "/segment", b"x")):
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'; img-src 'self' data:;") and "http" not in policy
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("name", [name for name, _ in serve.FILES.values()])
def test_the_page_names_no_other_machine(name: str) -> None:
    assert not re.search(r"https?:|\bsrc=\"(?!page)|url\(|@import", (FOLDER / name).read_text(encoding="utf-8"))


# --- many at once -----------------------------------------------------------------------------------------------------


@fault("Concurrency", "20 uploads to the demonstration at once", "each gets its own masks; one is worked on at a time")
def test_20_uploads_at_once_each_get_their_own_masks(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = make(place)
    uploads = [stored(pet(60 + seed, seed)) for seed in range(20)]
    alone = []
    for upload in uploads:
        (place / "one").write_bytes(upload)
        alone.append(json.loads(json.dumps(demo.own(place / "one"))))
    busy, most = 0, 0
    answer = demo.answer

    def counted(*words: Any) -> dict[str, Any]:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        found = answer(*words)
        busy -= 1
        return found

    monkeypatch.setattr(demo, "answer", counted)
    together = threading.Barrier(20)

    def send(upload: bytes) -> dict[str, Any]:
        together.wait(60)
        return ask(number, "/segment", upload).found

    with served(demo) as number, ThreadPoolExecutor(20) as pool:
        found = list(pool.map(send, uploads))
    assert found == alone
    assert most == 1


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_passed_over(demo: serve.Demo) -> None:
    with serve.Server(0, demo) as first, serve.open_server(first.server_port, demo) as second:
        assert second.server_port > first.server_port


def test_no_free_port_is_said(demo: serve.Demo) -> None:
    with socket.socket() as last:
        last.bind(("127.0.0.1", 65535))
        with pytest.raises(Refusal, match="no port from 65535 on is free; name a lower one with --port"):
            serve.open_server(65535, demo)


@pytest.mark.parametrize("words", [["--port", "0"], ["--port", "65536"], ["--border", "half"], ["photograph.jpg"]])
def test_wrong_options_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        serve.arguments(words)
    assert end.value.code == 2 and words[-1] in capsys.readouterr().err


def test_without_published_weights_it_says_how_to_get_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    with pytest.raises(Refusal, match="published/: holds no weights; `git checkout published`"):
        serve.main(serve.arguments([]))


def test_named_weights_that_are_not_there_are_refused(place: Path) -> None:
    with pytest.raises(Refusal, match=r"nothing\.pth: no such weights"):
        serve.Demo([place / "nothing.pth"], {}, "pet")


def test_without_a_dataset_there_is_nothing_to_pick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "DATASET", tmp_path / "none")
    assert serve.test_photographs(None) == {}


def test_the_dataset_of_the_checkout_is_the_default(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "DATASET", place / "data")
    assert list(serve.test_photographs(None)) == list(serve.test_photographs(place / "data")) != []


def test_photographs_that_are_not_there_cannot_be_picked(tmp_path: Path) -> None:
    data = pets.make_dataset(tmp_path / "data", trainval=1, test=3)
    (data / "images/pug_4.jpg").unlink()
    (data / "annotations/trimaps/Birman_3.png").unlink()
    assert list(serve.test_photographs(data)) == ["american_bulldog_2"]
    (data / "images/american_bulldog_2.jpg").unlink()
    with pytest.raises(Refusal, match="has none of its test photographs with a mask; name another with --data"):
        serve.test_photographs(data)
    with pytest.raises(Refusal, match=r"test\.txt: not found"):
        serve.test_photographs(tmp_path / "nowhere")


def test_without_a_screen_no_browser_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert not serve.has_screen()
    monkeypatch.setenv("DISPLAY", ":0")
    assert serve.has_screen()


@pytest.mark.slow
def test_the_command_says_its_address_and_ends_quietly(place: Path) -> None:
    words = ["--no-browser", "--weights", place / "unet.pth", "--data", place / "data", "--border", "ignore"]
    command = [sys.executable, str(FOLDER / "serve.py"), *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        address, how = process.stdout.readline(), process.stdout.readline()
        assert how == "Ctrl-C ends it\n"
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)\n", address)
        assert found, process.stderr.read()
        assert ask(int(found[1]), "/start").found["border"] == "the border counts nowhere"
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("\n", "")
    assert process.returncode == 0


# --- the page ---------------------------------------------------------------------------------------------------------


def test_text_stands_out_from_its_ground() -> None:
    """Contrast of at least 4.5 to 1, as WCAG asks for, in light and in dark."""

    def brightness(colour: str) -> float:
        digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
        channels = np.frombuffer(bytes.fromhex(digits), np.uint8) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    css = (FOLDER / "page.css").read_text(encoding="utf-8")
    schemes = [dict(re.findall(r"--(\w+): #(\w+)", root)) for root in re.findall(r":root \{(.*?)\}", css)]
    assert len(schemes) == 2
    for scheme in schemes:
        for ground in ("ground", "raised"):
            for ink in ("ink", "quiet", "wrong"):
                dark, light = sorted(brightness(scheme[name]) for name in (ground, ink))
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


READY = "document.querySelector('main') && !document.querySelector('main').inert"
NEEDS_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium (Debian: apt-get install chromium)"),
]


def in_browser(test: Any) -> Any:
    for mark in NEEDS_BROWSER:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    """With a camera that shows a test picture, and may be used without a question."""
    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with browser.browser(tmp_path_factory.mktemp("profile"), *camera) as program:
        yield program


@pytest.fixture
def page(chromium: browser.Browser, port: int) -> browser.Browser:
    """Newly opened."""
    chromium.events.clear()
    chromium.show(1280)
    chromium.open(f"http://127.0.0.1:{port}")
    chromium.until(READY)
    return chromium


def upload(page: browser.Browser, file: Path) -> None:
    root = page.command("DOM.getDocument")["root"]["nodeId"]
    node = page.command("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.command("DOM.setFileInputFiles", nodeId=node, files=[str(file)])


def seen(page: browser.Browser, name: str) -> None:
    """The photograph with this name is shown."""
    page.until(f"document.querySelector('#name').textContent === {json.dumps(name)}")


def pixels(page: browser.Browser, kind: str, place: int) -> np.ndarray:
    """(H, W, 4) of the canvas of this kind in the card of a network."""
    data = page.evaluate(f"document.querySelectorAll('.{kind}')[{place}].toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGBA"))


def slide(page: browser.Browser, place: int, threshold: float) -> None:
    slider = f"document.querySelectorAll('.slider')[{place}]"
    page.evaluate(f"{slider}.value = {threshold}; {slider}.dispatchEvent(new Event('input'))")


def requests(page: browser.Browser) -> list[str]:
    return [event["request"]["url"] for event in page.happened("Network.requestWillBeSent")]


@in_browser
def test_from_upload_to_cutout(page: browser.Browser, port: int, tmp_path: Path) -> None:
    file = tmp_path / "my pet.png"
    file.write_bytes(stored(pet()))
    expected = levels(ask(port, "/segment", file.read_bytes()).found)
    upload(page, file)
    seen(page, "my pet.png")
    asked = len(requests(page))
    for threshold, place in ((None, 0), (None, 1), (None, 2), (0.05, 0), (0.3, 1), (0.95, 2)):
        if threshold is not None:
            slide(page, place, threshold)
        index = THRESHOLDS.index(threshold or (0.62, 0.5, 0.56)[place])
        mask = expected[place] > index
        assert (pixels(page, "mask", place)[..., :3] == np.where(mask, 255, 0)[..., None]).all()
        cut = pixels(page, "cutout", place)
        assert (cut == np.where(mask[..., None], np.dstack([np.asarray(pet()), np.full(mask.shape, 255)]), 0)).all()
        assert page.evaluate(f"document.querySelectorAll('.value')[{place}].textContent") == f"{THRESHOLDS[index]:.2f}"
    assert (pixels(page, "overlay", 0)[..., :3] != np.asarray(pet())).any()
    assert page.evaluate("[...document.querySelectorAll('.dice')].map((e) => e.textContent)") == ["", "", ""]
    assert len(requests(page)) == asked, "the slider asks nobody"


@in_browser
def test_the_dice_follows_the_slider(page: browser.Browser, demo: serve.Demo) -> None:
    page.evaluate("document.querySelector('#search').value = 'PUG 8'")
    page.evaluate("document.querySelector('#search').dispatchEvent(new Event('input'))")
    assert page.evaluate("document.querySelectorAll('#thumbnails button').length") == 1
    page.evaluate("document.querySelector('#thumbnails button').click()")
    seen(page, WIDE)
    dice = demo.test(WIDE)["dice"]
    for place, threshold in ((0, 0.62), (1, 0.5), (2, 0.56), (0, 0.07), (2, 0.95), (0, 0.58)):
        slide(page, place, threshold)
        said = page.evaluate(f"document.querySelectorAll('.dice')[{place}].textContent")
        assert said == f"Dice {dice[place][THRESHOLDS.index(threshold)]:.3f}"
    page.evaluate("document.querySelector('.reset').click()")
    assert page.evaluate("document.querySelector('.value').textContent") == "0.62"
    assert "shown and saved at 1024 × 614" in page.evaluate("document.querySelector('#facts').textContent")


@in_browser
def test_the_true_outline_can_be_hidden(page: browser.Browser, place: Path) -> None:
    """The overlay is then that of the same photograph as an upload, of which no truth is known."""
    name, search = "american_bulldog_6", "document.querySelector('#search')"
    page.evaluate(f"{search}.value = '{name}'; {search}.dispatchEvent(new Event('input'))")
    page.evaluate("document.querySelector('#thumbnails button').click()")
    seen(page, name)
    outlined = pixels(page, "overlay", 0)
    page.evaluate("document.querySelector('#outline').click()")
    hidden = pixels(page, "overlay", 0)
    page.evaluate("document.querySelector('#outline').click()")
    assert (pixels(page, "overlay", 0) == outlined).all() and (outlined != hidden).any()
    upload(page, place / f"data/images/{name}.jpg")
    seen(page, f"{name}.jpg")
    assert (pixels(page, "overlay", 0) == hidden).all()


@in_browser
@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is not a picture"), (stored(pet())[:700], "cannot be read"), (bomb(20_000, 20_000), "pixels")],
    ids=["empty", "truncated", "bomb"],
)
def test_a_bad_file_is_refused_on_the_page(page: browser.Browser, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    upload(page, tmp_path / "bad.png")
    page.until("document.querySelector('#wrong').textContent")
    line = page.evaluate("document.querySelector('#wrong').textContent")
    assert line.startswith("bad.png: photograph ") and said in line
    assert page.evaluate("document.querySelector('#said').textContent") == ""
    page.evaluate("document.querySelector('#random').click()")
    page.until("!document.querySelector('#results').hidden")
    assert page.evaluate("document.querySelector('#wrong').textContent") == ""


@in_browser
def test_a_file_that_is_too_large_is_not_sent(page: browser.Browser, tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(serve.MOST + 1)
    upload(page, tmp_path / "large.png")
    page.until("document.querySelector('#wrong').textContent.includes('large.png: photograph has more than 50 MB')")
    assert not any(url.endswith("/segment") for url in requests(page))


@in_browser
def test_a_photograph_can_be_dropped(page: browser.Browser) -> None:
    content = base64.b64encode(stored(pet())).decode()
    page.evaluate(
        "const transfer = new DataTransfer();"
        f"transfer.items.add(new File([Uint8Array.from(atob('{content}'), (c) => c.charCodeAt(0))], 'dropped.png'));"
        "document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true }))"
    )
    seen(page, "dropped.png")


@in_browser
def test_a_photograph_can_be_taken(page: browser.Browser) -> None:
    page.evaluate("document.querySelector('#camera').click()")
    page.until("document.querySelector('#video').currentTime > 0.1")  # the first pictures may be black
    page.evaluate("document.querySelector('#take').click()")
    seen(page, "camera.jpg")
    assert not page.evaluate("document.querySelector('#video').srcObject.active"), "the camera is off again"
    assert len(np.unique(pixels(page, "photo", 0))) > 10


@in_browser
def test_a_mask_and_a_cutout_can_be_saved(page: browser.Browser, tmp_path: Path) -> None:
    page.command("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.evaluate("document.querySelector('#random').click()")
    page.until("!document.querySelector('#results').hidden")
    name = page.evaluate("document.querySelector('#name').textContent")
    for kind in ("mask", "cutout"):
        page.evaluate(f"document.querySelector('.save-{kind}').click()")
        file = tmp_path / f"{name}_UNet_{kind}.png"
        deadline = time.monotonic() + browser.PATIENCE
        while not file.exists():  # the browser gives it its name when it is whole
            assert time.monotonic() < deadline, f"{file.name} is not saved"
            page.evaluate("new Promise((done) => setTimeout(done, 50))")
        with Image.open(file) as saved:
            assert (np.asarray(saved.convert("RGBA")) == pixels(page, kind, 0)).all()


@in_browser
def test_the_keyboard_is_enough(page: browser.Browser) -> None:
    def press(key: str, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            typed = text if kind == "keyDown" else ""
            page.command("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=typed)

    def focused() -> str:
        element = "document.activeElement"
        return page.evaluate(f"{element}.id || {element}.className || {element}.textContent")

    reached = []
    for _ in range(5):
        press("Tab")
        reached.append(focused())
    assert reached[:4] == ["file", "camera", "search", "random"]
    page.evaluate("document.querySelector('#thumbnails button').focus()")
    press("Enter", "\r")
    page.until("!document.querySelector('#results').hidden")
    page.evaluate("document.querySelector('.slider').focus()")
    page.command(
        "Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39
    )
    assert page.evaluate("document.querySelector('.value').textContent") == "0.63"


@in_browser
def test_everything_has_a_name_for_those_who_do_not_see_it(page: browser.Browser) -> None:
    page.evaluate("document.querySelector('#random').click()")
    page.until("!document.querySelector('#results').hidden")
    nodes = [node for node in page.command("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    roles = [node["role"]["value"] for node in nodes]
    assert {"button", "slider", "image", "checkbox", "searchbox"} <= set(roles)
    assert roles.count("slider") == 3 and roles.count("image") == 2 + 9
    for node, role in zip(nodes, roles, strict=True):
        if role in ("button", "slider", "image", "checkbox", "searchbox"):
            assert node["name"]["value"], node


@in_browser
def test_it_fits_the_screen_and_asks_nobody_else(page: browser.Browser, port: int) -> None:
    page.evaluate("document.querySelector('#random').click()")
    page.until("!document.querySelector('#results').hidden")
    for width in (390, 1280):
        page.show(width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = page.evaluate("[...document.querySelectorAll('canvas')].map((c) => c.getBoundingClientRect().toJSON())")
        assert len(boxes) == 2 + 9
        assert all(box["width"] > 100 and box["left"] >= 0 and box["right"] <= width for box in boxes)
    away = [url for url in requests(page) if not url.startswith((f"http://127.0.0.1:{port}/", "data:"))]
    assert away == []
    assert not page.happened("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")


@in_browser
def test_dark_is_dark_and_light_is_light(page: browser.Browser) -> None:
    def corner(dark: bool) -> int:
        page.show(390, dark=dark)
        with Image.open(io.BytesIO(page.screenshot())) as shot:
            return int(np.asarray(shot.convert("L"))[2, 2])

    assert corner(dark=True) < 60 and corner(dark=False) > 230


@in_browser
def test_without_test_photographs_there_is_no_picker(chromium: browser.Browser, place: Path) -> None:
    with served(serve.Demo([place / "unet.pth"], {}, "pet")) as port:
        chromium.events.clear()
        chromium.open(f"http://127.0.0.1:{port}")
        chromium.until(READY)
        assert chromium.evaluate("document.querySelector('#tests').hidden")
        (place / "x.png").write_bytes(stored(pet()))
        upload(chromium, place / "x.png")
        seen(chromium, "x.png")
        assert chromium.evaluate("document.querySelectorAll('.overlay').length") == 1
