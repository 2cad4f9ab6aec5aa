"""Put what was measured into the README: `python scripts/figures.py`; or measure first: `… NAME COMMAND…`.

`docs/measured/NAME.txt` holds a command line and everything it printed to stdout; the README shows the same text.
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
    """Write each measured text after its marker in the README."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    for found in sorted((ROOT / "docs/measured").glob("*.txt")):
        mark = f"<!-- measured: {found.stem} -->\n"
        if mark not in text:
            raise SystemExit(f"README.md has no line {mark.strip()}")
        block = f"{mark}```text\n{found.read_text(encoding='utf-8')}```\n"
        text = re.sub(re.escape(mark) + r"(```text\n.*?```\n)?", lambda _, block=block: block, text, flags=re.S)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        measure(sys.argv[1], sys.argv[2:])
    show()
