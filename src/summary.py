"""What `make` says last: the test Dice of each network, and where the pictures are."""

from __future__ import annotations

import json
from pathlib import Path

from commands.lock import md5, read_lock
from commands.stale import stale
from oxford_pet import BORDERS
from utils import Refusal, described, printable, run

METRICS, REPORT = Path("metrics/test.json"), Path("plots/report.html")


def main() -> None:
    lines = []
    try:
        values = json.loads(METRICS.read_text(encoding="utf-8"))
        scores = {row["method"]: row for row in values["scores"]}
        for name in values:
            if name in scores:
                row = scores[name]
                interval = f"(95% interval {row['dice_low']:.4f} to {row['dice_high']:.4f})"
                lines.append(f"{name:14} test Dice {row['dice']:.4f}  {interval}")
        nothing = scores["all_foreground"]
        lines.append(f"{'no network':14} test Dice {nothing['dice']:.4f}  (everything called pet)")
        lines.append(f"In all scores {BORDERS[nothing['border']]}.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refusal(f"{METRICS}: no scores to show ({type(error).__name__}); run `dvc repro`") from None
    for line in lines:
        print(printable(line))
    if trained_since():
        print("A network was trained after these scores were made: run `dvc repro`")
    if changed := stale():
        print(printable(changed))
    print(f"Pictures: {REPORT} (open it in a browser) and {REPORT.parent}/images/")


def trained_since() -> bool:
    """Are the weights other ones than those that were scored?"""
    if not Path("dvc.lock").is_file():
        return False
    scored = {Path(entry["path"]): entry["md5"] for entry in read_lock(Path()).get("evaluate", {}).get("deps", [])}
    weights = [file for file in scored if file.suffix == ".pth" and file.is_file()]  # DVC may have put links there
    return any(md5(file) != scored[file] for file in weights)


if __name__ == "__main__":
    described(__doc__).parse_args()
    run(main)
