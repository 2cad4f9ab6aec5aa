"""A review of twenty tiles in a real Chromium, by keyboard alone, by a machine's hands: what the page measures.

    python scripts/record_review.py [--picture FILE] [--pause SECONDS]

The tiles: quarters (64 × 64 px) of the eight tiles of the nuclei pool, the first twenty. The pre-labels: the brighter
of two groups of pixels (Otsu) in connected pieces, each as an object: wrong where nuclei touch, or are faint. Every
second tile is blind. The hands know the truth that was kept aside. They accept a pre-label that agrees with it (every
object at an IoU of 0.8), and otherwise delete the objects that are wrong and draw what is missing as polygons, with the
arrow keys and the space bar; they press a key and wait `--pause` seconds. A person's hands are slower or faster, and
think: the minutes below are what the page measured of this machine, and no estimate of a person's.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import sync_playwright

from synthgen import plugins
from synthgen.formats import Reading
from synthgen.geometry import decode, labels_from_ids, rle_ious
from synthgen.images import hash_image
from synthgen.people.bias import automation_bias
from synthgen.people.decisions import Decisions
from synthgen.review import serve
from synthgen.review.queue import Waiting
from synthgen.review.session import Session
from synthgen.types import Labels, Sample

ROOT = Path(__file__).parents[1]
SIDE = 64
TILES = 20
GOOD = 0.8  # IoU from which the hands leave an object as it is
SMALL = 6  # px: what is smaller nobody draws


def tiles() -> list[tuple[Sample, Labels]]:
    """Twenty tiles with their pre-labels, and the truth of each."""
    reader: Any = plugins.build("formats", "coco", {})
    found = []
    for sample in reader.read(ROOT / "assets/nuclei/pool-truth", ["nucleus"], Reading()):
        masks = decode(sample.labels.masks, sample.labels.size)
        ids = np.zeros(sample.labels.size, np.int32)
        for k, mask in enumerate(masks):
            ids[mask] = k + 1
        for y in range(0, ids.shape[0], SIDE):
            for x in range(0, ids.shape[1], SIDE):
                image = np.ascontiguousarray(sample.image[y : y + SIDE, x : x + SIDE])
                truth = ids[y : y + SIDE, x : x + SIDE]
                name = f"{sample.id}-{y}-{x}"
                found.append((Sample(name, image, prelabel(image)), _labels(truth, "human")))
    return found[:TILES]


def prelabel(image: NDArray[np.uint8]) -> Labels:
    """Otsu and connected pieces."""
    grey = cv2.GaussianBlur(image[..., 0], (5, 5), 0)
    _, bright = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return _labels(cv2.connectedComponents(bright)[1], "model")


def _labels(ids: NDArray[np.int32], reviewed: Any) -> Labels:
    large = [int(k) for k in np.unique(ids) if k and (ids == k).sum() >= SMALL]
    return labels_from_ids(ids, dict.fromkeys(large, 0), reviewed=reviewed)


class Hands:
    """Presses keys, one at a time."""

    def __init__(self, page: Any, pause: float) -> None:
        self.page, self.pause, self.keys, self.at = page, pause, 0, (SIDE // 2, SIDE // 2)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.keys += 1
            time.sleep(self.pause)

    def go(self, x: int, y: int) -> None:
        """Move the cursor to a pixel with as few keys as there are."""
        for by, back, on in ((x - self.at[0], "ArrowLeft", "ArrowRight"), (y - self.at[1], "ArrowUp", "ArrowDown")):
            key = on if by > 0 else back
            self.press(*[f"Shift+{key}"] * (abs(by) // 8), *[key] * (abs(by) % 8))
        self.at = (x, y)

    def draw(self, mask: NDArray[np.bool_]) -> None:
        """A polygon with few corners round a mask."""
        # Enlarged twice and grown by half a pixel, so that the outline runs along the pixels' edges.
        (outline, *_), _ = cv2.findContours(np.kron(mask, np.ones((2, 2))).astype(np.uint8), cv2.RETR_EXTERNAL,
                                            cv2.CHAIN_APPROX_NONE)
        points = cv2.approxPolyDP(outline, 3.0, closed=True)[:, 0]
        corners = np.clip((points + points % 2) // 2, 0, SIDE - 1)  # the last pixel stands for the border
        self.press("p")
        for x, y in corners.tolist():
            self.go(int(x), int(y))
            self.press("Space")
        self.press("Enter")


def review(hands: Hands, shown: Labels | None, truth: Labels) -> str:
    """Decide one tile by keys; what was done."""
    right = truth.masks or ()
    there = () if shown is None else shown.masks or ()
    ious = rle_ious(there, right, truth.size)
    wrong = [k for k in range(len(there)) if not (ious[k] >= GOOD).any()] if len(right) else list(range(len(there)))
    missing = [j for j in range(len(right)) if not len(there) or not (ious[:, j] >= GOOD).any()]
    if not right:
        hands.press(*[".", "Delete"] * len(there), "e")
        return "empty"
    if shown is not None and not wrong and not missing:
        hands.press("Enter")
        return "accepted"
    left = list(range(len(there)))
    for k in wrong:  # nothing is selected at first, nor after a deletion: the dot begins with the first that is left
        hands.press(*["."] * (left.index(k) + 1), "Delete")
        left.remove(k)
    for j in missing:
        hands.draw(decode([right[j]], truth.size)[0])
    hands.press("Enter")
    return "drawn" if shown is None else "corrected"


def main() -> None:
    """Serve, review, print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--picture", type=Path, help="write a picture of the page there")
    asked.add_argument("--pause", type=float, default=0.01, help="seconds between two keys")
    given = asked.parse_args()
    pool = tiles()
    samples, truths = [sample for sample, _ in pool], [truth for _, truth in pool]
    order = [Waiting(k, "random audit", True, k % 2 == 1) for k in range(len(samples))]
    with tempfile.TemporaryDirectory() as folder:
        session = Session(samples, order, Decisions(Path(folder)), "instances", ("nucleus",), "machine")
        address: list[str] = []
        threading.Thread(target=serve, args=(session,), daemon=True,
                         kwargs={"opened": address.append, "said": lambda _text: None}).start()
        while not address:
            time.sleep(0.02)
        done, wrong = _drive(address[0], session, truths, given.pause, given.picture)
        _tell(session, truths, done, wrong, given.pause)


def _drive(address: str, session: Session, truths: list[Labels], pause: float,
           picture: Path | None) -> tuple[list[tuple[str, int]], list[str]]:
    """(what was done, keys) of each tile, and what the browser complained of."""
    done, wrong = [], []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 960, "height": 640}, color_scheme="dark")
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        for k, truth in enumerate(truths):
            page.wait_for_selector(f"body[data-ready='{k}']")
            if k == 0:
                page.keyboard.press("c")  # contrast, for the picture
            shown = None if session.order[k].blind else session.pool[k].labels
            hands = Hands(page, pause)
            if picture is not None and shown is not None and len(shown) > 2:
                page.keyboard.press(".")
                page.wait_for_timeout(400)
                page.screenshot(path=picture)
                page.keyboard.press("n")
                picture = None
            done.append((review(hands, shown, truth), hands.keys))
            print(f"tile {k + 1} of {len(truths)}: {done[-1][0]}, {hands.keys} keys", file=sys.stderr)
        page.wait_for_selector("body[data-ready='end']")
        browser.close()
    return done, wrong


def _tell(session: Session, truths: list[Labels], done: list[tuple[str, int]], wrong: list[str], pause: float) -> None:
    made = session.decisions.every()
    print(f"a review of {len(made)} tiles of {SIDE} × {SIDE} px in Chromium, by keyboard alone: a machine's hands, "
          f"{pause:g} s between keys\n")
    print("tile  pre-label  objects  hands      keys  seconds  decision       mean IoU with the truth")
    for k, (one, truth, (did, keys)) in enumerate(zip(made, truths, done, strict=True)):
        ious = rle_ious(truth.masks or (), one.labels.masks or (), truth.size)
        iou = f"{ious.max(1).mean():.3f}" if ious.size else "-"
        print(f"{k + 1:4d}  {'hidden' if one.blind else 'shown':9s}  {len(truth):7d}  {did:9s} {keys:5d}  "
              f"{one.seconds or 0:7.1f}  {one.action:13s}  {iou}")
    seconds = np.array([d.seconds for d in made], np.float64)
    blind = np.array([d.blind for d in made])
    keys = np.array([n for _, n in done])
    print(f"\nminutes per tile, measured by the page: mean {seconds.mean() / 60:.3f}, "
          f"median {np.median(seconds) / 60:.3f} (pre-label shown {seconds[~blind].mean() / 60:.3f}, "
          f"hidden {seconds[blind].mean() / 60:.3f})")
    print(f"keys per tile: mean {keys.mean():.0f} (pre-label shown {keys[~blind].mean():.0f}, "
          f"hidden {keys[blind].mean():.0f}); at a person's 3 keys a second that would be "
          f"{keys.mean() / 3 / 60:.2f} minutes, thinking not counted")
    prelabels = {hash_image(s.image): s.labels for s in session.pool if s.labels is not None}
    bias = automation_bias(made, prelabels)
    print(f"agreement with the pre-label: shown {bias.shown[0]} of {bias.shown[1]}, hidden {bias.hidden[0]} of "
          f"{bias.hidden[1]}; difference {bias.value:+.2f} [{bias.interval[0]:+.2f}, {bias.interval[1]:+.2f}] "
          f"at {bias.level:.0%}")
    print(f"complaints of the browser: {len(wrong)}")
    for text in wrong:
        print(f"  {text}")


if __name__ == "__main__":
    main()
