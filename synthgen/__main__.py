"""`python -m synthgen`: the command line."""

from synthgen.cli import main

raise SystemExit(main())
