"""Servers on this machine for DVC's remotes, SSH and S3, and a cable to them that a test can cut."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

LOCAL = "127.0.0.1"
START = 120  # seconds after which a server that does not answer counts as stuck
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
SSHD_CONFIG = """
HostKey {folder}/host
AuthorizedKeysFile {folder}/student.pub
ListenAddress 127.0.0.1:{port}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""
# As root, sshd wants the folder /run/sshd: it gets one that no other process sees.
PRIVATE_RUN = 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"'


class Cable:
    """A TCP port that leads to another one. A test may cut it after some bytes, or let it fall silent after them."""

    def __init__(self, port: int) -> None:
        self.target = (LOCAL, port)
        self.listener = socket.create_server((LOCAL, 0))
        self.port: int = self.listener.getsockname()[1]
        self.mend()
        threading.Thread(target=self.accept, daemon=True).start()

    def cut(self, after: float, silent: bool = False) -> None:
        """From then on every connection is reset, also new ones. A silent cable keeps them and loses what they send."""
        self.left, self.silent = after, silent

    def mend(self) -> None:
        self.cut(float("inf"))

    def accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self.listener.accept()
                threading.Thread(target=self.carry, args=[near], daemon=True).start()

    def carry(self, near: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            near,
            socket.create_connection(self.target) as far,
            selectors.DefaultSelector() as waiting,
        ):
            for end, other in ((near, far), (far, near)):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # to close is to reset
                waiting.register(end, selectors.EVENT_READ, other)
            while self.left > 0 or self.silent:
                for key, _ in waiting.select(timeout=0.2):
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(1 << 14)
                    if not data:
                        return
                    self.left -= len(data)
                    if self.left > 0:
                        key.data.sendall(data)

    def close(self) -> None:
        self.cut(after=0)
        self.listener.shutdown(socket.SHUT_RDWR)  # ends the thread that accepts
        self.listener.close()


def free_port() -> int:
    with socket.create_server((LOCAL, 0)) as listener:
        return listener.getsockname()[1]


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOCAL, port)):
        return True
    return False


@contextlib.contextmanager
def serving(port: int, log: Path, words: list[str], **env: str) -> Iterator[Cable]:
    """A process that answers at this port, through a cable; one that cannot start here is a reason to skip."""
    with log.open("w", encoding="utf-8") as out:
        server = subprocess.Popen(words, stdout=out, stderr=out, env=os.environ | env)
    try:
        end = time.monotonic() + START
        while not answers(port):
            assert time.monotonic() < end
            if server.poll() is not None:
                pytest.skip(f"{words[0]} does not start here: {log.read_text(encoding='utf-8').strip()}")
            time.sleep(0.1)
        with contextlib.closing(Cable(port)) as cable:
            yield cable
    finally:
        server.terminate()
        server.wait()


def needs(*packages: str) -> None:
    missing = [package for package in packages if not find_spec(package)]
    if missing:
        pytest.skip(f"needs `make extra`: {', '.join(missing)} is missing")


@contextlib.contextmanager
def ssh(folder: Path) -> Iterator[Cable]:
    """OpenSSH's server for the user of this process; it knows the key `student`, not the key `stranger`."""
    needs("dvc_ssh")
    if not SSHD or not shutil.which("ssh-keygen"):
        pytest.skip("needs sshd and ssh-keygen (Debian: openssh-server)")
    for name in ("host", "student", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port = free_port()
    config = folder / "sshd_config"
    config.write_text(SSHD_CONFIG.format(folder=folder, port=port), encoding="utf-8")
    words = [SSHD, "-D", "-e", "-f", str(config)]
    if os.getuid() == 0 and not Path("/run/sshd").exists():
        words = ["unshare", "--mount", "sh", "-c", PRIVATE_RUN, "sh", *words]
    with serving(port, folder / "log", words) as cable:
        yield cable


@contextlib.contextmanager
def s3(folder: Path, disk: Path) -> Iterator[Cable]:
    """moto's server; it lets everyone in until `only_student`, and keeps what is larger than a byte on this disk."""
    needs("dvc_s3", "moto", "flask", "flask_cors")
    port = free_port()
    words = [sys.executable, "-m", "moto.server", "-H", LOCAL, "-p", str(port)]
    with serving(port, folder / "log", words, TMPDIR=str(disk), MOTO_S3_DEFAULT_KEY_BUFFER_SIZE="1") as cable:
        yield cable
