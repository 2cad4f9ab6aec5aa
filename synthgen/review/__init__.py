"""The review page: a person looks at labels in a browser, on this machine only."""

from __future__ import annotations

import contextlib
import getpass
import secrets
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from synthgen.errors import DataError, EnvironmentProblem

if TYPE_CHECKING:
    from synthgen.review.session import Session
    from synthgen.stages import Job

LOOPBACK = "127.0.0.1"

__all__ = ["open_session", "serve"]


def open_session(job: Job, by: str | None = None, images: int | None = None) -> Session:
    """What waits for a person in a run. by: who decides; without it, the user of this machine. images: at most so many.

    Raises: DataError when the pool is not labelled yet, or nothing waits.
    """
    from synthgen.people.decisions import Decisions
    from synthgen.review.queue import labelled, waiting
    from synthgen.review.session import Session

    pool, decisions = labelled(job), Decisions(job.work.folder / "people")
    order = waiting(job, pool, decisions.latest())
    if not order:
        raise DataError(f"{job.recipe.name}: nothing waits for a person: the audit is answered, and no label is "
                        "in doubt")
    return Session(pool, order[:images], decisions, job.recipe.task, job.recipe.classes, by or getpass.getuser())


def serve(
    session: Session, *, host: str = LOOPBACK, port: int = 0, said: Callable[[str], None] = print,
    opened: Callable[[str], object] | None = None,
) -> int:  # fmt: skip
    """Serve the page until Ctrl-C; how many images were decided.

    host: 127.0.0.1, and nothing else: the page has no users and no encryption. port: 0 takes a free one. said: is told
    the address and how it ended. opened: is given the address once the server listens, to open a browser.
    Raises: EnvironmentProblem when starlette or uvicorn is missing, the port is taken, or another host is asked for.
    """
    if host not in (LOOPBACK, "localhost"):
        raise EnvironmentProblem(f"the review page listens on {LOOPBACK} only, not on {host}: it shows your images to "
                                 "whoever reaches it; from another machine, tunnel: ssh -L")
    try:
        import uvicorn

        from synthgen.review.app import build
    except ModuleNotFoundError as error:
        raise EnvironmentProblem(f"the review page needs {error.name}: pip install 'synthgen-cv[review]'") from None
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, port))
        except OSError as error:
            raise EnvironmentProblem(f"port {port} cannot be used ({error.strerror}); choose another, or 0 for a free "
                                     "one") from None
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        address = f"http://{LOOPBACK}:{port}/?token={token}"
        config = uvicorn.Config(build(session, port, token), log_level="error", access_log=False, server_header=False,
                                lifespan="off", ws="none", timeout_graceful_shutdown=2)
        said(f"{len(session.ids)} images wait for {session.by}. Open (once; the address holds a secret):\n{address}\n"
             "Ctrl-C ends it; what is decided is kept.")
        listening.listen()
        if opened is not None:
            opened(address)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
    said(f"{session.decided} images decided, {session.skipped} skipped, "
         f"{len(session.ids) - session.decided - session.skipped} left.")
    return session.decided
