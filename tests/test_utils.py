"""What every stage and command shares."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
STAGE = """
import pathlib, signal, sys, time
def stop(*_):
    pathlib.Path("said").write_text("stopped")
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
pathlib.Path("said").write_text("started")
time.sleep(60)
"""
DVC = f"""
import signal, subprocess, sys
signal.signal(signal.SIGINT, lambda *_: None)
sys.exit(subprocess.call([sys.executable, "-c", {STAGE!r}]))
"""
COMMAND = f"""
import sys
sys.path.insert(0, {str(SRC)!r})
import utils
utils.run(lambda: utils.exit_code([sys.executable, "-c", {DVC!r}]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_stops_a_command_stops_what_it_has_started(number: int, tmp_path: Path) -> None:
    """And it ends after that, so nothing goes on alone."""
    said = tmp_path / "said"
    with subprocess.Popen([sys.executable, "-c", COMMAND], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as command:
        while not said.exists() or said.read_text() != "started":
            assert command.poll() is None
            time.sleep(0.05)
        command.send_signal(number)
        assert command.wait(60) == 128 + number
        assert command.stderr and "nothing half-written was kept" in command.stderr.read()
    assert said.read_text() == "stopped"
