"""Whatever a file holds, reading it ends well or in one line: never in an exception of Python's own."""

from __future__ import annotations

import copy
import io
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import download
import evaluate
import params
import pets
import plot
import preprocess
import recipe
from handmade import bright
from params import whole
from photos import Unusable, open_photo, open_trimap
from reliability import fault
from results import NETWORKS, make_results
from scoring import splits
from shared import checkpoint
from source.layout import layout
from utils import Refusal

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # src/photos does the same for the scripts

T = TypeVar("T")
FEW, MANY = 50, 200
COMMITTED = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")
ENDS = "read, or refused in one line; never another exception"

amounts = pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.torture)])


def every(examples: int, inputs: st.SearchStrategy[T], use: Callable[[T], object]) -> None:
    """`use` ends well or in a refusal. A few examples are the same on every run; of many, each run draws its own."""

    @settings(max_examples=examples, derandomize=examples == FEW, database=None)
    @given(inputs)
    def holds(value: T) -> None:
        try:
            use(value)
        except (Refusal, Unusable) as refusal:
            assert str(refusal)
            assert "\n" not in str(refusal)

    holds()


def changed(sound: bytes) -> st.SearchStrategy[bytes]:
    """A few places overwritten, filled up, left out; now and then all of it something else."""
    place = st.integers(0, len(sound)) | st.integers(0, min(len(sound), 64))
    edit = st.tuples(place, st.sampled_from([0, 1, 1, 2, 8, len(sound)]), st.binary(max_size=8))
    return st.lists(edit, min_size=1, max_size=4).map(partial(edited, sound)) | st.binary(max_size=200)


def edited(sound: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, gone, new in edits:
        sound = sound[:place] + new + sound[place + gone :]
    return sound


def reading(file: Path, read: Callable[[], object]) -> Callable[[bytes], object]:
    """Writes the file, then reads it."""
    file.parent.mkdir(parents=True, exist_ok=True)

    def use(content: bytes) -> object:
        file.write_bytes(content)
        return read()

    return use


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- parameters -------------------------------------------------------------------------------------------------------

words = st.text(max_size=8) | st.sampled_from(["train", "lr", "augment", "unet", "data", "source", "<<", "="])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
SCRAPS = """- |: |? |{|}|[|]|&a |*a|!!int |!!timestamp |!!bool |!!binary |!!python/name:x |>- |'|"|\\|#|  |---|%YAML 9
<<: |= |2001-99-99|0x|0b2|1e999|190:20:30|.nan|~|\ud7ff|\ufeff|\0|\x85|a|1"""
scraps = st.sampled_from([*SCRAPS.split("|"), "|\n", "\n", "\t", "9" * 5000])


def replaced(values: dict[str, Any], path: list[int], value: Any, key: str | None) -> dict[str, Any]:
    """Another value, at a place that the numbers lead to; under another key where one is given."""
    values = copy.deepcopy(values)
    place = values
    *sections, last = path
    for number in sections:
        below = list(place.values())[number % len(place)]
        if isinstance(below, dict) and below:
            place = below
    place[list(place)[last % len(place)] if key is None else key] = value
    return values


@amounts
@fault("Input", "params.yaml with any values and keys", ENDS)
def test_any_parameters(examples: int) -> None:
    steps = st.lists(st.integers(0, 40), min_size=1, max_size=3)
    every(
        examples,
        st.builds(
            replaced,
            st.just(params.read(Path(__file__).parents[2] / "params.yaml")),
            steps,
            anything,
            st.none() | words,
        ),
        lambda values: whole.check(values, "params.yaml"),
    )


@amounts
@fault("Input", "params.yaml with any text", ENDS)
def test_any_text_for_parameters(examples: int) -> None:
    texts = (
        st.lists(scraps | st.text(max_size=4), max_size=12).map("".join).map(lambda text: text.encode(errors="replace"))
    )
    every(examples, texts | changed(COMMITTED.encode()), reading(Path("params.yaml"), params.load))


@amounts
@fault("Input", "a recipe with any text", ENDS)
def test_any_recipe(examples: int) -> None:
    sound = b"about: x\nneeds_gpu: true\nparams:\n  train: {lr: 0.1}\n  data: {source: oxford}\n"
    every(
        examples,
        changed(sound),
        reading(Path("recipes/mine.yaml"), lambda: list(params.flat(recipe.read("mine")["params"]))),
    )


# --- data -------------------------------------------------------------------------------------------------------------

LINES = "".join(f"{pets.list_line(number)}\n" for number in range(1, 8)).encode()


@amounts
@fault("Input", "lists with any bytes", ENDS)
def test_any_list(examples: int) -> None:
    source = pets.make_dataset(Path("source"), trainval=2, test=1)

    def read() -> None:
        download.select(layout(source, "", []), Path("target"))
        preprocess.read_splits(source / "annotations")
        splits.official(source, 32, "test")

    every(examples, changed(LINES), reading(source / "annotations/test.txt", read))


def stored(kind: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((20, 30)).point(lambda value: 1 + value // 86).convert(mode).save(buffer, kind)
    return buffer.getvalue()


@amounts
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP"])
@fault("Input", "photographs with any bytes", ENDS)
def test_any_photograph(examples: int, kind: str) -> None:
    file = Path("x.jpg")
    every(examples, changed(stored(kind)), reading(file, lambda: open_photo(file)))


@amounts
@pytest.mark.parametrize("mode", ["L", "P"])
@fault("Input", "masks with any bytes", ENDS)
def test_any_mask(examples: int, mode: str) -> None:
    file = Path("x.png")
    every(examples, changed(stored("PNG", mode)), reading(file, lambda: open_trimap(file)))


@amounts
@fault("Input", "archives with any bytes", ENDS)
def test_any_archive(examples: int) -> None:
    source = pets.make_dataset(Path("source"), trainval=2, test=1)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(source / "images", "images")
    file = Path("images.tar.gz")
    every(examples, changed(buffer.getvalue()), reading(file, lambda: download.unpack([file], Path("unpacked"))))


@amounts
@fault("Input", "checksums with any bytes", ENDS)
def test_any_checksums(examples: int) -> None:
    file, sound = Path("md5sums.txt"), b"95a8c909bbe2e81eed6a22bccdf3f68f  images.tar.gz\n" * 2
    every(examples, changed(sound), reading(file, lambda: download.read_sums(file)))


# --- results ----------------------------------------------------------------------------------------------------------


@amounts
@fault("Input", "weights with any bytes", ENDS)
def test_any_weights(examples: int) -> None:
    file = Path("unet.pth")
    checkpoint.save(file, bright())
    every(examples, changed(file.read_bytes()), reading(file, lambda: checkpoint.load(file)))


READERS: dict[str, Callable[[Path], object]] = {
    "plots/history_unet.csv": lambda file: plot.read_table(file, numbers=plot.HISTORY),
    "metrics/test.json": lambda file: plot.read_scores(file, [*NETWORKS, "ensemble"]),
    "metrics/data.json": plot.read_counts,
    "metrics/unet.json": plot.read_training,
    "plots/images/dataset.png": plot.read_png,
}


@amounts
@pytest.mark.parametrize("name", READERS)
@fault("Input", "tables, metrics and pictures of a run with any bytes", ENDS)
def test_any_result(examples: int, name: str) -> None:
    make_results(Path())
    file = Path(name)
    every(examples, changed(file.read_bytes()), reading(file, lambda: READERS[name](file)))


@amounts
@fault("Input", "kept predictions with any bytes", ENDS)
def test_any_predictions(examples: int) -> None:
    make_results(Path(), images=4, shown=2, side=8)
    file, dices = Path("dataset/predictions.npz"), [f"{name}_dice" for name in NETWORKS]
    table = plot.read_table(Path("plots/test_images.csv"), dices, ("name",))
    every(examples, changed(file.read_bytes()), reading(file, lambda: plot.read_photos(file, table, NETWORKS, "pet")))


@amounts
@fault("Input", "tensors and their table with any bytes", ENDS)
def test_any_tensors(examples: int) -> None:
    pets.make_dataset(preprocess.DATASET, trainval=3, test=2)
    pets.write_data_params(Path(), image_size=16)
    preprocess.main()
    for suffix in ("npy", "csv"):
        file = preprocess.CACHE / f"test.{suffix}"
        sound = file.read_bytes()
        every(examples, changed(sound), reading(file, lambda: evaluate.cached("test")))
        file.write_bytes(sound)
