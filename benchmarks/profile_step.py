"""Where a training step goes on a CPU: the operators by their own time, both networks at full width."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import torch
from torch.profiler import ProfilerActivity, profile

from bench_training import trainer
from models import network_class
from place import NETWORKS, noise
from shared.device import cpu
from utils import run

SIDE, BATCH, THREADS, SHOWN = 256, 8, 1, 12


def main() -> None:
    torch.set_num_threads(THREADS)
    where, pixels = torch.device("cpu"), noise(BATCH, SIDE)
    for name in NETWORKS:
        step = trainer(network_class(name)(), pixels, BATCH, where)
        step.fit(pixels, 0, lambda *_: None)  # warms up
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as found:
            step.fit(pixels, 0, lambda *_: None)
        averages = sorted(found.key_averages(), key=lambda one: -one.self_cpu_time_total)
        total = sum(one.self_cpu_time_total for one in averages)
        described = f"{SIDE} px, batch {BATCH}, {step.settings.precision}, {THREADS} thread, {cpu()}"
        print(f"{name}, {described}: {total / 1e6:.2f} s a step")
        for one in averages[:SHOWN]:
            print(f"{one.self_cpu_time_total / total:7.1%}  {one.count:4}  {one.key}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    run(main)
