"""One HTML page that needs nothing but itself. Whatever comes from a file passes through `escape`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from oxford_pet import BORDERS
from report.looks import Look, looks
from report.pictures import EXCESS, MISSED, Photo, captions, strip_png
from utils import without_logins

BASELINES = {"all_foreground": "All pet", "mean_mask": "Mean mask"}
SCORES = {  # rows of the table
    "dice": "Dice",
    "dice_native": "Dice, original size",
    "dice_dataset": "Dice, pooled",
    "dice_cats": "Dice, cats",
    "dice_dogs": "Dice, dogs",
    "iou": "IoU",
    "iou_dataset": "IoU, pooled",
    "precision": "Precision",
    "recall": "Recall",
    "accuracy": "Pixel accuracy",
    "boundary_f1": "Boundary F1, 2 px",
}
SETTINGS = {"threshold": "Threshold", "tta": "TTA", "border": "Border", "points": "Points"}
NOTE = (
    "Dice and IoU are means over photographs; pooled, all pixels count alike. The interval shows how far chance in the "
    "choice of test photographs could move the mean. All pet calls every pixel pet; mean mask calls pet what is mostly "
    "pet in the training photographs: neither has looked at the picture. TTA is test-time augmentation. Points are the "
    "course's: a mean Dice from 0.90 on earns 100, from 0.85 on 80, from 0.80 on 60."
)

CSS = f"""
:root {{ color-scheme: light dark; --page: #fafaf8; --card: #fff; --ink: #1d1d1f; --quiet: #5d5d63; --line: #deded9;
  --excess: {EXCESS}; --missed: {MISSED} }}
@media (prefers-color-scheme: dark) {{
  :root {{ --page: #16171a; --card: #202226; --ink: #ececee; --quiet: #a3a5ad; --line: #3a3d44 }}
}}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; max-width: 1180px; padding: 24px 16px 64px; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: anywhere }}
h1 {{ font-size: 1.7rem; line-height: 1.2; margin: 0 0 4px }}
h2 {{ font-size: 1.2rem; margin: 44px 0 12px; padding-top: 12px; border-top: 1px solid var(--line) }}
p {{ margin: 8px 0; max-width: 72ch }}
.quiet, figcaption, caption, th {{ color: var(--quiet) }}
.cards {{ display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); margin: 20px 0 }}
.strips {{ display: grid; gap: 24px 28px; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)) }}
.charts {{ display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(350px, 100%), 1fr)) }}
.lists {{ columns: 4 250px; column-gap: 16px; margin-top: 16px }}
.list {{ break-inside: avoid; margin-bottom: 16px }}
.card, .list {{ background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px }}
.card {{ border-top: 5px solid }}
.card b {{ display: block; font-size: 2.1rem; line-height: 1.2; font-variant-numeric: tabular-nums }}
figure {{ margin: 0; break-inside: avoid }}
figcaption {{ font-size: .85rem }}
img {{ display: block; max-width: 100%; height: auto }}
.charts img {{ margin-bottom: 6px; background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 8px }}
.strips img {{ width: 100%; border-radius: 4px }}
.strips .name {{ font-weight: 600; color: var(--ink); font-size: .95rem; margin-bottom: 4px }}
.panels {{ display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 1%; line-height: 1.25; font-size: .78rem;
  margin-top: 4px }}
.key::before {{ content: ""; display: inline-block; width: 1em; height: 1em; margin: 0 .4em -.12em 0;
  border-radius: 3px; background: var(--colour) }}
.key {{ margin-right: 1.5em }}
.keys {{ max-width: none; margin-bottom: 16px; break-after: avoid }}
.scroll {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }}
th, td {{ padding: 5px 6px; text-align: right; border-bottom: 1px solid var(--line); vertical-align: baseline;
  font-size: .9rem; overflow-wrap: normal }}
thead th {{ border-bottom: 2px solid var(--colour, var(--line)); color: var(--ink) }}
th:first-child {{ text-align: left; font-weight: 500 }}
dl {{ display: grid; grid-template-columns: auto 1fr; gap: 2px 14px; margin: 0; font-size: .9rem }}
dd {{ margin: 0; text-align: right; font-variant-numeric: tabular-nums }}
h3 {{ font-size: 1rem; margin: 0 0 6px }}
dl + h3 {{ margin-top: 12px; color: var(--quiet); font-weight: 500 }}
@media (max-width: 500px) {{ th, td {{ font-size: .72rem; padding: 5px 3px }} }}
@media print {{
  :root {{ color-scheme: light; --page: #fff; --card: #fff; --ink: #000; --quiet: #444; --line: #ccc; font-size: 11px }}
  body {{ padding: 0; max-width: none; print-color-adjust: exact; -webkit-print-color-adjust: exact }}
  .charts {{ grid-template-columns: 1fr 1fr }}
  .lists {{ columns: 3 }}
  .strips {{ grid-template-columns: 1fr 1fr; gap: 14px }}
  .card, tr {{ break-inside: avoid }}
  h2 {{ break-after: avoid }}
}}
"""


class Chart(NamedTuple):
    png: bytes
    shows: str  # the text for those who do not see it
    caption: str


def page(title: str, lead: str, sections: Mapping[str, str]) -> str:
    """The whole page; its policy forbids the browser to fetch anything or to run a script."""
    body = "\n".join(f"<section>\n<h2>{escape(name)}</h2>\n{html}\n</section>" for name, html in sections.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{CSS}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{lead}
{body}
</body>
</html>
"""


def paragraph(text: str, style: str = "") -> str:
    return f'<p class="{style}">{escape(text)}</p>'


# --- numbers ----------------------------------------------------------------------------------------------------------


Rows = Mapping[str, Mapping[str, Any]]  # of metrics/test.json: the scores of each method


def cards(scores: Rows) -> str:
    """The one number of each network, large."""
    found = looks(name for name in scores if name not in BASELINES)
    return '<div class="cards">' + "\n".join(card(look, scores[name]) for name, look in found.items()) + "</div>"


def card(look: Look, scores: Mapping[str, Any]) -> str:
    points = f" · {escape(plain(scores['points']))} points" if "points" in scores else ""
    return (
        f'<div class="card" style="border-top-color: {look.colour}">{escape(look.title)}<b>{scores["dice"]:.3f}</b>'
        f'<span class="quiet">{interval(scores)}{points}</span></div>'
    )


def in_words(scores: Rows, differences: Sequence[Mapping[str, Any]]) -> str:
    """Which network is better, and what doing nothing would score."""
    title = {name: look.title for name, look in looks(name for name in scores if name not in BASELINES).items()}
    verdicts = [verdict(title[pair["network"]], title[pair["minus"]], pair) for pair in differences]
    if verdicts:
        verdicts.append("All networks were given the same photographs.")
    nothing = (
        f"For comparison: calling every pixel pet scores {scores['all_foreground']['dice']:.3f}, "
        f"the mean mask of the training photographs {scores['mean_mask']['dice']:.3f}. "
        f"In all scores {BORDERS[scores['all_foreground']['border']]}."
    )
    return paragraph(" ".join([*verdicts, nothing]).replace("-0.", "−0."))


def verdict(second: str, first: str, difference: Mapping[str, Any]) -> str:
    gain, low, high = (difference[key] for key in ("dice", "dice_low", "dice_high"))
    if low <= 0 <= high:
        span = f"{low:+z.3f} to {high:+z.3f}"
        return f"No clear winner: {second} minus {first} is {gain:+z.3f} Dice (95% interval {span})."
    better, worse = (second, first) if gain > 0 else (first, second)
    least, most = sorted((abs(low), abs(high)))
    return f"{better} is better than {worse} by {abs(gain):.3f} Dice (95% interval {least:.3f} to {most:.3f})."


def scores_table(scores: Rows) -> str:
    rows: list[tuple[str, ...]] = []
    for key, label in SCORES.items():
        values = [row.get(key) for row in scores.values()]
        if any(value is not None for value in values):  # there may be no cats
            rows.append((label, *("" if value is None else f"{value:.4f}" for value in values)))
    rows.insert(1, ("95% interval", *(interval(row) for row in scores.values())))
    rows += [(label, *(plain(row.get(key, "")) for row in scores.values())) for key, label in SETTINGS.items()]
    found = looks(name for name in scores if name not in BASELINES)
    columns = [(look.title, look.colour) for look in found.values()]
    columns += [(BASELINES[name], "") for name in scores if name in BASELINES]
    return table(columns, rows) + paragraph(NOTE, "quiet")


def interval(scores: Mapping[str, Any]) -> str:
    return f"{scores['dice_low']:.3f}–{scores['dice_high']:.3f}" if "dice_low" in scores else ""


def networks_table(training: Rows) -> str:
    """What the training scripts noted: the number of parameters, the best epoch, the machine."""
    keys = dict.fromkeys(key for values in training.values() for key in values)
    rows = [(spaced(key), *(plain(values.get(key, "")) for values in training.values())) for key in keys]
    return table([(look.title, look.colour) for look in looks(training).values()], rows)


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    """Columns by title and colour ('' for none); the first cell of a row is its heading."""
    head = "".join(
        f'<th scope="col" style="--colour: {colour or "var(--line)"}">{escape(title)}</th>' for title, colour in columns
    )
    body = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for first, *cells in rows
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr><td></td>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def tree(values: Mapping[str, Any]) -> str:
    """A card for the values that stand alone, and one for each group."""
    below = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    alone = {key: value for key, value in values.items() if key not in below}
    groups = [group(name, value) for name, value in {**({"": alone} if alone else {}), **below}.items()]
    return '<div class="lists">' + "\n".join(f'<div class="list">{html}</div>' for html in groups) + "</div>"


def group(name: str, values: Mapping[str, Any]) -> str:
    below = {key: value for key, value in values.items() if isinstance(value, Mapping) and value}
    flat = {key: value for key, value in values.items() if key not in below}
    heading = f"<h3>{escape(name)}</h3>" if name else ""
    items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(plain(value))}</dd>" for key, value in flat.items())
    return f"{heading}<dl>{items}</dl>" + "".join(group(f"{name}.{key}", value) for key, value in below.items())


def plain(value: Any) -> str:
    """As one would type it into a YAML file; the digits of large counts in groups."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
        return f"{value:_}".replace("_", "\u202f")
    return without_logins(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def spaced(key: str) -> str:
    return key.replace("_", " ")


# --- pictures ---------------------------------------------------------------------------------------------------------


def charts(*items: Chart) -> str:
    return '<div class="charts">' + "\n".join(figure(item) for item in items) + "</div>"


def figure(item: Chart) -> str:
    return f"<figure>{image(item.png, item.shows)}<figcaption>{escape(item.caption)}</figcaption></figure>"


def strips(photos: Sequence[Photo]) -> str:
    """Photographs with what the networks made of them; the text stays text, so that a phone can wrap it."""
    return '<div class="strips">' + "\n".join(strip_figure(photo) for photo in photos) + "</div>"


def strip_figure(photo: Photo) -> str:
    shows = f"{photo.name}: " + ", ".join(captions(photo))
    panels = "".join(f"<span>{escape(text)}</span>" for text in captions(photo))
    return (
        f'<figure><div class="name">{escape(spaced(photo.name))}</div>{image(strip_png(photo), shows)}'
        f'<figcaption class="panels">{panels}</figcaption></figure>'
    )


def mistakes_key() -> str:
    return (
        '<p class="keys"><span class="key" style="--colour: var(--excess)">wrongly called pet</span>'
        '<span class="key" style="--colour: var(--missed)">pet not found</span> '
        '<span class="quiet">Grey is right: light where pet is, dark where background is.</span></p>'
    )


def image(png: bytes, shows: str) -> str:
    """Width and height keep the page from jumping while it loads."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    data = base64.b64encode(png).decode()
    return f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{escape(shows)}">'
