"""Stage: train one network from scratch and keep the weights of its best validation epoch.

Reads params.yaml and dataset/cache/{train,valid}.npy; writes saved_models/NAME.pth, plots/history_NAME.csv and
metrics/NAME.json. An interrupted run goes on from its last whole epoch. Several machines train together with
torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 src/train.py --model NAME
"""

import argparse
import sys
import time
from pathlib import Path

from params import SHAPES, NetworkName, Params, Train, load
from utils import Interrupted, Refusal, run, write_csv, write_json

if __name__ == "__main__":  # answered before the slow imports below
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=list(SHAPES), help="the network to train")
    ARGS = parser.parse_args()

import torch
from tqdm import tqdm

import models
from learning import parallel, resume
from learning.engine import NotFinite, Row, Trainer, explained, placed, spoken, symptom, waiting
from learning.seeds import derived_seed
from oxford_pet import BACKGROUND, SimpleOxfordPetDataset
from shared import checkpoint
from shared.device import environment, setup
from shared.inputs import CHANNELS, statistics
from shared.metrics import confusion, dice

CACHE, STATES = Path("dataset/cache"), Path(".resume")
HISTORY = ("epoch", "lr", "train_loss", "train_dice", "valid_loss", "valid_dice")
FIRST_STEPS = 5  # after which the cost of a run on a CPU is foretold
LIKELY_CAUSES = (
    "Likely causes: a learning rate too high or too low, masks in a wrong encoding (1 pet, 2 background, 3 border), "
    "overflow in mixed precision"
)


def main() -> None:
    params = load()
    settings = params.network(ARGS.model).train
    processes = parallel.wanted(settings.processes)
    if processes > 1 and not parallel.launched():
        refuse_unequal_shares(settings.batch_size, processes)
        parallel.launch(processes, [__file__, *sys.argv[1:]])
        return
    device = setup(params.threads, settings.deterministic, portable=settings.precision == "fp32")
    parallel.join()
    try:
        with explained(settings):
            train(ARGS.model, params, device)
    finally:
        parallel.leave()


def train(name: NetworkName, params: Params, device: torch.device) -> None:
    config, settings = params.network(name).config.model_dump(), params.network(name).train
    train_pixels, valid_pixels = (placed(SimpleOxfordPetDataset(CACHE, s).tensor(), device) for s in ("train", "valid"))
    if train_pixels.shape[1] != valid_pixels.shape[1]:
        raise Refusal(f"{CACHE}: train.npy and valid.npy differ in size; run preprocess again (`dvc repro`)")
    refuse_unequal_shares(settings.batch_size, parallel.size())
    if settings.compile and device.type == "cpu":  # with PyTorch 2.11 some trainings end in a corrupted heap
        raise Refusal("params.yaml: train.compile = true needs a GPU, and none is visible here; set it to false", 2)
    mean, std = statistics(train_pixels, settings.input)
    torch.manual_seed(derived_seed(params.seed, "weights"))
    out_channels = 2 if settings.loss == "ce" else 1
    network = models.build(name, CHANNELS[settings.input], out_channels, config)
    parameters = sum(p.numel() for p in network.parameters())
    trainer = Trainer(network, settings, params.seed, device, mean, std)
    found = environment(device) | {"processes": parallel.size()}

    def best_weights() -> checkpoint.Weights:
        return checkpoint.Weights(
            network=name,
            config=config,
            out_channels=out_channels,
            input=settings.input,
            mean=mean,
            std=std,
            image_size=train_pixels.shape[1],
            environment=found,
            state=trainer.best["state"],
        )

    choices = {"seed": params.seed, **flat(name, config), **flat("train", settings.model_dump()), **found}
    keeper = resume.Keeper(STATES, name, resume.fingerprint(choices, inputs_and_code()))
    state, news = parallel.from_first(keeper.load() if parallel.rank() == 0 else None)
    if state:
        trainer.restore(state)
    say(news)
    say(f"{name}: {parameters:,} parameters, on {found['device']} with {params.threads} threads")
    say(f"{len(train_pixels)} photographs to learn from, {len(valid_pixels)} to validate")

    baseline = all_foreground(valid_pixels)
    warned = False
    try:
        while not finished(trainer.history, settings):
            one_epoch(trainer, train_pixels, valid_pixels)
            if parallel.rank() == 0:
                keeper.keep(len(trainer.history), trainer.state, last=finished(trainer.history, settings))
            wrong = symptom(trainer.history, settings.epochs, baseline)
            if wrong and not warned:
                warned = True
                say(f"warning: {name} does not learn: {wrong}. {LIKELY_CAUSES}")
    except Interrupted:
        say(f"{name}: {keeper.epochs} of {settings.epochs} epochs are kept; run again to go on from there")
        raise
    except NotFinite as stop:
        if not trainer.best["epoch"]:
            raise
        aside = STATES / f"{name}.best.pth"
        checkpoint.save(aside, best_weights())
        raise Refusal(f"{stop}; the best weights so far (epoch {trainer.best['epoch']}) are in {aside}") from None

    if parallel.rank() > 0:
        return
    checkpoint.save(Path(f"saved_models/{name}.pth"), best_weights())
    write_csv(Path(f"plots/history_{name}.csv"), [{key: row[key] for key in HISTORY} for row in trainer.history])
    result = {
        "valid_dice": trainer.best["valid_dice"],
        "best_epoch": trainer.best["epoch"],
        "epochs": len(trainer.history),
        "parameters": parameters,
        "environment": found,
    }
    write_json(Path(f"metrics/{name}.json"), result)
    keeper.path.unlink(missing_ok=True)
    say(f"{name}: best validation Dice {result['valid_dice']:.4f} in epoch {result['best_epoch']}")


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


def finished(history: list[Row], settings: Train) -> bool:
    return len(history) >= settings.epochs or 0 < settings.patience <= waiting(history)


def one_epoch(trainer: Trainer, train_pixels: torch.Tensor, valid_pixels: torch.Tensor) -> None:
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
                    say(f"no GPU: about {spoken(a_step * steps * epochs)} on this CPU")

        row = trainer.epoch(train_pixels, valid_pixels, on_step)
    seconds = time.perf_counter() - start
    say(
        f"epoch {number:{len(str(epochs))}}/{epochs}  lr {row['lr']:.2e}"
        f"  train: loss {row['train_loss']:.4f} Dice {row['train_dice']:.4f}"
        f"  valid: loss {row['valid_loss']:.4f} Dice {row['valid_dice']:.4f}"
        f"  {seconds:.1f} s, {len(train_pixels) / seconds:.0f} images/s, {spoken(seconds * (epochs - number))} left"
    )


def all_foreground(pixels: torch.Tensor) -> float:
    """Validation Dice of calling every pixel pet."""
    truth = pixels[..., 3] != BACKGROUND
    return float(dice(confusion(torch.ones_like(truth), truth)).mean())


def flat(prefix: str, values: dict[str, object]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in values.items():
        result |= flat(f"{prefix}.{key}", value) if isinstance(value, dict) else {f"{prefix}.{key}": value}
    return result


def inputs_and_code() -> list[Path]:
    """The files that a training follows from: its tensors, and every module of this project that is loaded."""
    here = Path(__file__).parent
    loaded = {Path(f) for m in list(sys.modules.values()) if (f := getattr(m, "__file__", None))}
    return [CACHE / "train.npy", CACHE / "valid.npy", *sorted(f for f in loaded if f.is_relative_to(here))]


def say(line: str) -> None:
    if line and parallel.rank() == 0:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


if __name__ == "__main__":
    run(main)
