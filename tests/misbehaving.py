"""A local HTTP server that behaves as a test tells it to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Request(BaseHTTPRequestHandler):
    """One request; `files` are what the server has, `paths` and `starts` what was asked so far."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.starts.append(self.start)
        self.close_connection = True
        self.server.behave(self)

    do_CONNECT = do_GET  # what a proxy is asked for an https address

    @property
    def content(self) -> bytes:
        return self.server.files.get(self.path.rsplit("/", 1)[-1], b"")

    @property
    def start(self) -> int:
        """Where the client wants to go on."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def answer(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def give(self, upto: int | None = None, ranges: bool = True) -> None:
        """The file as a good server gives it; the connection ends before byte `upto` of the file."""
        whole, start = self.content, self.start if ranges else 0
        if self.path.rsplit("/", 1)[-1] not in self.server.files:
            self.answer(404, b"no such file")
        elif start > len(whole) or (start and start == len(whole)):
            self.answer(416, Content_Range=f"bytes */{len(whole)}")
        elif start:
            told = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
            self.answer(206, whole[start:upto], len(whole) - start, Content_Range=told)
        else:
            self.answer(200, whole[:upto], len(whole))

    def fall_silent(self) -> None:
        """Until the client hangs up."""
        self.rfile.read(1)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, files: dict[str, bytes], behave: Callable[[Request], None]) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.files, self.behave = files, behave
        self.paths: list[str] = []
        self.starts: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news here."""


@contextmanager
def serving(files: dict[str, bytes], behave: Callable[[Request], None] = Request.give) -> Iterator[Server]:
    with Server(files, behave) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]
