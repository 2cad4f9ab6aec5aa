"""Models of the library transformers, from a folder or from the Hub at a pinned commit; never with code of theirs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from synthgen.errors import DataError, EnvironmentProblem


def one_place(path: Path | None, repo: str | None, revision: str | None) -> None:
    """Raises: ValueError unless either a folder is named, or a repository with a commit."""
    if (path is None) == (repo is None) or (repo is None) != (revision is None):
        raise ValueError("name either path, the folder of a saved model, or repo and revision")


def load(who: str, model: str, place: tuple[Path | None, str | None, str | None], device: str,
         words: bool = True) -> tuple[Any, Any, Any]:
    """(network, image processor, tokeniser or None) of a saved model. model: the class of transformers that reads it.

    Raises: EnvironmentProblem when transformers is not installed; DataError when there is no such model in
    safetensors, or when it lacks weights.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # before the import, which reads it
    try:
        import torch
        import transformers
    except ImportError:
        raise EnvironmentProblem(f"the labelling function {who} needs the library transformers; say: "
                                 "pip install 'synthgen-cv[transformers]'") from None
    path, repo, revision = place
    where = str(path or repo)
    common: dict[str, Any] = {"trust_remote_code": False, "local_files_only": path is not None, "revision": revision}
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        net, told = getattr(transformers, model).from_pretrained(
            where, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **common)
        # The variant that needs no torchvision.
        processor = transformers.AutoImageProcessor.from_pretrained(where, backend="pil", **common)
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **common) if words else None
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError) as error:
        first = " ".join(str(error).split())[:200]
        raise DataError(f"{where}: the labelling function {who} cannot load its model from here ({first})") from None
    if told["missing_keys"]:
        raise DataError(f"{where}: the checkpoint lacks {len(told['missing_keys'])} of the model's weights, "
                        f"{min(told['missing_keys'])} for one; name a folder that holds all of them")
    return net.eval().to(device), processor, tokenizer
