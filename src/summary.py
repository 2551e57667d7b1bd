"""What `make` says last: the test Dice of both networks, and where the pictures are."""

import json
from pathlib import Path

from utils import Refusal, run

METRICS, REPORT = Path("metrics/test.json"), Path("plots/report.html")


def main() -> None:
    lines = []
    try:
        scores = json.loads(METRICS.read_text(encoding="utf-8"))
        for name in ("unet", "resnet34_unet", "ensemble"):
            s = scores[name]
            interval = f"(95% interval {s['dice_low']:.4f} to {s['dice_high']:.4f})"
            lines.append(f"{name:14} test Dice {s['dice']:.4f}  {interval}")
        lines.append(f"{'no network':14} test Dice {scores['all_foreground']['dice']:.4f}  (everything called pet)")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refusal(f"{METRICS}: no scores to show ({type(error).__name__}); run `dvc repro`") from None
    print(*lines, sep="\n")
    print(f"Pictures: {REPORT} (open it in a browser) and {REPORT.parent}/images/")


if __name__ == "__main__":
    run(main)
