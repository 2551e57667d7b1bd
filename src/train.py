"""Stage: train one network from scratch and keep the weights of its best validation epoch.

Reads params.yaml and dataset/cache/{train,valid}.{npy,csv}; writes saved_models/NAME.pth, plots/history_NAME.csv and
metrics/NAME.json. An interrupted run goes on from its last whole epoch. Several machines train together by torchrun
(docs/clusters.md).
"""

# --help is answered before the slow imports.
# ruff: noqa: E402

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from utils import Interrupted, Refusal, described, run, write_csv, write_json


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = described(__doc__)
    parser.add_argument("--model", required=True, metavar="NAME", help="the network: a section of params.yaml")
    return parser.parse_args(words)


if __name__ == "__main__":
    ARGS = arguments()

import torch
from torch import Tensor
from tqdm import tqdm

import models
from learning import parallel, resume
from learning.engine import NotFinite, Trainer, explained, placed, spoken, symptom, waiting
from learning.origin import hash_of_code, split_used, threshold_of
from learning.seeds import derived_seed
from oxford_pet import SimpleOxfordPetDataset, counted, foreground
from params import FILE, flat, load, networks
from params.training import Train, of_network
from shared import checkpoint
from shared.device import environment, setup
from shared.driver import no_gpu
from shared.inputs import CHANNELS, statistics
from shared.metrics import confusion, dice

SRC = Path(__file__).parent
# What is loaded here is the same for every network. A network's own file is added to it when one is trained.
CODE = sorted(
    file
    for module in list(sys.modules.values())
    if (name := getattr(module, "__file__", None)) and (file := Path(name)).is_relative_to(SRC)
)
CACHE, STATES = Path("dataset/cache"), Path(".resume")
HISTORY = ("epoch", "lr", "train_loss", "train_dice", "valid_loss", "valid_dice")
FIRST_STEPS = 5  # after which the cost of a run on a CPU is foretold
LIKELY_CAUSES = (
    "Likely causes: a learning rate too high or too low, masks in a wrong encoding (1 pet, 2 background, 3 border), "
    "overflow in mixed precision"
)


class Job(NamedTuple):
    """What params.yaml says about one network."""

    name: str
    config: dict[str, Any]  # the arguments of its class
    settings: Train
    seed: int
    threads: int
    border: str

    @property
    def out_channels(self) -> int:
        return 2 if self.settings.loss == "ce" else 1


def main(args: argparse.Namespace) -> None:
    job = job_of(args.model, load())
    processes = parallel.wanted(job.settings.processes)
    if processes > 1 and not parallel.launched():
        refuse_unequal_shares(job.settings.batch_size, processes)
        parallel.launch(processes, [__file__, *sys.argv[1:]])
        return
    device = setup(job.threads, job.settings.deterministic, portable=job.settings.precision == "fp32")
    with parallel.lost():
        parallel.join()
        try:
            with explained(job.settings):
                train(job, device)
        finally:
            parallel.leave()


def job_of(name: str, values: Mapping[str, Any]) -> Job:
    """Also refuses a mistake in the section of another network: it must not show after hours of training."""
    names = networks(values)
    if name not in names:
        raise Refusal(f"{FILE}: no network has the section {name!r}; there are {', '.join(names)}", 2)
    for other in names:
        if other != name and loadable(other):
            config_of(other, values)
    settings = Train.model_validate(of_network(values, name))
    return Job(name, config_of(name, values), settings, values["seed"], values["threads"], values["data"]["border"])


def loadable(network: str) -> bool:
    """A network whose file is broken stops its own stage, not that of another network."""
    try:
        models.network_class(network)
    except Exception:  # a file that somebody is writing may raise anything
        return False
    return True


def config_of(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return models.checked_config(name, {k: v for k, v in values[name].items() if k != "train"}, str(FILE))


def train(job: Job, device: torch.device) -> None:
    train_pixels, valid_pixels = splits(device)
    trainer = prepared(job, train_pixels, device)
    found = environment(device) | {"processes": parallel.size()}
    sources = sources_of(job)
    keeper = resume.Keeper(STATES, job.name, made_from(job, found))
    state, news = parallel.from_first(keeper.load() if parallel.rank() == 0 else None)
    if state:
        trainer.restore(state)
    say(news)
    say(f"{job.name}: {size_of(trainer):,} parameters, on {found['device']} with {job.threads} threads")
    say(f"{len(train_pixels)} photographs to learn from, {len(valid_pixels)} to validate")
    try:
        until_finished(job.name, trainer, train_pixels, valid_pixels, keeper)
    except NotFinite as stop:
        if not trainer.best["epoch"]:
            raise
        aside = STATES / f"{job.name}.best.pth"
        checkpoint.save(aside, best_weights(job, trainer, found, sources, valid_pixels))
        raise Refusal(f"{stop}; the best weights so far (epoch {trainer.best['epoch']}) are in {aside}") from None
    if parallel.rank() == 0:
        write_results(job.name, trainer, best_weights(job, trainer, found, sources, valid_pixels))
        keeper.path.unlink(missing_ok=True)


def splits(device: torch.device) -> list[Tensor]:
    """The pixels to learn from and those to validate."""
    found = [placed(SimpleOxfordPetDataset(CACHE, split).tensor(), device) for split in ("train", "valid")]
    if found[0].shape[1] != found[1].shape[1]:
        raise Refusal(f"{CACHE}: train.npy and valid.npy differ in size; run preprocess again (`dvc repro`)")
    return found


def prepared(job: Job, train_pixels: Tensor, device: torch.device) -> Trainer:
    refuse_unequal_shares(job.settings.batch_size, parallel.size())
    if job.settings.compile and device.type == "cpu":  # with PyTorch 2.11 some trainings end in a corrupted heap
        raise Refusal(f"{FILE}: train.compile = true needs a GPU, and none is visible here; set it to false", 2)
    mean, std = statistics(train_pixels, job.settings.input)
    torch.manual_seed(derived_seed(job.seed, "weights"))
    network = models.build(job.name, CHANNELS[job.settings.input], job.out_channels, job.config)
    return Trainer(network, job.settings, job.seed, device, mean, std, job.border)


def made_from(job: Job, found: Mapping[str, Any]) -> resume.Fingerprint:
    """Everything that the weights follow from. A state made from anything else is not resumed."""
    choices = {job.name: job.config, "train": job.settings.model_dump()}
    values = {"seed": job.seed, "border": job.border, **dict(flat(choices)), **found}
    data = [CACHE / f"{split}.{kind}" for split in ("train", "valid") for kind in ("npy", "csv")]
    return resume.fingerprint(values, {file.as_posix(): file for file in data} | code_of(job.name))


def code_of(network: str) -> dict[str, Path]:
    """The files of its training, by their names below src/."""
    return {file.relative_to(SRC).as_posix(): file for file in [*CODE, models.file_of(network)]}


def sources_of(job: Job) -> dict[str, Any]:
    """What the weights will be made from, as it is before the training: files may change meanwhile."""
    train, valid = (SimpleOxfordPetDataset(CACHE, split) for split in ("train", "valid"))
    data = {"image_size": train.pixels.shape[1], "border": job.border}
    return {
        "seed": job.seed,
        "params": {"data": data, "train": job.settings.model_dump(), job.name: job.config},
        "train": split_used(train),
        "valid": split_used(valid),
        "code": hash_of_code(code_of(job.name)),
    }


def until_finished(
    name: str, trainer: Trainer, train_pixels: Tensor, valid_pixels: Tensor, keeper: resume.Keeper
) -> None:
    """Epoch by epoch; the state of each is kept, and a network that does not learn is named once."""
    settings, baseline = trainer.settings, all_foreground(valid_pixels, trainer.border)
    warned = False
    try:
        while not finished(trainer):
            one_epoch(trainer, train_pixels, valid_pixels)
            if parallel.rank() == 0:
                keeper.keep(len(trainer.history), trainer.state, last=finished(trainer))
            wrong = symptom(trainer.history, settings.epochs, baseline)
            if wrong and not warned:
                warned = True
                say(f"warning: {name} does not learn: {wrong}. {LIKELY_CAUSES}")
    except Interrupted:
        say(f"{name}: {keeper.epochs} of {settings.epochs} epochs are kept; run again to go on from there")
        raise


def best_weights(
    job: Job, trainer: Trainer, found: dict[str, Any], sources: dict[str, Any], valid_pixels: Tensor
) -> checkpoint.Weights:
    """Those of the best epoch, with where they come from. Validation chooses their threshold; nothing sees test."""
    weights = checkpoint.Weights(
        network=job.name,
        config=job.config,
        out_channels=job.out_channels,
        input=job.settings.input,
        mean=trainer.mean,
        std=trainer.std,
        image_size=valid_pixels.shape[1],
        environment=found,
        state=trainer.best["state"],
    )
    chosen = {
        "best_epoch": trainer.best["epoch"],
        "valid_dice": trainer.best["valid_dice"],
        "threshold": threshold_of(weights, valid_pixels, trainer.device, job.border),
    }
    return replace(weights, origin=checkpoint.Origin(**sources, **chosen))


def write_results(name: str, trainer: Trainer, weights: checkpoint.Weights) -> None:
    checkpoint.save(Path(f"saved_models/{name}.pth"), weights)
    write_csv(Path(f"plots/history_{name}.csv"), [{key: row[key] for key in HISTORY} for row in trainer.history])
    run_of = {
        "best_epoch": trainer.best["epoch"],
        "epochs": len(trainer.history),
        "parameters": size_of(trainer),
        **weights.environment,
    }
    write_json(Path(f"metrics/{name}.json"), {"valid_dice": trainer.best["valid_dice"], "run": [run_of]})
    best = trainer.best
    say(
        f"{name}: best validation Dice {best['valid_dice']:.4f} in epoch {best['epoch']}, threshold {weights.threshold}"
    )


def size_of(trainer: Trainer) -> int:
    return sum(parameter.numel() for parameter in trainer.network.parameters())


def refuse_unequal_shares(batch_size: int, processes: int) -> None:
    if batch_size % processes:
        raise Refusal(
            f"params.yaml: train.batch_size = {batch_size} cannot be shared equally by {processes} processes; "
            f"take a multiple of {processes}",
            2,
        )
    for split in ("train", "valid"):
        photographs = len(SimpleOxfordPetDataset(CACHE, split))
        if photographs < processes:
            raise Refusal(
                f"{CACHE}/{split}.npy: its {photographs} photographs cannot be shared by {processes} processes; "
                f"lower train.processes in params.yaml to {photographs} or less",
                2,
            )


def finished(trainer: Trainer) -> bool:
    settings = trainer.settings
    return len(trainer.history) >= settings.epochs or 0 < settings.patience <= waiting(trainer.at_last_size)


def one_epoch(trainer: Trainer, train_pixels: Tensor, valid_pixels: Tensor) -> None:
    number, epochs = len(trainer.history) + 1, trainer.settings.epochs
    start = time.perf_counter()
    first: list[float] = []
    with tqdm(desc=f"epoch {number}/{epochs}", leave=False, disable=True if parallel.rank() else None) as bar:

        def on_step(done: int, steps: int) -> None:
            bar.total = steps
            bar.update()
            if number == 1 and trainer.device.type == "cpu" and done in (1, FIRST_STEPS):
                first.append(time.perf_counter())
                if done == FIRST_STEPS:
                    a_step = (first[1] - first[0]) / (FIRST_STEPS - 1)
                    training = spoken(a_step * steps * trainer.work(number))
                    say(f"about {training} on this CPU: {no_gpu(torch.version.cuda)}")

        row = trainer.epoch(train_pixels, valid_pixels, on_step)
    seconds = time.perf_counter() - start
    left = spoken(seconds * (trainer.work(number) - 1))
    say(
        f"epoch {number:{len(str(epochs))}}/{epochs}  lr {row['lr']:.2e}"
        f"  train: loss {row['train_loss']:.4f} Dice {row['train_dice']:.4f}"
        f"  valid: loss {row['valid_loss']:.4f} Dice {row['valid_dice']:.4f}"
        f"  {seconds:.1f} s, {len(train_pixels) / seconds:.0f} images/s, {left} left"
    )


def all_foreground(pixels: Tensor, border: str = "pet") -> float:
    """Validation Dice of calling every pixel pet."""
    trimaps = pixels[..., 3]
    truth = foreground(trimaps, border)
    return float(dice(confusion(torch.ones_like(truth), truth, counted(trimaps, border))).mean())


def say(line: str) -> None:
    if line and parallel.rank() == 0:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


if __name__ == "__main__":
    run(lambda: main(ARGS))
