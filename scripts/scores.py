"""What a finished run scored on its locked test: `python scripts/scores.py RUN_FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """One line per labeler and metric, with interval and number of images; then what the gate said of utility."""
    verdict = json.loads((Path(sys.argv[1]) / "6-evaluate/verdict.json").read_text())
    for arm, scores in verdict["test"].items():
        for metric, found in scores.items():
            if isinstance(found, dict) and found.get("interval"):
                low, high = found["interval"]
                print(f"{arm:<6} {metric:<12} {found['value']:.3f} [{low:.3f}, {high:.3f}]  {scores['n']} test images")
    for m in verdict["measurements"]:
        if m["check"] == "utility":
            print(f"{m['name']}: {m['why']}")
    print(f"the gate: {verdict['verdict']}")


if __name__ == "__main__":
    main()
