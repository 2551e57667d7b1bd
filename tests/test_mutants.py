"""The list of changes that nobody sees: each is one that benchmarks/mutants.py would still make."""

from __future__ import annotations

import pytest

import mutants
from training import ROOT


@pytest.mark.parametrize("module", mutants.EQUIVALENT)
def test_every_change_that_alters_nothing_is_a_change_of_the_code(module: str) -> None:
    made = mutants.mutants(module, (ROOT / f"src/{module}.py").read_text(encoding="utf-8"))
    gone = [
        what for begin, what, _ in mutants.EQUIVALENT[module] if not any(mutants.same(one, begin, what) for one in made)
    ]
    assert gone == []
