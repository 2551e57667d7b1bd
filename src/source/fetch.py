"""A file over HTTP: resumed, tried again, checked; it gets its name only when it is whole."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import requests
import urllib3

from progress import progress
from utils import Refusal, printable, require_room, writing

TRIES = 5  # in a row that bring nothing new, for each address
BACKOFF = 1.0  # seconds before the second try; doubles with each further one
STALL = 30.0  # seconds without a byte, and over which the slowest rate is measured
SLOWEST = 500  # bytes a second
CHUNK = 1 << 16
MAX_BYTES = 4 << 30  # the official photographs take 0.8 GB
NOT_THERE = (403, 404, 410)
BUSY = (408, 425, 429, 500, 502, 503, 504)


class Missing(Refusal):
    """Every address answered that there is no such file."""


class _Broken(Exception):
    """Worth another try at the same address."""


class _Hopeless(Exception):
    """This address will not give the file; another may."""

    def __init__(self, reason: str, missing: bool = False) -> None:
        super().__init__(reason)
        self.missing = missing


def fetch(urls: Sequence[str], target: Path, fault: Callable[[Path], str | None]) -> None:
    """Bring `target` from the first of `urls` that gives it.

    `fault` says what is wrong with the whole file, None when nothing is: only then does it get its name. What has
    arrived so far waits in `<target>.part`, for the next address and for the next run.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    failures: list[_Hopeless] = []
    for url in urls:
        try:
            return _fetch_from(url, target, fault)
        except _Hopeless as failure:
            print(printable(f"{url}: {failure}"), flush=True)
            failures.append(failure)
    reasons = "; ".join(f"{url}: {failure}" for url, failure in zip(urls, failures, strict=True))
    kind = Missing if all(failure.missing for failure in failures) else Refusal
    raise kind(f"{target.name} could not be downloaded; run again to go on from where it stopped. {reasons}")


def _fetch_from(url: str, target: Path, fault: Callable[[Path], str | None]) -> None:
    part = target.with_name(target.name + ".part")
    furthest, tries = _size(part), 0
    while True:
        try:
            in_one_piece = _receive(url, part)
        except (_Broken, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failure = _classified(error)
            if isinstance(failure, _Hopeless):
                raise failure from None
            reason = str(failure)
        else:
            wrong = fault(part)
            if wrong is None:
                part.replace(target)
                return
            part.unlink()
            if in_one_piece:
                raise _Hopeless(wrong)
            reason = f"{wrong}; starting over"
        tries = 1 if _size(part) > furthest else tries + 1
        furthest = max(furthest, _size(part))
        if tries == TRIES:
            raise _Hopeless(f"{reason} ({TRIES} times)")
        wait = BACKOFF * 2 ** (tries - 1)
        print(printable(f"{target.name}: {reason}; trying again in {wait:g} s"), flush=True)
        time.sleep(wait)


def _receive(url: str, part: Path) -> bool:
    """Bring `part` to its full length; True if it came in one piece and is as long as announced."""
    start = _size(part)
    headers = {"Accept-Encoding": "identity"}  # the bytes of the file, whatever the server would like to pack
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=STALL) as answer:
        start, total = _extent(answer, start, part)
        missing = min(total or start, MAX_BYTES) - start
        require_room(part, missing)
        bar = progress(part.stem, total, "B", start)
        try:
            with writing(part, missing), part.open("ab" if start else "wb") as file, bar:
                for chunk in _chunks(answer):
                    if file.tell() == 0 and chunk.lstrip()[:1] == b"<":
                        raise _Hopeless("sent a web page in place of the file", missing=True)
                    file.write(chunk)
                    bar.update(len(chunk))
                    if file.tell() > MAX_BYTES:
                        raise _Hopeless(f"sends more than {MAX_BYTES:,} bytes")
            ended_well = total is None or _size(part) == total
        except urllib3.exceptions.ProtocolError:
            ended_well = False
    if not ended_well:
        whole = "an unknown number of" if total is None else f"{total:,}"
        raise _Broken(f"the connection ended after {_size(part):,} of {whole} bytes")
    return start == 0 and total is not None


def _extent(answer: requests.Response, start: int, part: Path) -> tuple[int, int | None]:
    """Where the answer's bytes begin within the file, and the length of the whole file where the server tells it."""
    status = answer.status_code
    if status == 200:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    if status in (206, 416):
        told = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
        total = int(told[2]) if told and told[2] != "*" else None
        if status == 206 and told and told[1] and int(told[1]) == start:
            return start, total
        if status == 416 and total == start:
            return start, total
        part.unlink(missing_ok=True)
        raise _Broken("the server cannot go on from the part that is here; starting over")
    if status in BUSY:
        raise _Broken(f"the server answered {status} {answer.reason}")
    raise _Hopeless(f"the server answered {status} {answer.reason}", missing=status in NOT_THERE)


def _chunks(answer: requests.Response) -> Iterator[bytes]:
    """The bytes as they come in: a server that trickles is seen, one that is silent runs into the timeout."""
    if answer.status_code == 416:  # its body is an error message; the file is complete
        return
    begun, received = time.monotonic(), 0
    while chunk := answer.raw.read1(CHUNK):
        yield chunk
        received += len(chunk)
        seconds = time.monotonic() - begun
        if seconds > STALL:
            if received < seconds * SLOWEST:
                raise _Broken(f"fewer than {SLOWEST} bytes a second came")
            begun, received = time.monotonic(), 0


def _classified(error: Exception) -> _Broken | _Hopeless:
    """Is it worth another try?"""
    if isinstance(error, _Broken):
        return error
    if isinstance(error, requests.TooManyRedirects):
        return _Hopeless("redirects in a circle")
    if isinstance(error, requests.exceptions.SSLError):
        return _Hopeless("its certificate is not to be trusted")
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return _Broken(f"nothing came for {STALL:g} s")
    if isinstance(error, requests.exceptions.ProxyError):
        return _Broken("the proxy gives no connection (HTTPS_PROXY or HTTP_PROXY names it)")
    if isinstance(error, requests.ConnectionError):
        return _Broken("no connection")
    return _Hopeless(f"no way to ask: {error}")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
