"""Randomness without hidden state: every draw is a function of (seed, purpose, epoch)."""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, *keys: str | int) -> int:
    """A 63-bit seed for one purpose; equal arguments give equal seeds on every machine."""
    text = "/".join(str(key) for key in (seed, *keys))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *keys: str | int) -> torch.Generator:
    """A CPU generator for one purpose, so that a GPU or another worker count cannot shift the draws."""
    return torch.Generator().manual_seed(derived_seed(seed, *keys))
