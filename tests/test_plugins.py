"""The registry is what is installed; the constructor is the schema."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from synthgen import plugins
from synthgen.errors import PluginError

fakes = pytest.mark.usefixtures("fake_plugins")


@fakes
def test_plug_ins_are_listed_by_name_without_importing_them() -> None:
    names = [p.name for p in plugins.installed("generators")]
    assert names == sorted(names)
    assert "broken" in names, "one that cannot be imported is listed too"


def test_listing_imports_no_plug_in_and_no_torch() -> None:
    code = (
        "import sys; from synthgen import plugins; [plugins.installed(g) for g in plugins.GROUPS]; "
        "print([m for m in sys.modules if m in ('torch', 'synthgen_compose', "
        "'synthgen_labeler', 'synthgen_features', 'albumentations')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("group", plugins.GROUPS)
def test_every_group_has_ours_in_it_and_every_one_can_be_imported(group: plugins.Group) -> None:
    found = plugins.installed(group)
    assert found
    for plugin in found:
        assert isinstance(plugins.find(group, plugin.name), type)


@fakes
def test_a_misspelt_name_is_answered_with_the_near_one_and_the_list() -> None:
    with pytest.raises(PluginError, match="no generator named 'dot'; did you mean 'dots'") as caught:
        plugins.find("generators", "dot")
    assert "installed: " in str(caught.value)


def test_a_group_without_plug_ins_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_points", lambda group: ())
    with pytest.raises(PluginError, match="installed: none"):
        plugins.find("checks", "x")


class _Owned:
    """An entry point of a distribution."""

    def __init__(self, name: str, owner: str, target: str = "synthgen.errors:PluginError") -> None:
        self.point = EntryPoint(name, target, "synthgen.checks")
        self.name, self.value = name, target
        self.dist = type("Dist", (), {"name": owner, "version": "1"})()

    def load(self) -> Any:
        return self.point.load()


def test_a_name_that_two_distributions_claim_is_refused_and_both_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_points", lambda group: (_Owned("x", "one"), _Owned("x", "two")))
    with pytest.raises(PluginError, match="claimed by one and two"):
        plugins.find("checks", "x")


def test_a_plug_in_that_cannot_be_imported_is_named_with_its_owner_and_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugins, "_points", lambda group: (_Owned("x", "one", "no_such_module:X"),))
    with pytest.raises(PluginError, match=r"'x' of one cannot be imported: ModuleNotFoundError"):
        plugins.find("checks", "x")


@fakes
@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"radius": "3"}, ("radius",)),
        ({"radius": 0}, ("radius",)),
        ({"steps": 2.5}, ("steps",)),
        ({"blend": "none"}, ("blend",)),
        ({"sizes": [1]}, ("sizes", 1)),
        ({"border": {"width": -1}}, ("border", "width")),
        ({"rradius": 3}, ("rradius",)),
    ],
)
def test_a_wrong_option_is_found_where_it_stands(options: dict[str, Any], where: tuple[Any, ...]) -> None:
    wrong = plugins.problems(plugins.find("generators", "dots"), options)
    assert [tuple(e["loc"])[: len(where)] for e in wrong] == [where]


@fakes
def test_a_plug_in_whose_author_forgot_to_forbid_extras_refuses_them_all_the_same() -> None:
    stub = plugins.find("trainers", "stub")
    assert [e["loc"] for e in plugins.problems(stub, {"rounds": 3, "round": 4})] == [("round",)]
    with pytest.raises(PluginError, match="round: unknown option"):
        plugins.build("trainers", "stub", {"round": 4})


@fakes
def test_the_settings_hold_every_option_with_its_default_as_plain_json() -> None:
    every = plugins.settings(plugins.find("generators", "dots"), {"sizes": [2, 3], "palette": "a/b"})
    assert list(every) == plugins.option_names(plugins.find("generators", "dots"))
    assert (every["sizes"], every["palette"], every["radius"], every["border"]) == ([2, 3], "a/b", 4.0, {"width": 1})


@fakes
def test_the_schema_tells_each_option_with_its_help() -> None:
    about = plugins.schema(plugins.find("generators", "dots"))["properties"]
    assert about["radius"]["description"] == "Radius of a dot, px."


def test_a_class_without_options_has_an_empty_schema_and_takes_none() -> None:
    class Plain:
        """Nothing to set."""

    assert plugins.schema(Plain)["properties"] == {}
    assert plugins.option_names(Plain) == []
    assert plugins.settings(Plain, {}) == {}
    assert [e["loc"] for e in plugins.problems(Plain, {"a": 1})] == [("a",)]


# What cannot be left to a default: where a model lies.
NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    ("features", "transformers"): {"path": "."}, ("generators", "pretrained"): {"model": "."},
    ("functions", "labeler"): {"path": "."}, ("functions", "template"): {"file": "crop.png"},
    **{("functions", name): {"path": "."} for name in ("clip", "boxes", "sam")},
    ("functions", "chat"): {"endpoint": "https://example.org/v1", "model": "m"}}


@pytest.mark.parametrize("group", plugins.GROUPS)
def test_every_plug_in_is_built_from_its_own_defaults_and_every_option_has_help(group: plugins.Group) -> None:
    for plugin in plugins.installed(group):
        kind = plugins.find(group, plugin.name)
        assert kind.__doc__, plugin.name
        plugins.build(group, plugin.name, NEEDED.get((group, plugin.name), {}))
        for name, about in plugins.schema(kind)["properties"].items():
            assert about.get("description"), f"{group} {plugin.name}: option {name} has no help"
