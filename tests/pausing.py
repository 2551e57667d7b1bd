"""Runs a script of src/ whose training stops in the middle of its third epoch, says so, and waits to be killed.

A test that kills a training then knows where it is, however busy the machine is.
"""

from __future__ import annotations

import math
import runpy
import sys
import time
from collections.abc import Sequence

from torch import Tensor

from learning import parallel, resume
from learning.engine import Trainer

step, launch = Trainer.step, parallel.launch


def step_or_pause(self: Trainer, loss: Tensor, number: int) -> None:
    step(self, loss, number)
    if len(self.history) == 2 and parallel.rank() == 0:
        print("the training waits", flush=True)
        time.sleep(3600)


def launch_paused(count: int, command: Sequence[str]) -> None:
    launch(count, [__file__, *command])


if __name__ == "__main__":
    resume.CHEAP = math.inf  # a state is kept after every epoch, however long that takes
    Trainer.step, parallel.launch = step_or_pause, launch_paused  # type: ignore[method-assign]
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
