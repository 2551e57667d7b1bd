"""Both networks against the papers' figures and torchvision's ResNet-34."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from models import build
from models.parts import AttentionGate, Conv, bilinear_x2, nearest_x2, reflect
from models.resnet34_unet import ResNet34Encoder, ResNet34UNet
from models.unet import UNet

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"width": 4},
    "resnet34_unet": {"width": 4, "decoder": [16, 8, 4, 4, 4]},
}
CHOICES: list[dict[str, Any]] = [
    {},
    {"upsample": "transposed"},
    {"upsample": "bilinear"},
    {"upsample": "nearest"},
    {"padding": "reflect"},
    {"dropout": 0.5},
    {"attention": True},
    {"norm_affine": False},
    {"upsample": "nearest", "padding": "reflect", "dropout": 0.2, "attention": True, "norm_affine": False},
]


def small(name: str, in_channels: int = 3, out_channels: int = 1, **choices: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(name, in_channels, out_channels, SMALL[name] | choices)


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_default_networks_have_the_size_of_the_papers() -> None:
    assert count(UNet()) == 31_037_633  # 31.04 M
    assert 24.3e6 < count(ResNet34UNet()) < 24.5e6


def test_unet_doubles_its_channels_at_each_of_five_levels() -> None:
    assert [stage[0][0].out_channels for stage in UNet(width=64).encoder] == [64, 128, 256, 512, 1024]  # type: ignore[index]


@pytest.mark.parametrize("size", [(64, 64), (96, 32), (97, 65)])
def test_the_encoder_is_torchvisions_resnet34(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    theirs = torchvision.models.resnet34(weights=None).double().eval()
    ours = ResNet34Encoder().double().eval()
    without_head = {key: value for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    ours.load_state_dict(without_head)
    x = torch.randn(2, 3, *size).double()
    with torch.no_grad():
        expected = [theirs.relu(theirs.bn1(theirs.conv1(x)))]
        y = theirs.maxpool(expected[0])
        for number in range(1, 5):
            y = getattr(theirs, f"layer{number}")(y)
            expected.append(y)
        for mine, reference in zip(ours(x), expected, strict=True):
            torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-5)


BOTH = pytest.mark.parametrize("name", ["unet", "resnet34_unet"])


@BOTH
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_logits_have_the_size_of_the_input(name: str, channels: int) -> None:
    network = small(name, channels, 2).eval()
    for size in [(1, 1), (5, 7), (33, 64), (100, 31), (64, 64)]:
        with torch.no_grad():
            assert network(torch.randn(2, channels, *size)).shape == (2, 2, *size)


@BOTH
def test_outputs_are_logits(name: str) -> None:
    """No sigmoid, no rounding: values of both signs, and not whole numbers."""
    with torch.no_grad():
        output = small(name).eval()(torch.randn(4, 3, 32, 32) * 3)
    assert output.min() < 0 < output.max()
    assert not torch.equal(output, output.round())


@BOTH
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_choice_trains_one_step(name: str, choice: dict[str, Any]) -> None:
    network = small(name, **choice)
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    x, truth = torch.randn(4, 3, 64, 64), (torch.rand(4, 1, 64, 64) > 0.5).float()
    before = {key: value.clone() for key, value in network.named_parameters()}
    loss = F.binary_cross_entropy_with_logits(network(x), truth)
    loss.backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    optimizer.step()
    moved = [key for key, value in network.named_parameters() if not torch.equal(value, before[key])]
    untouched = set(before) - set(moved)
    # a bias right before a norm has no gradient but rounding; everything else must move
    assert all(key.endswith("bias") for key in untouched), untouched


@BOTH
def test_the_bridge_and_other_choices_change_the_network(name: str) -> None:
    plain = count(small(name))
    assert count(small(name, attention=True)) > plain
    assert count(small(name, norm_affine=False)) < plain
    if name == "resnet34_unet":
        assert count(small(name, bridge=64)) > plain


def test_an_attention_gate_is_that_of_its_paper() -> None:
    """sigmoid(norm(psi relu(norm(W g) + norm(V x)))) x; a norm that has seen nothing only divides."""
    gate, skip = torch.randn(2, 6, 5, 7), torch.randn(2, 4, 5, 7)
    made = AttentionGate(6, 4, affine=True).eval()
    names = ("of_gate", "of_skip", "weight")
    w, v, psi = (made.get_parameter(f"{name}.0.weight")[:, :, 0, 0] / (1 + 1e-5) ** 0.5 for name in names)
    inner = (torch.einsum("oc,bchw->bohw", w, gate) + torch.einsum("oc,bchw->bohw", v, skip)).clamp(min=0)
    share = 1 / (1 + torch.exp(-torch.einsum("oc,bchw->bohw", psi, inner)))
    torch.testing.assert_close(made(gate, skip), share * skip)


def test_the_nearest_upsampling_repeats_each_pixel() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(nearest_x2(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))


@BOTH
@pytest.mark.parametrize("place", [(0, 0), (0, 63), (63, 0), (63, 63), (32, 32), (20, 45)])
def test_a_pixel_near_and_far_reaches_the_middle(name: str, place: tuple[int, int]) -> None:
    """The deepest level sees far: a change in each corner moves the logit in the middle of a 64 px square."""
    network = small(name).eval()
    x = torch.randn(1, 3, 64, 64)
    y = x.clone()
    y[:, :, *place] += 10
    with torch.no_grad():
        assert (network(x) - network(y))[0, 0, 32, 32].abs() > 0


@given(height=st.integers(1, 9), width=st.integers(1, 9), last=st.booleans())
@settings(max_examples=40)
def test_bilinear_is_torchs(height: int, width: int, last: bool) -> None:
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(height * 10 + width))
    expected = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(bilinear_x2(x), expected)


@given(size=st.integers(2, 12), width=st.integers(1, 3))
def test_reflection_is_torchs_where_torch_can(size: int, width: int) -> None:
    x = torch.arange(size * 2.0).view(1, 1, size, 2)
    if size > width:
        assert torch.equal(reflect(x, width, 2), F.pad(x, (0, 0, width, width), mode="reflect"))
    else:
        assert reflect(x, width, 2).shape == (1, 1, size + 2 * width, 2)


def test_reflected_convolution_is_torchs() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.Conv2d(3, 5, 7, 2, padding=3, padding_mode="reflect", bias=False)
    ours = Conv(3, 5, 7, 2, padding="reflect")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 20, 17)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.slow
def test_the_table_in_the_docs_is_that_of_these_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = Path(__file__).parents[1] / "docs"
    monkeypatch.syspath_prepend(str(docs))
    import architectures

    assert architectures.text() == (docs / "architectures.md").read_text(encoding="utf-8")
