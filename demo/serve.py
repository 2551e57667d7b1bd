"""A page on this machine that finds the pet on any photograph: `make demo`, for a lecture hall.

One drops a photograph, takes one with the camera or picks one of the test photographs, and sees what each network and
their ensemble find. Python's own web server is enough for that. Gradio would be 100 MB to install, its pages ask other
machines for fonts and scripts, and it reports its use unless it is told not to. Here there is nothing to install, and
the browser refuses whatever would ask another machine.

Instead of probabilities the page gets levels: how many of the 91 thresholds from 0.05 to 0.95 each pixel reaches. So
its masks are exact at each threshold, and the slider needs no answer from here. The Dice comes with them, one for each
threshold, as Python computes it at the photograph's own size.
"""

# --help is answered before the slow imports.

from __future__ import annotations

import argparse
import base64
import errno
import io
import json
import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from commands.published import published
from scoring.options import add_border_option, at_least_1
from utils import Interrupted, Refusal, described, out_of_memory, run

DATASET = ROOT / "dataset/oxford-iiit-pet"
PORTS = 65535


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = described(__doc__)
    add = parser.add_argument
    add("--weights", nargs="+", type=Path, metavar="W", help="default: those in published/")
    add("--data", type=Path, metavar="FOLDER", help=f"test photographs; default: {DATASET.relative_to(ROOT)}, if there")
    add_border_option(parser)
    add("--port", type=at_least_1, default=8000, metavar="N", help="default: 8000; the next free one where it is taken")
    add("--no-browser", action="store_true", help="print the address and open nothing")
    args = parser.parse_args(words)
    if args.port > PORTS:
        parser.error(f"argument --port: {args.port} is more than {PORTS}")
    return args


if __name__ == "__main__":
    ARGS = arguments()

import numpy as np
import torch
from PIL import Image

from commands.overlay import TINT
from inference import Opened, colours, open_squares, predicted, thresholds
from oxford_pet import BORDERS, foreground
from photos import Unusable, as_drawn_on, open_pair, open_photo, open_trimap, opened, pictures_in, rgb
from report.looks import looks
from scoring.predict import Predictor
from scoring.splits import entries_of, trimaps_of
from shared import checkpoint, device
from shared.thresholds import THRESHOLDS, dice_by_threshold

SHOWN, THUMBNAIL = 1024, 160  # pixels: longest side of a photograph on the page, and of the small ones to pick from
MOST = 50 << 20  # bytes of an upload
PATIENCE = 30  # seconds for a browser that stops in the middle of a request
HERE = ("127.0.0.1", "localhost")
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    # Nothing can be asked of another machine. The pictures of an answer are data, not files.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
CHOOSE = "choose another: JPEG, PNG, GIF, WebP, BMP, TIFF and AVIF can be read"


# --- what the page is told --------------------------------------------------------------------------------------------


class Demo:
    """The networks, and the test photographs with their masks by name."""

    def __init__(self, files: Sequence[Path], tests: dict[str, tuple[Path, Path]], border: str) -> None:
        loaded = [checkpoint.load(file) for file in files]
        where = device.setup(torch.get_num_threads())
        self.predictors = [Predictor(weights, "none", where) for weights in loaded]
        self.sides = {weights.image_size for weights in loaded}
        self.tests, self.border = tests, border
        # One photograph at a time, which keeps all cores busy, and in one thread: each thread keeps memory of its own.
        self.worker = ThreadPoolExecutor(1)
        names = [weights.network for weights in loaded]
        titles = [look.title for look in looks(names).values()]
        if len(titles) < len(names):  # several of one network
            titles = [file.stem for file in files]
        about = [describe(predictor) for predictor in self.predictors]
        if len(loaded) > 1:
            titles, about = [*titles, "Ensemble"], [*about, "the mean of their probabilities"]
        keys = ("title", "about", "colour", "threshold")
        nearest = [round(threshold, 2) for threshold in thresholds(loaded, None)]  # an ensemble's may lie between two
        columns = zip(titles, about, colours(names), nearest, strict=True)
        self.networks = [dict(zip(keys, column, strict=True)) for column in columns]

    def start(self) -> dict[str, Any]:
        return {
            "networks": self.networks,
            "thresholds": THRESHOLDS,
            "tests": list(self.tests),
            "border": BORDERS[self.border],
            "most": MOST,
            "tint": TINT,
        }

    def own(self, file: Path) -> dict[str, Any]:
        """A photograph of which nothing is known."""
        return self.worker.submit(lambda: self.answer(open_squares(file, self.sides), None)).result()

    def test(self, name: str) -> dict[str, Any]:
        return self.worker.submit(lambda: self.answer(*self.open_test(*self.tests[name]))).result()

    def open_test(self, photograph: Path, mask: Path) -> tuple[Opened, Image.Image]:
        trimap = open_trimap(mask)
        squares = {side: np.asarray(open_pair(photograph, mask, side)[0])[..., :3] for side in self.sides}
        with opened(photograph) as image:
            photo = rgb(as_drawn_on(image, trimap.size))
        return Opened(photo, squares), trimap

    def answer(self, one: Opened, trimap: Image.Image | None) -> dict[str, Any]:
        photo = one.photo.copy()
        photo.thumbnail((SHOWN, SHOWN))
        own = [predicted(predictor, [one])[0] for predictor in self.predictors]
        found: dict[str, Any] = {
            "own": one.photo.size,
            "shown": photo.size,
            "photo": f"data:image/png;base64,{text(png(photo))}",
            "levels": [text(level.numpy().tobytes()) for level in levels(maps(own, photo.size))],
        }
        if trimap is not None:
            at_own_size = maps(own, trimap.size)[None]
            truth = torch.from_numpy(np.asarray(trimap).copy())[None]
            shown = np.asarray(trimap.resize(photo.size, Image.Resampling.NEAREST))
            found["truth"] = text(foreground(shown, self.border).tobytes())
            found["dice"] = dice_by_threshold(at_own_size, truth, self.border)[0].tolist()
        return found

    def thumbnail(self, name: str) -> bytes:
        photo = self.worker.submit(lambda: open_photo(self.tests[name][0])).result()
        photo.thumbnail((THUMBNAIL, THUMBNAIL))
        return png(photo)


def describe(predictor: Predictor) -> str:
    parameters = sum(parameter.numel() for parameter in predictor.network.parameters())
    side = predictor.weights.image_size
    return f"{parameters:,} parameters, sees {side} × {side} pixels"


def maps(own: Sequence[np.ndarray], size: tuple[int, int]) -> torch.Tensor:
    """Each network's probabilities at this (width, height); of several also their mean, the last."""
    sized = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in own]
    return torch.from_numpy(np.stack([*sized, np.mean(sized, axis=0)] if len(sized) > 1 else sized))


def levels(probabilities: torch.Tensor) -> torch.Tensor:
    """How many of THRESHOLDS each pixel reaches: at the threshold with index i, those above i are pet."""
    return torch.bucketize(probabilities, probabilities.new_tensor(THRESHOLDS), right=True).to(torch.uint8)


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


# --- the server -------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """A request that gets this status and this line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Server(ThreadingHTTPServer):
    request_queue_size = 64  # browsers that may wait to be let in
    allow_reuse_port = False  # a second server would get some of the requests

    def __init__(self, port: int, demo: Demo) -> None:
        super().__init__((HERE[0], port), Handler)
        self.demo = demo

    def server_bind(self) -> None:
        """Without the base class's question for this machine's name, which may go to another machine."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HERE[0], self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # the browser went away
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = PATIENCE

    def do_GET(self) -> None:
        self.answer(self.got)

    def do_POST(self) -> None:
        self.answer(self.posted)

    def answer(self, find: Callable[[], tuple[str, bytes]]) -> None:
        """What is asked for, its kind first; else a line that says why not."""
        try:
            self.refuse_strangers()
            status, (kind, content) = 200, find()
        except Exception as error:
            status, line = refusal(error)
            kind, content = "text/plain; charset=utf-8", line.encode()
        self.send_response(status)
        for name, value in (HEADERS | {"Content-Type": kind, "Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def refuse_strangers(self) -> None:
        """Other pages in this browser must not use this one, even under a name that they lead to this machine."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if host.rpartition(":")[0] not in HERE and host not in HERE:
            raise Refused(403, f"this page is at {HERE[0]} only")
        if origin not in (None, f"http://{host}"):
            raise Refused(403, "only the page itself may ask")

    def got(self) -> tuple[str, bytes]:
        url, demo = urlsplit(self.path), self.server.demo
        if url.path in FILES:
            name, kind = FILES[url.path]
            return kind, (Path(__file__).parent / name).read_bytes()
        if url.path == "/start":
            return as_json(demo.start())
        if url.path in ("/test", "/thumbnail"):
            name = parse_qs(url.query).get("name", [""])[0]
            if name not in demo.tests:
                raise Refused(404, "no such test photograph")
            return as_json(demo.test(name)) if url.path == "/test" else ("image/png", demo.thumbnail(name))
        raise Refused(404, "no such page")

    def posted(self) -> tuple[str, bytes]:
        """The file lies on the disk while it waits for its turn, and nowhere after that."""
        if self.path != "/segment":
            raise Refused(404, "no such page")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refused(411, "the request does not say how long the photograph is")
        left = int(length)
        if left > MOST:
            raise Refused(413, f"the photograph has more than {MOST >> 20} MB; {CHOOSE}")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "photograph"
            with file.open("wb") as upload:
                while left and (chunk := self.rfile.read(min(left, 1 << 20))):
                    upload.write(chunk)
                    left -= len(chunk)
            return as_json(self.server.demo.own(file))

    def log_message(self, *_: object) -> None:
        """A line for each request would hide the address."""


def as_json(content: dict[str, Any]) -> tuple[str, bytes]:
    return "application/json", json.dumps(content).encode()


def refusal(error: Exception) -> tuple[int, str]:
    match error:
        case Refused():
            return error.status, str(error)
        case Unusable():
            return 422, f"{error.path.name} {error}; {CHOOSE}"
        case MemoryError() | RuntimeError() if out_of_memory(error):
            return 503, "this machine has no memory left for the photograph; choose a smaller one or end other programs"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return 507, f"no room for the photograph in {tempfile.gettempdir()}; make room, choose it again"
    raise error


# --- the command ------------------------------------------------------------------------------------------------------


def main(args: argparse.Namespace) -> None:
    weights = args.weights or published()
    if not weights:
        raise Refusal(
            "published/: holds no weights; `git checkout published` fetches them, or name some: --weights W ..."
        )
    demo = Demo(weights, test_photographs(args.data), args.border or "pet")
    with open_server(args.port, demo) as server:
        address = f"http://{HERE[0]}:{server.server_port}"
        print(f"{address}\nCtrl-C ends it", flush=True)
        if not args.no_browser and has_screen():
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        try:
            server.serve_forever()
        except Interrupted:
            demo.worker.shutdown(cancel_futures=True)
            print()


def test_photographs(folder: Path | None) -> dict[str, tuple[Path, Path]]:
    """By name: photograph and mask. None where no folder is named and the dataset is not here."""
    if folder is None:
        if not (DATASET / "annotations/test.txt").is_file():
            return {}
        folder = DATASET
    photographs, masks = pictures_in(folder / "images", ".jpg"), pictures_in(trimaps_of(folder), ".png")
    names = [entry.name for entry in entries_of(folder, "test")]
    found = {name: (photographs[name], masks[name]) for name in names if name in photographs and name in masks}
    if not found:
        raise Refusal(f"{folder}: has none of its test photographs with a mask; name another with --data")
    return found


def open_server(port: int, demo: Demo) -> Server:
    """At this port or the next free one."""
    for free in range(port, PORTS + 1):
        try:
            return Server(free, demo)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    raise Refusal(f"no port from {port} on is free; name a lower one with --port")


def has_screen() -> bool:
    """Without one, Python would open a browser in this terminal."""
    return sys.platform != "linux" or not {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"}.isdisjoint(os.environ)


if __name__ == "__main__":
    run(lambda: main(ARGS))
