"""Look at the outcome of the demo: `python scripts/check_demo.py RUN_FOLDER`. Exits 1 with everything that is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Check verdict, scores, exports and report of a finished run."""
    folder = Path(sys.argv[1])
    verdict = json.loads((folder / "6-evaluate/verdict.json").read_text())
    coco = json.loads((folder / "7-export/coco/annotations.json").read_text())
    page = (folder / "report/index.html").stat().st_size
    yolo = list((folder / "7-export/yolo").rglob("*.txt"))
    wrong = []
    if verdict["verdict"] == "fail":
        wrong.append("the gate refused the demo")
    for arm, least in (("real", 0.85), ("mixed", 0.85)):
        if verdict["test"][arm]["dice"]["value"] < least:
            wrong.append(f"Dice of {arm} on the test is {verdict['test'][arm]['dice']['value']}, below {least}")
    if len(coco["images"]) < 150 or not coco["annotations"]:
        wrong.append(f"the COCO export holds {len(coco['images'])} images and {len(coco['annotations'])} annotations")
    # Pool tiles with doubtful labels cannot be said in YOLO and are left out of it; there are eight pool tiles.
    if not len(coco["images"]) - 8 <= len(yolo) <= len(coco["images"]):
        wrong.append(f"YOLO holds {len(yolo)} label files, COCO {len(coco['images'])} images")
    if not 50_000 < page < 15_000_000:
        wrong.append(f"the report is {page} bytes")
    for line in wrong:
        print(line, file=sys.stderr)
    scores = ", ".join(
        f"{arm} Dice {s['dice']['value']:.3f} AP50 {s['ap50']['value']:.3f}" for arm, s in verdict["test"].items()
    )
    print(f"demo: {verdict['verdict']}; {scores}; {len(coco['images'])} images exported; report {page / 1e6:.1f} MB")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
