"""One file over HTTP, from servers that misbehave in every way seen so far."""

from __future__ import annotations

import gzip
import hashlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from download import checker
from misbehaving import Request, closed_port, serving
from reliability import fault
from source import fetch as fetching
from source.archives import gzip_fault
from source.fetch import Missing, fetch
from utils import Refusal

CONTENT = gzip.compress(random.Random(1).randbytes(50_000), mtime=0)
MD5 = hashlib.md5(CONTENT).hexdigest()
NAME = "x.tar.gz"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "BACKOFF", 0.001)
    monkeypatch.setattr(fetching, "STALL", 3.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers that are given up anyway."""
    monkeypatch.setattr(fetching, "STALL", 0.1)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two tries, which pass at once."""
    found: list[float] = []
    monkeypatch.setattr(fetching, "BACKOFF", 1.0)
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def get(tmp_path: Path, *urls: str, md5: str | None = MD5) -> bytes:
    fetch([f"{url}/{NAME}" for url in urls], tmp_path / NAME, checker(md5))
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME]
    return (tmp_path / NAME).read_bytes()


def refusal(tmp_path: Path, behave: Callable[[Request], None], md5: str | None = MD5) -> str:
    """What is said of a server that never gives the file, which must not have its name then."""
    with serving({NAME: CONTENT}, behave) as server, pytest.raises(Refusal) as caught:
        get(tmp_path, server.url, md5=md5)
    assert not (tmp_path / NAME).exists()
    assert f"{server.url}/{NAME}" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("md5", [MD5, None])
def test_a_good_server_is_asked_once(tmp_path: Path, md5: str | None) -> None:
    with serving({NAME: CONTENT}) as server:
        assert get(tmp_path, server.url, md5=md5) == CONTENT
        assert server.starts == [0]


@fault("Input", "a connection that is cut, however often", "it goes on where it was")
@pytest.mark.parametrize("cut", [0, 1, 2, 9, 10, 100, 4095, 4096, 30_000, len(CONTENT) - 1])
def test_a_cut_connection_goes_on_where_it_was(tmp_path: Path, cut: int) -> None:
    def behave(request: Request) -> None:
        request.give(upto=None if len(request.server.starts) > 1 else cut)

    with serving({NAME: CONTENT}, behave) as server:
        assert get(tmp_path, server.url) == CONTENT
        assert server.starts == [0, cut]


@fault("Input", "a connection that is cut, however often", "it goes on where it was")
def test_a_connection_cut_far_more_often_than_there_are_tries(tmp_path: Path) -> None:
    step = len(CONTENT) // 20
    with serving({NAME: CONTENT}, lambda request: request.give(upto=request.start + step)) as server:
        assert get(tmp_path, server.url) == CONTENT
        assert len(server.starts) > 3 * fetching.TRIES


@fault("Killed", "a download, halfway or just before it is named", "the next run goes on where it was")
def test_the_next_run_goes_on_where_this_one_stopped(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1234])
    with serving({NAME: CONTENT}) as server:
        assert get(tmp_path, server.url) == CONTENT
        assert server.starts == [1234]


@fault("Killed", "a download, halfway or just before it is named", "the next run goes on where it was")
def test_a_part_that_is_whole_is_only_checked(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    with serving({NAME: CONTENT}) as server:
        assert get(tmp_path, server.url) == CONTENT
        assert server.starts == [len(CONTENT)]


@fault("Corruption", "the part of an unfinished download", "found out by the checksum, downloaded again")
@pytest.mark.parametrize("md5", [MD5, None])
@pytest.mark.parametrize("rest", [b"\x1f\x8b another file", CONTENT[:500] + b"?", CONTENT + b"too long"])
def test_a_part_of_something_else_is_thrown_away(tmp_path: Path, rest: bytes, md5: str | None) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(rest)
    with serving({NAME: CONTENT}) as server:
        assert get(tmp_path, server.url, md5=md5) == CONTENT
        assert server.starts == [len(rest), 0]


@fault("Input", "a server that cannot go on in the middle, or does so elsewhere", "asked for the whole file again")
def test_a_server_without_ranges_is_asked_for_all_of_it_again(tmp_path: Path) -> None:
    def behave(request: Request) -> None:
        request.give(upto=None if len(request.server.starts) > 2 else 1000, ranges=False)

    with serving({NAME: CONTENT}, behave) as server:
        assert get(tmp_path, server.url) == CONTENT
        assert server.starts == [0, 1000, 1000]


@fault("Input", "a server that cannot go on in the middle, or does so elsewhere", "asked for the whole file again")
@pytest.mark.parametrize("told", [f"bytes 500-{len(CONTENT) - 1}/{len(CONTENT)}", f"bytes */{len(CONTENT)}", "", None])
def test_a_server_that_sends_another_range_than_asked_or_does_not_say(tmp_path: Path, told: str | None) -> None:
    def behave(request: Request) -> None:
        headers = {} if told is None else {"Content_Range": told}
        request.answer(206, CONTENT[500:], None, **headers) if request.start else request.give()

    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    with serving({NAME: CONTENT}, behave) as server:
        assert get(tmp_path, server.url) == CONTENT
        assert server.starts == [1000, 0]


@fault("Input", "a server that cannot go on in the middle, or does so elsewhere", "asked for the whole file again")
def test_a_server_that_refuses_every_range(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    with serving({NAME: CONTENT}, lambda r: r.answer(416) if r.start else r.give()) as server:
        assert get(tmp_path, server.url) == CONTENT


@fault("Input", "a server that tells a wrong length, or none", "found out, tried again; else one line")
def test_a_length_that_is_too_long(tmp_path: Path) -> None:
    said = refusal(tmp_path, lambda request: request.answer(200, CONTENT, len(CONTENT) + 100))
    assert f"ended after {len(CONTENT):,} of {len(CONTENT) + 100:,} bytes" in said


@fault("Input", "a server that tells a wrong length, or none", "found out, tried again; else one line")
@pytest.mark.parametrize(("md5", "reason"), [(MD5, "MD5"), (None, "damaged")])
def test_a_length_that_is_too_short(tmp_path: Path, md5: str | None, reason: str) -> None:
    assert reason in refusal(tmp_path, lambda request: request.answer(200, CONTENT, len(CONTENT) - 100), md5)


@fault("Input", "a server that tells a wrong length, or none", "found out, tried again; else one line")
def test_no_length_and_a_connection_that_breaks(tmp_path: Path) -> None:
    """Without a length, a broken connection looks like the end of the file: only the checksum tells."""

    def behave(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(CONTENT if len(request.server.starts) > 1 else CONTENT[:1000])

    with serving({NAME: CONTENT}, behave) as server:
        assert get(tmp_path, server.url, md5=None) == CONTENT


def test_an_answer_in_chunks(tmp_path: Path) -> None:
    def behave(request: Request) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for start in range(0, len(CONTENT), 7000):
            chunk = CONTENT[start : start + 7000]
            request.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        request.wfile.write(b"0\r\n\r\n")

    with serving({NAME: CONTENT}, behave) as server:
        assert get(tmp_path, server.url) == CONTENT


def test_an_archive_labelled_as_packed_in_transit_is_kept_packed(tmp_path: Path) -> None:
    with serving({NAME: CONTENT}, lambda r: r.answer(200, CONTENT, Content_Encoding="gzip")) as server:
        assert get(tmp_path, server.url) == CONTENT


@fault("Input", "a server that has another file under this name", "refused by its checksum, one line")
@pytest.mark.parametrize(("md5", "reason"), [(MD5, f"not {MD5}"), (None, "not a sound gzip")])
def test_another_file_under_this_name(tmp_path: Path, md5: str | None, reason: str) -> None:
    assert reason in refusal(tmp_path, lambda request: request.answer(200, b"something else"), md5)


@fault("Input", "a login page in place of a file", "refused at its first byte, one line")
def test_a_web_page_in_place_of_the_file(tmp_path: Path) -> None:
    page = b"\n <!DOCTYPE html><html>Please log in to this network</html>"
    assert "web page" in refusal(tmp_path, lambda request: request.answer(200, page, Content_Type="text/html"))


@fault("Input", "a server that falls silent or trickles", "given up after half a minute, one line")
@pytest.mark.usefixtures("hurried")
def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    assert "nothing came" in refusal(tmp_path, Request.fall_silent)


@fault("Input", "a server that falls silent or trickles", "given up after half a minute, one line")
@pytest.mark.usefixtures("hurried")
def test_a_server_that_falls_silent_halfway(tmp_path: Path) -> None:
    def behave(request: Request) -> None:
        request.give(upto=request.start + 100 if request.start < 500 else request.start)
        request.fall_silent()

    assert "nothing came" in refusal(tmp_path, behave)


@fault("Input", "a server that falls silent or trickles", "given up after half a minute, one line")
def test_a_server_that_trickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then, for as long as anyone listens."""
    monkeypatch.setattr(fetching, "STALL", 0.5)
    monkeypatch.setattr(fetching, "TRIES", 1)

    def behave(request: Request) -> None:
        request.answer(200, b"", len(CONTENT))
        for place in range(len(CONTENT)):
            request.wfile.write(CONTENT[place : place + 1])
            time.sleep(0.02)

    assert "bytes a second" in refusal(tmp_path, behave)


def test_the_folder_of_a_file_is_made(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / NAME
    with serving({NAME: CONTENT}) as server:
        fetch([f"{server.url}/{NAME}"], target, checker(MD5))
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("begun", "length", "needed"),
    [(0, len(CONTENT), len(CONTENT)), (1000, len(CONTENT), len(CONTENT) - 1000), (0, 10**15, 4 << 30)],
)
def test_room_is_asked_for_what_is_missing_and_no_more_than_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: int, length: int, needed: int
) -> None:
    def too_little(_: Path, size: int) -> None:
        raise Refusal(f"{size} bytes are needed")

    def behave(request: Request) -> None:
        request.give() if length == len(CONTENT) else request.answer(200, CONTENT, length)

    monkeypatch.setattr(fetching, "require_room", too_little)
    if begun:
        (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:begun])
    with serving({NAME: CONTENT}, behave) as server, pytest.raises(Refusal, match=f"^{needed} bytes are needed"):
        get(tmp_path, server.url)


@fault("Hostile", "a server that never stops sending", "cut off, one line")
def test_a_flood_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 20_000)
    assert "more than 20,000 bytes" in refusal(tmp_path, Request.give)


@fault("Input", "a server that is busy", "asked again, up to five times; else one line")
@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_busy_server_is_asked_again(tmp_path: Path, status: int) -> None:
    def behave(request: Request) -> None:
        request.give() if len(request.server.starts) > 2 else request.answer(status)

    with serving({NAME: CONTENT}, behave) as server:
        assert get(tmp_path, server.url) == CONTENT


@fault("Input", "a server that is busy", "asked again, up to five times; else one line")
def test_a_server_that_is_always_busy(tmp_path: Path) -> None:
    assert "503" in refusal(tmp_path, lambda request: request.answer(503))


@fault("Input", "a server that is busy", "asked again, up to five times; else one line")
def test_the_pauses_grow_while_nothing_comes(tmp_path: Path, waits: list[float]) -> None:
    with serving({}, lambda request: request.answer(503)) as server, pytest.raises(Refusal, match=r"503 .*\(5 times\)"):
        get(tmp_path, server.url)
    assert waits == [1, 2, 4, 8]
    assert server.starts == [0] * 5


def test_the_pauses_begin_anew_when_something_came(tmp_path: Path, waits: list[float]) -> None:
    """Every third request brings a fifth of the file."""
    step = -(-len(CONTENT) // 5)

    def behave(request: Request) -> None:
        count = len(request.server.starts)
        request.give(upto=request.start + step) if count % 3 == 0 else request.answer(503)

    with serving({NAME: CONTENT}, behave) as server:
        assert get(tmp_path, server.url) == CONTENT
        assert server.starts == [place for place in (0, step, 2 * step, 3 * step, 4 * step) for _ in range(3)]
    assert waits == [1, 2, *[1, 2, 4] * 4]


def test_bytes_that_were_here_before_are_nothing_new(tmp_path: Path, waits: list[float]) -> None:
    """A server that sends the same beginning each time, and cannot go on, is given up."""
    with (
        serving({NAME: CONTENT}, lambda request: request.give(upto=1000, ranges=False)) as server,
        pytest.raises(Refusal, match="connection ended after 1,000"),
    ):
        get(tmp_path, server.url)
    assert waits == [1, 2, 4, 8]
    assert server.starts == [0, *[1000] * 4]


def test_a_mirror_with_another_file_is_asked_once(tmp_path: Path, waits: list[float]) -> None:
    with serving({NAME: gzip.compress(b"another")}) as wrong, serving({NAME: CONTENT}) as good:
        assert get(tmp_path, wrong.url, good.url) == CONTENT
        assert (wrong.starts, good.starts) == ([0], [0])
    assert waits == []


class Answer:
    """One whose bytes come at known seconds: a pair is (seconds since the last, bytes)."""

    status_code = 200

    def __init__(self, pieces: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch) -> None:
        self.raw, self.pieces, self.now = self, iter(pieces), 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def read1(self, _: int) -> bytes:
        seconds, count = next(self.pieces, (0, 0))
        self.now += seconds
        return bytes(count)


@pytest.mark.parametrize(
    ("pieces", "arrived"),
    [
        ([(1, 500)] * 100, 50_000),  # a slow server is waited for: 500 bytes a second are enough
        ([(1, 499)] * 100, None),
        ([(1, 1)] * 30, 30),  # not yet half a minute
        ([(1, 1)] * 31, None),
        ([(1, 1)] * 30 + [(1, 20_000)], 20_030),  # just in time
        ([(1, 10**6)] * 31 + [(1, 500)] * 62, 31_031_000),
        ([(1, 10**6)] * 31 + [(1, 499)] * 31, None),  # what came before does not count
        ([(1, 10**6)] * 31 + [(1, 10)] * 30, 31_000_300),  # the second half minute is not over
    ],
)
def test_a_rate_is_measured_over_each_half_minute(
    monkeypatch: pytest.MonkeyPatch, pieces: list[tuple[float, int]], arrived: int | None
) -> None:
    monkeypatch.setattr(fetching, "STALL", 30.0)
    answer: Any = Answer(pieces, monkeypatch)
    if arrived is None:
        with pytest.raises(fetching._Broken, match="fewer than 500 bytes a second came"):
            list(fetching._chunks(answer))
    else:
        assert sum(map(len, fetching._chunks(answer))) == arrived


@fault("Input", "servers that do not have the file", "each asked once, each named in one line")
@pytest.mark.parametrize("status", [401, 404, 410])
def test_a_server_without_the_file_is_asked_once(tmp_path: Path, status: int) -> None:
    with serving({}, lambda request: request.answer(status)) as server, pytest.raises(Refusal, match=str(status)) as no:
        get(tmp_path, server.url)
    assert server.starts == [0]
    assert isinstance(no.value, Missing) == (status != 401)


def test_a_redirect_is_followed(tmp_path: Path) -> None:
    def behave(request: Request) -> None:
        request.give() if "moved" in request.path else request.answer(302, Location=f"/moved/{NAME}")

    with serving({NAME: CONTENT}, behave) as server:
        assert get(tmp_path, server.url) == CONTENT


@fault("Input", "redirects in a circle", "one line")
def test_a_redirect_in_a_circle(tmp_path: Path) -> None:
    assert "circle" in refusal(tmp_path, lambda request: request.answer(302, Location=request.path))


@fault("Hostile", "a redirect to a file of this machine", "refused")
@pytest.mark.parametrize("scheme", ["file", "ftp"])
def test_a_redirect_out_of_the_web(tmp_path: Path, scheme: str) -> None:
    """To a file that is there, and is the very one that is wanted."""
    here = tmp_path / "elsewhere" / NAME
    here.parent.mkdir()
    here.write_bytes(CONTENT)
    with (
        serving({}, lambda request: request.answer(302, Location=f"{scheme}://{here}")) as server,
        pytest.raises(Refusal, match=rf"no way to ask: No connection adapters were found for '{scheme}:"),
    ):
        fetch([f"{server.url}/{NAME}"], tmp_path / NAME, checker(MD5))
    assert server.starts == [0]
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


@fault("Input", "a mirror that fails halfway", "the next one goes on from there")
def test_the_next_mirror_goes_on_with_the_part_of_the_last(tmp_path: Path) -> None:
    with (
        serving({NAME: CONTENT}, lambda request: request.give(upto=5000)) as cut,
        serving({}) as without,
        serving({NAME: CONTENT}) as good,
    ):
        nobody = f"http://127.0.0.1:{closed_port()}"
        assert get(tmp_path, nobody, cut.url, without.url, good.url) == CONTENT
        assert good.starts == [5000]


@fault("Input", "servers that do not have the file", "each asked once, each named in one line")
def test_every_mirror_is_named_when_none_gives_the_file(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{closed_port()}"
    with serving({}) as without, pytest.raises(Refusal) as caught:
        get(tmp_path, nobody, without.url)
    assert not isinstance(caught.value, Missing)
    assert nobody in str(caught.value) and f"{without.url}/{NAME}: the server answered 404" in str(caught.value)
    assert "\n" not in str(caught.value)


@fault("Input", "an address that is none", "one line")
def test_an_address_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no way to ask"):
        fetch(["http://"], tmp_path / NAME, gzip_fault)


PROXIED = "mirror.invalid"  # no name server knows it, so only a proxy can give it


def use_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, url)


def test_a_file_comes_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({NAME: CONTENT}) as proxy:
        use_proxy(monkeypatch, proxy.url)
        fetch([f"http://{PROXIED}/pets/{NAME}"], tmp_path / NAME, checker(MD5))
        assert proxy.paths == [f"http://{PROXIED}/pets/{NAME}"]
    assert (tmp_path / NAME).read_bytes() == CONTENT


@fault("Input", "a proxy that refuses, or that is not there", "one line that names the variable; no file")
@pytest.mark.parametrize("there", [True, False])
def test_a_proxy_that_gives_no_connection_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    with serving({}, lambda request: request.answer(403)) as proxy:
        use_proxy(monkeypatch, proxy.url if there else f"http://127.0.0.1:{closed_port()}")
        with pytest.raises(Refusal, match=r"the proxy gives no connection \(HTTPS_PROXY"):
            fetch([f"https://{PROXIED}/{NAME}"], tmp_path / NAME, checker(MD5))
        assert set(proxy.paths) == ({f"{PROXIED}:443"} if there else set())
    assert not (tmp_path / NAME).exists()
