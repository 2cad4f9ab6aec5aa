"""What a plug-in must keep, as checks that its own tests can call: one line each.

Each check runs the plug-in on a few small images and raises AssertionError with a sentence that says what
was promised, what was seen and, where it helps, what usually causes it. A third party's whole test may be::

    from synthgen.testing import check_generator, tiny_real
    check_generator(Dots(radius=3), tiny_real())
"""

from synthgen.testing.check import check_check
from synthgen.testing.format import check_format
from synthgen.testing.generator import check_generator
from synthgen.testing.tiny import digest, tiny_context, tiny_images, tiny_real, tiny_recipe
from synthgen.testing.trainer import check_trainer

__all__ = [
    "check_check",
    "check_format",
    "check_generator",
    "check_trainer",
    "digest",
    "tiny_context",
    "tiny_images",
    "tiny_real",
    "tiny_recipe",
]
