"""`chat`: a chat model that sees, behind an endpoint that the recipe names. Images leave this machine."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.images import hash_image, png_bytes
from synthgen.types import Context, Image, Json, Labels
from synthgen_functions.options import OPTIONS

LOOPBACK = ("localhost", "127.0.0.1", "::1")
LONGEST = 1 << 20  # bytes of an answer that are read


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nobody: what is sent goes where the recipe says, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(kw_only=True, config=OPTIONS)
class Chat:
    """A vision chat model behind an OpenAI-compatible endpoint. It sends every pool image there, and logs each."""

    TASKS: ClassVar[tuple[str, ...]] = ("classify", "detect", "instances")

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s]+$", examples=["https://host/v1/chat/completions"])]
    """Full address that requests are posted to; https, or http on this machine."""
    model: Annotated[str, Field(min_length=1)]
    """Name of the model at that endpoint."""
    key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable that holds the key; the key itself stands in no recipe and no log. null = none needed."""
    hint: Annotated[str, Field(max_length=2000)] = ""
    """What the model should know of the images and classes beside their names."""
    timeout: Annotated[float, Field(gt=0, le=600)] = 30.0
    """Seconds until an answer is given up."""
    log: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "sent.jsonl"
    """File beside the recipe to which every request's facts are added before it is sent."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise ValueError("endpoint: images and the key would cross the network in clear; use https")
        if parts.username or parts.password:
            raise ValueError("endpoint: a password does not belong into a recipe; name key_variable")
        self._counts: Counter[str] = Counter()
        self._context: Context | None = None
        self._key = ""

    def prepare(self, context: Context) -> None:
        """Raises: EnvironmentProblem when the key's variable is not set, or the log cannot be written."""
        if self.key_variable is not None:
            self._key = os.environ.get(self.key_variable, "")
            if not self._key:
                raise EnvironmentProblem(f"chat: the environment variable {self.key_variable} is not set; put the "
                                         "endpoint's key into it")
        self._context = context
        self._add()

    def counts(self) -> dict[str, int]:
        """How many images were sent, and of how many nothing came back that could be used, by reason."""
        return dict(sorted(self._counts.items()))

    def __call__(self, image: Image) -> Labels | None:
        """An image class (task classify) or boxes; None where the endpoint fails or its answer is no such thing.

        Raises: DataError when it was not prepared; EnvironmentProblem when the log cannot be written.
        """
        if self._context is None:
            raise DataError("the function chat has no context yet; call prepare")
        body = self._request(image)
        self._add({"time": round(time.time(), 3), "endpoint": self.endpoint, "model": self.model,
                   "image": hash_image(image), "bytes": len(body)})
        self._counts["sent"] += 1
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        request = urllib.request.Request(self.endpoint, body, headers, method="POST")  # noqa: S310 (http or https)
        try:
            with urllib.request.build_opener(_Stay).open(request, timeout=self.timeout) as answer:
                said = json.loads(answer.read(LONGEST))["choices"][0]["message"]["content"]
            return self._labels(json.loads(said), (image.shape[0], image.shape[1]))
        except urllib.error.HTTPError as error:
            return self._none(f"status {error.code}")
        except TimeoutError:
            return self._none("timed out")
        except (urllib.error.URLError, OSError) as error:
            late = isinstance(getattr(error, "reason", None), TimeoutError)
            return self._none("timed out" if late else "not reached")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError):
            return self._none("no such answer")

    def _request(self, image: Image) -> bytes:
        assert self._context is not None
        names, (H, W) = ", ".join(self._context.classes), image.shape[:2]
        if self._context.task == "classify":
            task = f'Which one of these classes does the image show: {names}? Answer as JSON: {{"class": NAME}}.'
        else:
            task = (f"Find every object of these classes: {names}. The image is {W} px wide and {H} px high. Answer as "
                    'JSON: {"boxes": [{"class": NAME, "box": [x0, y0, x1, y1]}]}, in pixels from the top left.')
        picture = "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()
        content = [{"type": "text", "text": f"{self.hint}\n{task} If you cannot tell, answer {{}}.".strip()},
                   {"type": "image_url", "image_url": {"url": picture}}]
        return json.dumps({"model": self.model, "temperature": 0, "response_format": {"type": "json_object"},
                           "messages": [{"role": "user", "content": content}]}).encode()

    def _labels(self, said: Json, size: tuple[int, int]) -> Labels | None:
        assert self._context is not None
        classes = self._context.classes
        if not said:
            return self._none("cannot tell")
        if self._context.task == "classify":
            return Labels(size, image_class=classes.index(said["class"]), reviewed="model")
        H, W = size
        ids = [classes.index(row["class"]) for row in said["boxes"]]
        boxes = np.array([row["box"] for row in said["boxes"]], np.float32).reshape(len(ids), 4)
        if not np.isfinite(boxes).all():
            raise ValueError("a box must hold numbers")
        boxes = boxes.clip(0, np.array([W, H, W, H], np.float32))
        stay = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
        return Labels(size, np.array(ids, np.int64)[stay], boxes[stay], reviewed="model")

    def _none(self, why: str) -> Labels | None:
        self._counts[f"abstained: {why}"] += 1
        return None

    def _add(self, row: Json = None) -> None:
        """One line to the log, in one write, so that processes beside each other do not cut each other's lines."""
        assert self._context is not None
        path = Path(self._context.base) / self.log
        try:
            with path.open("ab", buffering=0) as file:
                if row is not None:
                    file.write((json.dumps(row) + "\n").encode())
        except OSError as error:
            raise EnvironmentProblem(f"{path}: what is sent cannot be logged ({error.strerror}), so nothing is "
                                     "sent") from None
