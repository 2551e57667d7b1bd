"""Coarser masks teach the same network, which is then kept without them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import training
from learning.deep_supervision import DeepSupervision
from learning.engine import Trainer
from models.parts import Decode, EncoderDecoder

BOTH = pytest.mark.parametrize("name", ["unet", "resnet34_unet"])


def deep(name: str, **choices: Any) -> DeepSupervision:
    network = training.network(name, **choices)
    assert isinstance(network, EncoderDecoder)
    return DeepSupervision(network)


@BOTH
@pytest.mark.parametrize("out_channels", [1, 2])
@pytest.mark.parametrize("size", [(64, 64), (50, 70)])
def test_the_networks_own_mask_comes_first_and_each_has_the_size_of_the_photographs(
    name: str, out_channels: int, size: tuple[int, int]
) -> None:
    learner = deep(name, out_channels=out_channels).eval()
    images = torch.randn(2, 3, *size)
    masks = learner(images)
    assert masks.shape == (8, out_channels, *size)
    assert torch.equal(masks[:2], learner.network(images))


@BOTH
def test_the_coarser_masks_are_drawn_at_a_half_a_quarter_and_an_eighth(name: str) -> None:
    learner = deep(name)
    seen: list[tuple[int, ...]] = []
    for head in learner.heads:
        head.register_forward_pre_hook(lambda _, features: seen.append(tuple(features[0].shape[-2:])))
    learner(torch.randn(2, 3, 64, 96))
    assert seen == [(32, 48), (16, 24), (8, 12)]


@BOTH
def test_a_coarser_mask_stands_where_the_photograph_has_what_it_shows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that passes on brightness, of features that are bright in one quarter, draws a mask of that quarter."""
    learner = deep(name)
    size, features = 64, list[torch.Tensor]()
    for scale, step in enumerate(reversed(learner.network.decoder)):
        assert isinstance(step, Decode)
        features.insert(0, torch.zeros(1, step.channels, size >> scale, size >> scale))
        features[0][..., : size >> scale + 1, : size >> scale + 1] = 1
    monkeypatch.setattr(learner.network, "decoded", lambda _: features)
    for parameter in learner.heads.parameters():
        torch.nn.init.ones_(parameter)
    for mask in learner(torch.zeros(1, 3, size, size))[1:, 0]:
        assert (mask[:24, :24] == mask.max()).all()
        assert (mask[40:] == 1).all()  # the bias
        assert (mask[:, 40:] == 1).all()


@BOTH
def test_the_coarsest_mask_teaches_the_encoder_and_leaves_the_finest_steps_alone(name: str) -> None:
    learner = deep(name)
    learner(torch.randn(2, 3, 64, 64))[6:].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in learner.network.encoder.parameters())  # type: ignore[union-attr]
    assert not any(p.grad is not None and p.grad.any() for p in learner.network.decoder[-1].parameters())


@BOTH
def test_what_is_kept_is_the_network_alone_and_its_loss_is_that_of_its_own_mask(name: str) -> None:
    pixels = torch.from_numpy(training.pixels(8))
    rows, kept = [], []
    for weight in (0, 0.5):
        network, settings = training.network(name), training.settings(batch_size=8, deep_supervision=weight)
        trainer = Trainer(network, settings, 1, torch.device("cpu"), [0.5] * 3, [0.25] * 3)
        rows.append(trainer.epoch(pixels, pixels, lambda *_: None))
        kept.append(trainer.best["state"])
        network.load_state_dict(kept[-1])
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-6)  # of the first step, before it
    assert any(not torch.equal(a, b) for a, b in zip(*(state.values() for state in kept), strict=True))


def test_a_network_with_few_steps_has_as_many_masks_as_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    network = training.network()
    assert isinstance(network, EncoderDecoder)
    monkeypatch.setattr("training.network", lambda *_: Shallow(network))
    it = training.epochs(training.trainer(deep_supervision=0.5), 1)
    assert isinstance(it.learner, DeepSupervision) and len(it.learner.heads) == 1


class Shallow(EncoderDecoder):
    """The last two steps of a decoder."""

    def __init__(self, whole: EncoderDecoder) -> None:
        super().__init__()
        self.whole, self.head = [whole], whole.head
        self.decoder = torch.nn.ModuleList(list(whole.decoder)[-2:])

    def decoded(self, image: torch.Tensor) -> list[torch.Tensor]:
        return self.whole[0].decoded(image)[-2:]
