"""Labelling functions: `otsu`, `colour`, `template`, `size`, `labeler`, `chat`, and foundation models: `clip`,
`boxes`, `sam`.

Each sees one image at a time and says what a rule sees in it. None needs to be right: the label model learns from the
votes how far to trust whom. Importing this imports no torch.
"""

from __future__ import annotations

from synthgen_functions.chat import Chat
from synthgen_functions.classic import Colour, Otsu, Template
from synthgen_functions.foundation import Boxes, Clip, Sam
from synthgen_functions.saved import Labeler
from synthgen_functions.size import Size

__all__ = ["Boxes", "Chat", "Clip", "Colour", "Labeler", "Otsu", "Sam", "Size", "Template"]
