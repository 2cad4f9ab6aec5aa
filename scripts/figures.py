"""Put what was measured into the documents: `python scripts/figures.py`; or measure first: `… NAME COMMAND…`.

`docs/measured/NAME.txt` holds a command line and everything it printed to stdout; the README or docs/measured.md shows
the same text.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def measure(name: str, command: list[str]) -> None:
    """Run a command in the checkout and keep what it prints."""
    done = subprocess.run([sys.executable if word == "python" else word for word in command], cwd=ROOT, check=True,
                          stdout=subprocess.PIPE, text=True)
    (ROOT / f"docs/measured/{name}.txt").write_text(f"$ {' '.join(command)}\n{done.stdout.strip()}\n", encoding="utf-8")


def show() -> None:
    """Write each measured text after its marker, in whichever document has it."""
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", ROOT / "docs/measured.md")}
    for found in sorted((ROOT / "docs/measured").glob("*.txt")):
        mark = f"<!-- measured: {found.stem} -->\n"
        places = [path for path, text in texts.items() if mark in text]
        if len(places) != 1:
            raise SystemExit(f"one of README.md and docs/measured.md must have the line {mark.strip()}")
        block = f"{mark}```text\n{found.read_text(encoding='utf-8')}```\n"
        pattern = re.escape(mark) + r"(```text\n.*?```\n)?"
        texts[places[0]] = re.sub(pattern, lambda _, block=block: block, texts[places[0]], flags=re.S)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        measure(sys.argv[1], sys.argv[2:])
    show()
