"""What params.yaml says is what happens: every choice reaches the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import models
import params
import train
import training
from learning.augment import augmented, draw
from learning.engine import NONE_YET, PRECISIONS, Trainer
from learning.losses import loss_function
from oxford_pet import BORDERS
from params.training import Augment, Train
from shared import checkpoint
from shared.inputs import statistics, unit
from shared.metrics import dice
from training import ROOT, TRAIN, epochs, trainer
from utils import Refusal

ONE_STEP: dict[str, Any] = {"batch_size": 16}


def test_the_scheduled_rate_reaches_the_optimizer() -> None:
    it = epochs(trainer(schedule="step", step_size=1, gamma=0.5, warmup=0, lr=0.01), 2)
    assert it.optimizer.param_groups[0]["lr"] == it.history[-1]["lr"] == 0.005


@pytest.mark.parametrize("name", get_args(Train.model_fields["optimizer"].annotation))
def test_the_optimizer_is_the_one_chosen_with_its_decay_and_momentum(name: str) -> None:
    chosen = trainer(optimizer=name, weight_decay=0.03, momentum=0.7).optimizer
    assert type(chosen).__name__.lower() == name
    assert chosen.param_groups[0]["weight_decay"] == 0.03
    assert chosen.param_groups[0].get("momentum") == (0.7 if name in ("muon", "sgd", "rmsprop") else None)


def test_the_network_learns_from_augmented_photographs_each_by_its_own_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    it = trainer(augment=dict.fromkeys(Augment.model_fields, 0) | {"brightness": 0.5, "hflip": 0.5})
    seen: list[torch.Tensor] = []
    whole = Trainer.scores

    def scores(it: Trainer, network: Any, images: torch.Tensor) -> torch.Tensor:
        seen.append(images.clone())
        return whole(it, network, images)

    monkeypatch.setattr(Trainer, "scores", scores)
    it.fit(TRAIN, 0, lambda *_: None)
    chosen = it.settings.augment
    expected, _ = augmented(unit(TRAIN[..., :3]), TRAIN[..., 3], chosen, draw(chosen, it.seed, 0, len(TRAIN)))
    torch.testing.assert_close(torch.cat(seen), expected[torch.cat(it.batches(len(TRAIN), 0))])


@pytest.mark.parametrize(("ema", "decays"), [(0.05, [0.05, 0.05]), (0.9, [1 / 10, 2 / 11])])
def test_the_average_of_weights_is_what_is_kept(ema: float, decays: list[float]) -> None:
    """In the first steps it takes more of the new weights than `ema` says."""
    it = trainer(ema=ema, **ONE_STEP)
    mean = it.network.state_dict()["head.weight"].clone()
    for number, decay in enumerate(decays, 1):
        it.best = dict(NONE_YET)
        now = epochs(it, number).network.state_dict()["head.weight"]
        assert not torch.equal(mean, now)
        mean = decay * mean + (1 - decay) * now
        torch.testing.assert_close(it.best["state"]["head.weight"], mean)


def test_an_average_of_weights_has_the_statistics_that_its_own_layers_see() -> None:
    """One batch holds all photographs here, so each BatchNorm's means are those of what it gets in that batch."""
    average = epochs(trainer(ema=0.9, **ONE_STEP), 2).best_network
    norms = [module for module in average.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    counted = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    seen: list[torch.Tensor] = []
    for norm in norms:
        norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].mean((0, 2, 3))))
    it = trainer(**ONE_STEP)
    with torch.no_grad():
        average.train()(it.seen(it.fetch(TRAIN, torch.arange(len(TRAIN)), 0)[0]))
    torch.testing.assert_close(counted, seen)


def test_gradients_are_clipped_to_the_norm() -> None:
    plain: dict[str, Any] = {
        "optimizer": "sgd",
        "momentum": 0,
        "weight_decay": 0,
        "schedule": "constant",
        "warmup": 0,
        "lr": 1,
    }
    it = trainer(clip=0.001, **plain, **ONE_STEP)
    before = [parameter.detach().clone() for parameter in it.network.parameters()]
    epochs(it, 1)
    moved = [(now - then).norm() for now, then in zip(it.network.parameters(), before, strict=True)]
    assert torch.stack(moved).norm().item() == pytest.approx(0.001, rel=0.02)


def test_the_weights_of_border_dice_and_coarser_masks_reach_the_loss() -> None:
    it = trainer(border_weight=3, dice_weight=0.2)
    scores, trimaps = torch.randn(2, 8, 8), torch.randint(1, 4, (2, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(it.loss(scores, trimaps), loss_function("bce_dice", 0.2, 3)(scores, trimaps))
    assert trainer(deep_supervision=0.5).coarser_weights == [0.5, 0.25, 0.125]


def test_the_border_rule_reaches_loss_and_dice() -> None:
    """What is right everywhere but on the border is all right where the border is ignored."""
    scores, trimaps = torch.full((1, 2, 4), -50.0), torch.tensor([[[1, 1, 2, 2], [3, 3, 3, 2]]], dtype=torch.uint8)
    scores[trimaps == 1] = 50
    found = scores > 0
    rules = {rule: trainer(border=rule) for rule in BORDERS}
    dices = {rule: dice(it.counts(found, trimaps)).item() for rule, it in rules.items()}
    assert dices == {"pet": pytest.approx(4 / 7), "background": 1, "ignore": 1}
    losses = {rule: it.loss(scores, trimaps).item() for rule, it in rules.items()}
    assert losses["pet"] > 1 > 1e-6 > losses["background"]
    assert losses["ignore"] < 1e-6


def test_squares_grow_by_equal_parts_of_the_epochs_to_those_that_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    it = trainer(epochs=5, sizes=[16, 24, 32])
    seen: list[tuple[int, ...]] = []
    whole = Trainer.scores

    def scores(it: Trainer, network: Any, images: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(images.shape[-2:]))
        return whole(it, network, images)

    monkeypatch.setattr(Trainer, "scores", scores)
    bests = []
    for number in range(1, 6):
        seen.clear()
        bests.append(epochs(it, number).best["epoch"])
        side = [16, 16, 24, 24, 32][number - 1]
        assert set(seen) == {(side, side)}  # in training and validation
    assert bests[2] == 3 and bests[4] == 5  # the first epoch at a new size begins anew
    assert it.best["valid_dice"] == it.history[4]["valid_dice"]


def test_the_work_that_is_left_grows_with_the_area_of_the_squares() -> None:
    it = trainer(epochs=4, sizes=[16, 32])
    assert [it.work(number) for number in range(1, 5)] == [1 + 1 + 4 + 4, 1 + 4 + 4, 2, 1]
    assert trainer(epochs=4).work(2) == 3


def test_a_smaller_square_has_the_mean_colour_and_the_middle_of_the_trimap() -> None:
    pixels = torch.arange(36, dtype=torch.uint8).view(1, 6, 6, 1).repeat(1, 1, 1, 4)
    pixels[..., 3] = 2
    pixels[0, 1, 1, 3] = pixels[0, 4, 4, 3] = 1  # the middles of the first and of the last of four squares of nine
    it = trainer()
    images, trimaps = it.fetch(pixels, torch.tensor([0]), 2)
    torch.testing.assert_close(images[0, 0] * 255, torch.tensor([[7.0, 10.0], [25.0, 28.0]]))
    assert trimaps[0].tolist() == [[1, 2], [2, 1]]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_network_computes_in_the_precision(precision: str) -> None:
    it = trainer(precision=precision)
    seen: set[torch.dtype] = set()
    it.network.get_submodule("head").register_forward_hook(lambda *passed: seen.add(passed[2].dtype))
    epochs(it, 1)
    assert seen == {PRECISIONS[precision]}


def test_other_seeds_have_other_orders_and_other_first_weights(tmp_path: Path) -> None:
    def begun(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        folder = training.workplace(tmp_path / str(seed), seed=seed, train={"epochs": 1, "lr": 1e-9, "lr_min": 0})
        training.stage(folder)
        weights = checkpoint.load(folder / "saved_models/unet.pth").state["head.weight"]
        return torch.cat(trainer(seed=seed).batches(16, 0)), weights

    (order, weights), (other_order, other_weights) = begun(1), begun(2)
    assert not torch.equal(order, other_order)
    assert not torch.allclose(weights, other_weights, atol=1e-3)


def test_patience_counts_epochs_without_a_better_one() -> None:
    def over(*dices: float) -> bool:
        it = trainer(epochs=4, patience=2)
        it.history = [{"valid_dice": dice} for dice in dices]
        return train.finished(it)

    assert [over(0.5, 0.4), over(0.5, 0.4, 0.4), over(0.5, 0.4, 0.6), over(1, 2, 3, 4)] == [False, True, False, True]


def test_patience_compares_the_epochs_of_the_last_size() -> None:
    """Those before it may score higher, on smaller squares."""
    it = trainer(epochs=8, patience=2, sizes=[16, 32])
    seen = []
    for score in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3):
        it.history.append({"valid_dice": score})
        seen.append((len(it.at_last_size), train.finished(it)))
    assert seen == [*[(0, False)] * 4, (1, False), (2, False), (3, True)]


def test_plateau_compares_the_epochs_of_the_last_size() -> None:
    steady: dict[str, Any] = {"schedule": "plateau", "plateau_patience": 0, "gamma": 0.5, "warmup": 0, "lr_min": 0}
    it = trainer(epochs=8, sizes=[16, 32], lr=0.01, **steady)
    it.history = [{"valid_dice": score} for score in (0.9, 0.8, 0.7, 0.6, 0.5)]
    assert it.fit(TRAIN, 5, lambda *_: None)["lr"] == 0.01
    it.history.append({"valid_dice": 0.4})
    assert it.fit(TRAIN, 6, lambda *_: None)["lr"] == 0.005


def test_mean_and_deviation_are_those_of_the_training_photographs(tmp_path: Path) -> None:
    folder = training.workplace(tmp_path / "x", train={"epochs": 1})
    training.stage(folder)
    weights = checkpoint.load(folder / "saved_models/unet.pth")
    assert (weights.mean, weights.std) == statistics(torch.from_numpy(training.pixels(20, seed=1)), "rgb")


def test_what_everything_called_pet_would_score() -> None:
    pixels = torch.full((2, 4, 4, 4), 2, dtype=torch.uint8)
    pixels[:, :2, :, 3] = torch.tensor([1, 3]).view(2, 1, 1)
    assert train.all_foreground(pixels) == pytest.approx(2 / 3)


def test_a_training_follows_from_its_tensors_and_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training.workplace(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = set(train.made_from(train.job_of("unet", params.load()), {}))
    expected = (
        "dataset/cache/train.npy dataset/cache/valid.npy train.py learning/engine.py learning/augment.py"
        " learning/losses.py learning/schedule.py models/__init__.py models/unet.py models/parts.py"
    )
    assert set(expected.split()) <= names
    assert "models/resnet34_unet.py" not in names


def test_another_network_that_is_being_written_does_not_stop_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values, whole = params.read(ROOT / "params.yaml"), models.network_class

    def broken(name: str) -> Any:
        return whole(name) if name == "unet" else undefined  # type: ignore[name-defined]  # noqa: F821

    monkeypatch.setattr(models, "network_class", broken)
    assert train.job_of("unet", values).config["width"] == values["unet"]["width"]
    with pytest.raises(NameError):
        train.job_of("resnet34_unet", values)


def test_a_mistake_in_the_section_of_another_network_is_refused_before_training() -> None:
    values = params.overlaid(params.read(ROOT / "params.yaml"), {"resnet34_unet": {"width": 0}})
    with pytest.raises(Refusal, match=r"resnet34_unet\.width = 0"):
        train.job_of("unet", values)
