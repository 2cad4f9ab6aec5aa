"""Options as a recipe gives them: what is refused, what is explained, and what is not imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest

from synthgen import plugins
from synthgen_pretrained import Pretrained

COMMIT = "0123456789" * 4
HUB = {"repo": "some/model", "revision": COMMIT}


@pytest.mark.parametrize(("options", "said"), [
    ({}, "name either model"),
    ({"model": "m", **HUB}, "name either model"),
    ({"repo": "some/model"}, "repo and revision belong together"),
    ({"model": "m", "revision": COMMIT}, "repo and revision belong together"),
    ({"repo": "some/model", "revision": "main"}, "revision"),
    ({"repo": "some/model", "revision": COMMIT[:12]}, "revision"),
    ({"repo": "model", "revision": COMMIT}, "repo"),
    ({"repo": "https://some/model", "revision": COMMIT}, "repo"),
    ({**HUB, "mode": "controlnet"}, "mode controlnet needs a ControlNet"),
    ({**HUB, "mode": "controlnet", "controlnet_repo": "a/b"}, "controlnet_revision belong together"),
    ({**HUB, "controlnet": "c", "controlnet_repo": "a/b", "controlnet_revision": COMMIT}, "name either controlnet"),
    ({**HUB, "mode": "text", "controlnet": "c"}, "has no layout"),
    ({**HUB, "density": [2, 1]}, "the lower end"),
    ({**HUB, "prompts": []}, "prompts"),
    ({**HUB, "prompts": ["a {colour} thing"]}, "there is no {colour}"),
    ({**HUB, "negative_prompt": "{colour}"}, "there is no {colour}"),
    ({**HUB, "attributes": {"class": ["a"]}}, "cannot be the name"),
    ({**HUB, "attributes": {"light": []}}, "attributes"),
    ({**HUB, "colours": {"cell": [0, 0, 256]}}, "colours"),
    ({**HUB, "lora": {"rank": 0}}, "rank"),
    ({**HUB, "lora": {"epochs": 3}}, "epochs"),
    ({**HUB, "side": 8}, "side"),
    ({**HUB, "strength": 0}, "strength"),
    ({**HUB, "trust_remote_code": True}, "trust_remote_code"),
    ({**HUB, "custom_pipeline": "x"}, "custom_pipeline"),
])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError) as told:
        Pretrained(**options)
    assert said in str(told.value)
    assert plugins.problems(Pretrained, options)


def test_every_option_has_a_line_of_help() -> None:
    shape = plugins.schema(Pretrained)
    every = {**shape["properties"], **shape["$defs"]["Lora"]["properties"]}
    assert all(entry.get("description") for entry in every.values())
    assert set(Pretrained.SAMPLING) <= set(shape["properties"])


def test_options_of_a_recipe_are_taken_as_they_stand() -> None:
    options = {"model": "m", "lora": {"steps": 10}, "attributes": {"light": ["dusk", "dawn"]},
               "prompts": ["{class}, {light}"], "colours": {"cell": [1, 2, 3]}, "density": [0.5, 1]}
    assert not plugins.problems(Pretrained, options)
    found = plugins.settings(Pretrained, options)
    assert found["lora"] == {"steps": 10, "rank": 4, "rate": 1e-4, "batch": 1}
    assert found["attributes"] == {"light": ["dusk", "dawn"]}
    assert json.dumps(found)


@pytest.mark.slow
def test_naming_the_plug_in_imports_no_heavy_library() -> None:
    code = ("import sys, synthgen_pretrained as p; from synthgen import plugins; plugins.schema(p.Pretrained); "
            "p.Pretrained(model='x'); "
            "print(sorted({'torch', 'diffusers', 'transformers', 'accelerate', 'peft', 'huggingface_hub'} "
            "& set(sys.modules)))")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env={"PYTHONPATH": ":".join(sys.path)})
    assert out.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_whole_run_goes_from_a_recipe_to_labelled_shards(
        plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any]) -> None:
    from importlib.metadata import EntryPoint

    from synthgen.recipe.load import load
    from synthgen.run import run
    from synthgen.store import Stored
    from synthgen.testing import tiny_recipe

    known = plugins._points
    point = EntryPoint("pretrained", "synthgen_pretrained:Pretrained", "synthgen.generators")
    monkeypatch.setattr(plugins, "_points", lambda group: (
        *(p for p in known(group) if p.name != "pretrained"), *((point,) if group == "generators" else ())))
    path = tiny_recipe(tmp_path)
    recipe = json.loads(path.read_text())
    recipe["generate"] = [{"name": "painted", "use": "pretrained", "model": str(plain), "layout": "resample",
                           "steps": 1, "side": 32, "count": 5}]
    path.write_text(json.dumps(recipe))
    run(load(path, []), lambda *_: None, lambda *_: None, "generate")
    samples = Stored(tmp_path / "runs" / "tiny" / "1-generate" / "painted" / "shards")
    assert [s.id for s in samples] == [f"painted-{k:06d}" for k in range(5)]
    assert all(s.origin.maker == "pretrained" and len(s.labels) for s in samples)
