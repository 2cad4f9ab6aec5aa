"""Foundation models of the library transformers, ready to be asked."""

from __future__ import annotations

from typing import Any

from synthgen import hub


def load(who: str, model: str, place: hub.Place, device: str, words: bool = True) -> tuple[Any, Any, Any]:
    """(network, image processor, tokeniser or None) of a saved model. model: the class of transformers that reads it.

    Raises: EnvironmentProblem when transformers is not installed; DataError when there is no such model in
    safetensors, or when it lacks weights.
    """
    said = f"the labelling function {who}"
    net, lost = hub.load_network(said, place, model)
    processor = hub.load_processor(said, place)
    tokenizer = hub.load_tokenizer(said, place) if words else None
    hub.library(said).utils.logging.set_verbosity_error()  # it is asked image by image, and would say things each time
    hub.refuse_missing(place, list(lost))
    return net.to(device), processor, tokenizer
