"""Muon: kernels move in all directions alike, the rest by AdamW."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from learning.muon import Muon, balanced


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.sampled_from([1e-6, 1.0, 1e6]))
def test_singular_values_become_about_equal_and_their_directions_stay(
    rows: int, columns: int, seed: int, size: float
) -> None:
    random = torch.Generator().manual_seed(seed)
    left, _, right = torch.linalg.svd(torch.randn(rows, columns, generator=random), full_matrices=False)
    values = torch.rand(min(rows, columns), generator=random) * 0.9 + 0.1
    (found,) = balanced((left * values * size @ right)[None])
    assert found.shape == (rows, columns)
    there = left.mT @ found @ right.mT
    assert ((there.diagonal() > 0.6) & (there.diagonal() < 1.3)).all()
    torch.testing.assert_close(there, there.diagonal().diag(), atol=0.2, rtol=0)
    torch.testing.assert_close(left @ there @ right, found, atol=0.1, rtol=0)


KERNELS = ["0.weight", "2.weight", "3.weight"]  # of the network below; its last convolution has one output


def network(layout: torch.memory_format = torch.channels_last) -> nn.Sequential:
    torch.manual_seed(0)
    wide = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 8, 1), nn.ConvTranspose2d(8, 12, 2)]
    return nn.Sequential(*wide, nn.Conv2d(12, 1, 3)).to(memory_format=layout)  # type: ignore[call-overload]


def trained(it: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Its parameters after one step."""
    it(torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))).square().mean().backward()
    optimizer.step()
    return [parameter.detach() for parameter in it.parameters()]


def test_what_is_no_kernel_moves_as_by_adamw() -> None:
    muon, adamw = network(), network()
    found = trained(muon, Muon(muon.parameters(), 0.1, 0.5, 0.9))
    expected = trained(adamw, torch.optim.AdamW(adamw.parameters(), 0.1, weight_decay=0.5, fused=True))
    equal = [torch.equal(one, other) for one, other in zip(found, expected, strict=True)]
    names = [name for name, _ in muon.named_parameters()]
    assert [name for name, same in zip(names, equal, strict=True) if not same] == KERNELS


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_kernel_first_decays_then_moves_as_far_in_every_direction(layout: torch.memory_format) -> None:
    it = network(layout)
    before = [it.get_parameter(name).detach().clone() for name in KERNELS]
    trained(it, Muon(it.parameters(), 0.1, 0.5, 0.9))
    for name, old in zip(KERNELS, before, strict=True):
        moved = (it.get_parameter(name).detach() - 0.95 * old).flatten(1)
        values = torch.linalg.svdvals(moved) / (0.1 * 0.2 * max(moved.shape) ** 0.5)
        kept = values[values > 0.01 * values.max()]  # a gradient may have fewer directions than the kernel
        assert kept.max() < 1.3
        assert kept[: len(kept) // 2].min() > 0.6


SHAPES = [(16, 6, 3, 3), (8, 3, 1, 1), (8, 12, 2, 2), (64, 3, 3, 3), (8, 8, 1, 3), (24, 40, 3, 1), (8, 9)]


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.95])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_kernel_moves_as_by_torchs_muon(
    shape: tuple[int, ...], momentum: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch takes matrices only: here a row for each output, its columns in the order of channels_last.

    Its rounds run in bf16; here they are made to run in full precision, as ours do.
    """
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)
    random = torch.Generator().manual_seed(3)
    kernel = nn.Parameter(torch.randn(shape, generator=random))
    matrix = nn.Parameter(as_matrix(kernel).clone())
    ours = Muon([kernel], 0.1, 0.2, momentum)
    theirs = torch.optim.Muon(
        [matrix], 0.1, weight_decay=0.2, momentum=momentum, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    for rate in (0.1, 0.1, 0.05, 0.02):
        for group in (*ours.param_groups, *theirs.param_groups):
            group["lr"] = rate
        kernel.grad = torch.randn(shape, generator=random)
        matrix.grad = as_matrix(kernel.grad).clone()
        ours.step()
        theirs.step()
        torch.testing.assert_close(as_matrix(kernel), matrix, atol=1e-5, rtol=0)


def as_matrix(kernel: torch.Tensor) -> torch.Tensor:
    order = [0, *range(2, kernel.ndim), 1]
    return kernel.detach().permute(order).reshape(len(kernel), -1)


@pytest.mark.parametrize(("rows", "columns"), [(8, 72), (64, 27), (96, 864)])
def test_directions_that_are_almost_nothing_are_as_in_double_precision(rows: int, columns: int) -> None:
    """The iteration as it is written in the papers, against ours, which takes squares of these singular values."""
    random = torch.Generator().manual_seed(1)
    left, _, right = torch.linalg.svd(torch.randn(rows, columns, generator=random), full_matrices=False)
    matrix = left * torch.logspace(0, -6, min(rows, columns)) @ right
    expected = matrix.double() / matrix.double().norm()
    for _ in range(5):
        square = expected @ expected.mT
        expected = 3.4445 * expected + (-4.7750 * square + 2.0315 * square @ square) @ expected
    (found,) = balanced(matrix[None])
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=0)


def test_many_kernels_of_one_shape_move_as_each_alone() -> None:
    random = torch.Generator().manual_seed(5)
    many = [nn.Parameter(torch.randn(16, 8, 3, 3, generator=random)) for _ in range(4)]
    gradients = [torch.randn(16, 8, 3, 3, generator=random) for _ in many]
    alone = [nn.Parameter(kernel.detach().clone()) for kernel in many]
    for kernels in (many, alone):
        for kernel, gradient in zip(kernels, gradients, strict=True):
            kernel.grad = gradient.clone()
    Muon(many, 0.1, 0.5, 0.9).step()
    for kernel in alone:
        Muon([kernel], 0.1, 0.5, 0.9).step()
    for one, other in zip(many, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_a_column_of_a_kernel_moves_by_its_own_gradient() -> None:
    """All of the gradient lies at one place of the kernel: the others only decay."""
    kernel = nn.Parameter(torch.ones(8, 4, 3, 3))
    kernel.grad = torch.zeros_like(kernel)
    kernel.grad[:, 2, 0, 1] = 1
    Muon([kernel], 0.1, 0.5, 0.9).step()
    moved = (kernel.detach() - 0.95).abs() > 1e-3
    assert moved[:, 2, 0, 1].all()
    assert moved.sum() == 8


@pytest.mark.parametrize(("outputs", "balances"), [(7, False), (8, True)])
def test_few_outputs_move_as_by_adamw(outputs: int, balances: bool) -> None:
    kernel, expected = (nn.Parameter(torch.ones(outputs, 2, 3, 3)) for _ in range(2))
    for parameter in (kernel, expected):
        parameter.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(4))
    Muon([kernel], 0.1, 0.5, 0.9).step()
    torch.optim.AdamW([expected], 0.1, weight_decay=0.5, fused=True).step()
    assert torch.equal(kernel, expected) != balances


def test_a_gradient_of_zero_moves_nothing() -> None:
    kernel = nn.Parameter(torch.ones(8, 2, 3, 3))
    kernel.grad = torch.zeros_like(kernel)
    Muon([kernel], 0.1, 0.0, 0.9).step()
    assert torch.equal(kernel, torch.ones_like(kernel))


def test_a_saved_state_goes_on_to_the_bit() -> None:
    one, other = network(), network()
    optimizers = [Muon(it.parameters(), 0.1, 0.5, 0.9) for it in (one, other)]
    for _ in range(2):
        trained(one, optimizers[0])
    other.load_state_dict(one.state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for it, optimizer in zip((one, other), optimizers, strict=True):
        optimizer.zero_grad()
        trained(it, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_momentum_carries_a_kernel_on() -> None:
    """Without a gradient to speak of it moves on as it did before."""
    kernel = nn.Parameter(torch.zeros(8, 8, 3, 3))
    it = Muon([kernel], 0.1, 0.0, 0.9)
    kernel.grad = torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(2))
    it.step()
    first = kernel.detach().clone()
    kernel.grad = torch.zeros_like(kernel)
    it.step()
    second = kernel.detach() - first
    assert torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), 0) > 0.95


def test_a_kernel_without_a_gradient_stays() -> None:
    kernels = [nn.Parameter(torch.ones(8, 8, 1, 1)) for _ in range(2)]
    it = Muon(kernels, 0.1, 0.5, 0.9)
    kernels[0].grad = torch.ones_like(kernels[0])
    it.step()
    assert torch.equal(kernels[1], torch.ones(8, 8, 1, 1))
    assert not torch.equal(kernels[0], kernels[1])
