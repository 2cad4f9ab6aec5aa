"""`python -m synthgen.review RECIPE`: the review page of a run."""

from __future__ import annotations

import argparse
import sys
import webbrowser

from synthgen.errors import SynthgenError
from synthgen.recipe.load import load
from synthgen.review import open_session, serve
from synthgen.run import job_of


def main() -> int:
    """Serve the page of a recipe's run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m synthgen.review", description="The review page of a run.")
    parser.add_argument("recipe")
    parser.add_argument("--by", help="who decides; without it, the user of this machine")
    parser.add_argument("--images", type=int, help="at most so many")
    parser.add_argument("--port", type=int, default=0, help="to listen on; without it, a free one")
    parser.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    given = parser.parse_args()
    try:
        session = open_session(job_of(load(given.recipe)), given.by, given.images)
        serve(session, port=given.port, opened=None if given.no_browser else webbrowser.open)
    except SynthgenError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
