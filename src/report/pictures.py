"""Pictures as PNG bytes; equal numbers give equal bytes. The look of a mistake is chosen here."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

os.environ["MPLBACKEND"] = "agg"  # in a notebook it names a package that this environment need not have

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image

from report.looks import Look, looks

EXCESS, MISSED = "#D55E00", "#56B4E9"  # false positives, false negatives
MISTAKES = {"wrongly called pet": EXCESS, "pet not found": MISSED}

NO_BREEDS = "Dice: this dataset names no breeds"

INK, QUIET, GRID = "#222222", "#666666", "#e4e4e4"
WIDTH = 5.0  # inches: narrow, so that the text is still readable where a phone shows the picture
TITLE = 11.5  # points
PANEL = 128  # pixels; smaller cached pictures are enlarged to at least this side
GAP = 0.04  # between the panels of a strip, as a share of a panel
DASHED = (0, (3, 1.5))

matplotlib.style.use(  # "default" first: a matplotlibrc of the user's must not change a byte
    [
        "default",
        {
            "font.family": "DejaVu Sans",  # comes with matplotlib
            "font.size": 10,
            "text.parse_math": False,  # a dollar sign in a name is a dollar sign
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": QUIET,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": GRID,
            "xtick.color": QUIET,
            "ytick.color": QUIET,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "legend.borderpad": 0,
            "legend.borderaxespad": 0.3,
            "legend.columnspacing": 1.6,
            "lines.linewidth": 1.6,
            "lines.markersize": 7,
            "lines.markeredgecolor": "white",
            "savefig.dpi": 160,
        },
    ]
)


class Photo(NamedTuple):
    """A test photograph at its cached size and what the networks made of it."""

    name: str
    image: np.ndarray  # (side, side, 3) uint8
    truth: np.ndarray  # (side, side) bool
    predicted: Mapping[str, np.ndarray]  # a mask like `truth` for each network
    dice: Mapping[str, float]


# --- charts -----------------------------------------------------------------------------------------------------------


def curves(histories: Mapping[str, pd.DataFrame], quantity: str, label: str, best: Mapping[str, int]) -> bytes:
    """`train_` and `valid_` of a quantity by epoch; the `best` epoch is marked on the validation curve."""
    figure, axes = chart("epoch", label)
    handles: list[Artist] = []
    look_of = looks(histories)
    for name, history in histories.items():
        look, epochs = look_of[name], history["epoch"].to_numpy()
        train, valid = history[f"train_{quantity}"].to_numpy(), history[f"valid_{quantity}"].to_numpy()
        axes.plot(epochs, train, color=look.colour, linestyle=DASHED, linewidth=1)
        axes.plot(epochs, valid, color=look.colour)
        if len(epochs) == 1:  # a line of one point is invisible
            axes.plot(epochs, train, look.marker, color=look.colour, fillstyle="none", markeredgecolor=look.colour)
        at = int(abs(epochs - best[name]).argmin())
        axes.plot(epochs[at], valid[at], look.marker, color=look.colour, zorder=3)
        handles.append(key(look, f"{look.title}: best {valid[at]:.3f} in epoch {epochs[at]:g}"))
    handles.append(Line2D([], [], color=QUIET, label="validation"))
    handles.append(Line2D([], [], color=QUIET, linestyle=DASHED, linewidth=1, label="training"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if quantity == "loss":
        cut_peak(axes, np.concatenate([history[["train_loss", "valid_loss"]] for history in histories.values()]))
    legend(figure, f"{label} by epoch", handles)
    return png(figure)


def cut_peak(axes: Axes, losses: np.ndarray) -> None:
    """The first epochs can be so bad that all others would lie flat on the axis."""
    highest, usual = float(losses.max()), float(np.median(losses))
    if highest > 10 * usual:
        axes.set_ylim(0, 3 * usual)
        axes.set_ylabel(f"Loss (axis cut; highest: {highest:.3g})")
    else:
        axes.set_ylim(0, 1.05 * highest or 1)


def thresholds(table: pd.DataFrame, used: Mapping[str, float]) -> bytes:
    """Validation Dice by threshold for each network, the threshold in use marked."""
    figure, axes = chart("probability from which a pixel is called pet", "Dice of the validation split")
    handles: list[Artist] = []
    look_of = looks(used)
    for name, threshold in used.items():
        look, x, y = look_of[name], table["threshold"], table[name]
        axes.plot(x, y, color=look.colour)
        axes.plot(threshold, np.interp(threshold, x, y), look.marker, color=look.colour)
        handles.append(key(look, f"{look.title}: {threshold:g} used"))
    legend(figure, "Validation Dice by threshold", handles)
    return png(figure)


def distribution(scores: Mapping[str, np.ndarray]) -> bytes:
    """A histogram of the photographs' Dice for each network, one above the other on the same axes."""
    figure = Figure(figsize=(WIDTH, 0.9 + 1.15 * len(scores)), layout="constrained")
    low = min(0.9, np.floor(10 * min(values.min() for values in scores.values())) / 10)
    rows = figure.subplots(len(scores), sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, look, values in zip(rows, looks(scores).values(), scores.values(), strict=True):
        axes.hist(values, bins=np.linspace(low, 1, 26), color=look.colour, edgecolor="white", linewidth=0.5)
        axes.axvline(values.mean(), color=INK, linewidth=1)
        text = f"{look.title}: mean {values.mean():.3f} (line), median {np.median(values):.3f}"
        axes.set_title(text, loc="left", fontsize=10)
        axes.grid(axis="x", visible=False)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True, min_n_ticks=1))
    figure.suptitle("Dice of the test photographs", x=0.01, ha="left", fontweight="bold", fontsize=TITLE)
    figure.supylabel("photographs", fontsize=10)
    rows[-1].set_xlabel("Dice of a photograph")
    rows[-1].set_xlim(low, 1)
    return png(figure)


def by_group(table: pd.DataFrame, names: Sequence[str]) -> bytes:
    """Mean Dice of all photographs, of cats and dogs, and of each breed, the best on top; where there are any."""
    mean = table[[f"{name}_dice" for name in names if name != "ensemble"]].mean(axis=1)
    order = table.assign(is_breed=table["kind"] == "breed", mean=mean).sort_values(
        ["is_breed", "kind", "mean", "group"], ascending=[True, True, False, True]
    )
    figure, axes = chart("mean Dice of the test photographs", "", height=1.4 + 0.24 * len(order))
    rows, scores = np.arange(len(order)), order[[f"{name}_dice" for name in names]].to_numpy()
    axes.hlines(rows, scores.min(axis=1), scores.max(axis=1), color="#bbbbbb", linewidth=1.2, zorder=1)
    handles: list[Artist] = []
    for name, look in looks(names).items():
        handles += axes.plot(order[f"{name}_dice"], rows, look.marker, color=look.colour, label=look.title)
    if has_breeds(table):
        axes.axhline((~order["is_breed"]).sum() - 0.5, color=QUIET, linewidth=0.8)
    labels = [f"{short(group)} ({count})" for group, count in zip(order["group"], order["images"], strict=True)]
    axes.set_yticks(rows, labels)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    legend(figure, "Dice by breed" if has_breeds(table) else NO_BREEDS, handles, columns=3)
    return png(figure)


def has_breeds(table: pd.DataFrame) -> bool:
    return bool((table["kind"] == "breed").any())


def chart(x: str, y: str, height: float = 3.6) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y)
    return figure, axes


def key(look: Look, text: str) -> Line2D:
    return Line2D([], [], color=look.colour, marker=look.marker, label=text)


def legend(figure: Figure, title: str, handles: Sequence[Artist], columns: int = 2) -> None:
    """Heading and key above the axes, where no data can be hidden."""
    box = figure.legend(handles=handles, ncols=columns, loc="outside upper left", alignment="left")
    box.set_title(title, prop=FontProperties(size=TITLE, weight="bold"))


def short(name: str, longest: int = 26) -> str:
    name = name.replace("_", " ")
    return name if len(name) <= longest else f"{name[: longest - 1].rstrip()}…"


def png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})  # the default names matplotlib's version
    return buffer.getvalue()


# --- photographs ------------------------------------------------------------------------------------------------------


def strip(photo: Photo) -> np.ndarray:
    """Photograph, truth and each network's mask side by side: (height, width, 4), the gaps transparent."""
    side = photo.image.shape[0]
    times = -(-PANEL // side)
    image = Image.fromarray(photo.image).resize((side * times, side * times), Image.Resampling.BICUBIC)
    colour, grey = np.asarray(image), np.asarray(image.convert("L"))
    truth = enlarged(photo.truth, times)
    masks = [truth, *(enlarged(mask, times) for mask in photo.predicted.values())]
    gap = np.zeros((side * times, round(GAP * side * times), 4), np.uint8)
    panels = [colour, *(marked(grey, truth, mask) for mask in masks)]
    opaque = np.full((*grey.shape, 1), 255, np.uint8)
    return np.hstack([part for panel in panels for part in (gap, np.dstack([panel, opaque]))][1:])


def enlarged(mask: np.ndarray, times: int) -> np.ndarray:
    return mask.repeat(times, 0).repeat(times, 1)


def marked(grey: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The grey photograph, light where pet was found, dark where background was, mistakes in their colours."""
    shade = np.where(truth, 120 + 0.53 * grey, 0.35 * grey)
    picture = np.repeat(shade.astype(np.uint8)[..., None], 3, axis=2)
    picture[predicted & ~truth] = rgb(EXCESS)
    picture[truth & ~predicted] = rgb(MISSED)
    return picture


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(round(255 * share) for share in to_rgb(colour))


def strip_png(photo: Photo) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(strip(photo)).save(buffer, "PNG")
    return buffer.getvalue()


def sheet(photos: Sequence[Photo], title: str) -> bytes:
    """The strips of some photographs, two to a row, with names and scores."""
    columns = min(2, len(photos))
    rows = -(-len(photos) // columns)
    strips = [strip(photo) for photo in photos]
    width, space, top, text = 5.0, 0.3, 0.75, 0.5  # inches: a strip, between strips, the heading, around a strip
    height = width * strips[0].shape[0] / strips[0].shape[1]
    across, down = space + columns * (width + space), top + rows * (height + text)
    figure = Figure(figsize=(across, down))
    figure.text(space / across, 1 - 0.25 / down, title, fontweight="bold", fontsize=TITLE, va="center")
    patches = [Patch(color=colour, label=label) for label, colour in MISTAKES.items()]
    figure.legend(handles=patches, ncols=2, loc="upper left", bbox_to_anchor=(space / across, 1 - 0.42 / down))
    for index, (photo, pixels) in enumerate(zip(photos, strips, strict=True)):
        left = space + index % columns * (width + space)
        bottom = down - top - (index // columns + 1) * (height + text) + 0.15
        axes = figure.add_axes((left / across, bottom / down, width / across, height / down))
        axes.imshow(pixels, interpolation="bilinear", aspect="auto")
        axes.set_axis_off()
        name = short(photo.name, 60)
        axes.annotate(name, (0, 1), (0, 13), "axes fraction", "offset points", fontsize=9, fontweight="bold")
        step = (1 + GAP) * pixels.shape[0] / pixels.shape[1]  # from one panel to the next
        for panel, caption in enumerate(captions(photo)):
            at = (panel * step, 1)
            axes.annotate(caption, at, (0, 3), "axes fraction", "offset points", fontsize=8, color=QUIET)
    return png(figure)


def captions(photo: Photo) -> list[str]:
    """What each panel of a strip shows."""
    found = looks(photo.predicted).items()
    return ["photograph", "truth", *(f"{look.title} {photo.dice[name]:.3f}" for name, look in found)]
