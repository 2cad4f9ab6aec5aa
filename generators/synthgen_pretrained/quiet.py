"""The libraries behind this: asked to be quiet, and asked for when they are missing. Imports none of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from synthgen.errors import EnvironmentProblem

PIP = "pip install 'synthgen-cv[pretrained]'"


def missing(error: ImportError) -> EnvironmentProblem:
    """The error for a library that is not there, or not as it should be."""
    return EnvironmentProblem(f"the generator pretrained needs diffusers, transformers, accelerate and peft ({error}); "
                              f"say: {PIP}")


@contextmanager
def quiet() -> Iterator[None]:
    """The libraries' own bars and notes would stand between ours.

    Raises: EnvironmentProblem when a library is missing.
    """
    try:
        from transformers.utils import logging as of_transformers

        level = of_transformers.get_verbosity()
        of_transformers.set_verbosity_error()  # importing diffusers already says things through it
        from diffusers.utils import logging as of_diffusers
        from huggingface_hub import logging as of_hub
    except ImportError as error:
        raise missing(error) from None
    both = [(of_transformers, level, of_transformers.is_progress_bar_enabled()),
            (of_diffusers, of_diffusers.get_verbosity(), of_diffusers.is_progress_bar_enabled())]
    hub = of_hub.get_verbosity()
    of_hub.set_verbosity(logging.ERROR)
    for log, _, _ in both:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        of_hub.set_verbosity(hub)
        for log, was, bars in both:
            log.set_verbosity(was)
            if bars:
                log.enable_progress_bar()
