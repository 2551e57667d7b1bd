"""What is random follows from the seed and its purpose, and from nothing else."""

from __future__ import annotations

import hashlib

import torch
from hypothesis import given
from hypothesis import strategies as st

from learning.seeds import derived_seed, generator

keys = st.lists(st.one_of(st.integers(0, 10**6), st.text("abc", min_size=1)), max_size=4)


def test_the_seeds_are_those_of_every_run_so_far() -> None:
    """Another number here changes every result that was ever committed."""
    assert derived_seed(42, "weights") == 1218831237610215275


@given(st.integers(0, 2**63 - 1), keys)
def test_a_seed_is_the_upper_63_bits_of_a_hash(seed: int, keys: list[str | int]) -> None:
    text = str(seed) + "".join(f"/{key}" for key in keys)
    assert derived_seed(seed, *keys) == int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) // 2


def test_other_arguments_give_other_seeds() -> None:
    """Also where the digits are the same, or the arguments stand in another order."""
    arguments: list[tuple[int, ...]] = [(1, 11), (11, 1), (111,), (1, 1, 1), (11,), (1,), (1, 11, 1)]
    assert len({derived_seed(*several) for several in arguments}) == len(arguments)


def test_a_generator_draws_on_the_cpu_what_its_seed_says() -> None:
    found = generator(42, "order", 3)
    assert found.device.type == "cpu"
    expected = torch.Generator().manual_seed(derived_seed(42, "order", 3))
    assert torch.equal(torch.randperm(100, generator=found), torch.randperm(100, generator=expected))
