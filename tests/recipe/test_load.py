"""What loading a recipe gives, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from synthgen.errors import RecipeError
from synthgen.recipe.load import Loaded, load
from synthgen.recipe.problems import InvalidRecipeError, Problem

SMALL = """\
schema: synthgen/1
name: small
task: instances
classes: [dot]
data:
  seed: {path: data/seed}
"""


def write(text: str, name: str = "recipe.yaml") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def loaded(text: str, *overrides: str) -> Loaded:
    return load(write(text), overrides)


def problems(text: str, *overrides: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidRecipeError) as caught:
        loaded(text, *overrides)
    return caught.value.problems


def one(text: str, *overrides: str) -> Problem:
    (problem,) = problems(text, *overrides)
    return problem


# Values

def test_a_recipe_gives_typed_values_its_text_and_everything_in_effect(full: str, folder: Path) -> None:
    got = loaded(full)
    assert got.text == full
    assert got.path == folder / "recipe.yaml"
    assert got.files == (got.path,)
    assert got.recipe.data.seed.path == folder / "data/seed"
    assert got.recipe.classes == ("nut", "bolt")
    assert got.recipe.generate[0].options["sizes"] == [16, 32]
    assert got.resolved["generate"][1]["radius"] == 4.0             # the plug-in's default
    assert got.resolved["filter"]["min_area"] == 20
    assert got.where("mix.real") == "recipe.yaml:45:9"
    assert got.where("generate.1.radius") == ""


def test_six_lines_are_a_whole_recipe(folder: Path) -> None:
    got = loaded(SMALL)
    assert got.resolved["train"] == {"use": "labeler", "calibration_folds": 2, "rounds": 3}
    assert [entry["check"] for entry in got.resolved["evaluate"]["gate"]] == [
        "integrity", "copying", "leakage", "mask_shift", "realism", "diversity", "appearance", "drift", "agreement",
        "utility"]


def test_what_is_resolved_loads_again_from_any_folder_as_the_same(full: str, folder: Path) -> None:
    first = loaded(full, "generate.paste.count=3")
    again = load(write(json.dumps(first.resolved), "elsewhere/again.yaml"))     # JSON is YAML
    assert again.resolved == first.resolved


def test_yaml_is_read_as_version_1_2(folder: Path) -> None:
    got = loaded(SMALL.replace("[dot]", "[yes, no, 2024-01-01]") + "mix: {real: 1e-1}\nseed: 012\n")
    assert got.recipe.classes == ("yes", "no", "2024-01-01")
    assert got.recipe.mix.real == 0.1
    assert got.recipe.seed == 12


@pytest.mark.parametrize(("line", "message", "hint"), [
    ('seed: "7"', 'must be a whole number, but is the text "7"', "write it without quotes."),
    ("seed: 7.0", "must be a whole number, but is 7.0", ""),
    ("seed: true", "must be a whole number, but is true", ""),
    ("seed: -1", "must be at least 0, but is -1", ""),
    ("mix: {real: 1.2}", "must be at most 1, but is 1.2", ""),
    ("mix: {real: .nan}", ".nan is no number that a recipe can hold", ""),
    ("label: {tta: yes}", 'must be true or false, but is the text "yes"', "write true."),
    ("run: {device: gpu}", '"gpu" is none of the choices', 'did you mean "cpu"?'),
    ("run: {workers: many}", 'must be "auto" or a whole number, but is the text "many"', ""),
    ("export: coco", 'must be a list, but is the text "coco"', "write [coco]."),
    ("mix:", "must be a map of keys, but is empty", "remove the line, or write keys below it."),
    ("data2: 3", 'unknown key "data2"', ""),
    ("min_area: 3", 'unknown key "min_area"', '"min_area" is a key of filter.'),
    ("label: {accept: 0.1}", "ignore (0.15) must not be above accept (0.1)",
     "between the two lies what a person looks at."),
    ("export: [coco, coco]", '"coco" stands twice; write every format once', "the first is in line 7."),
])
def test_a_wrong_value_is_told_with_what_was_wanted(
        folder: Path, line: str, message: str, hint: str) -> None:
    problem = one(SMALL + line + "\n")
    assert (problem.line, problem.message, problem.hint) == (7, message, hint)


def test_class_names_that_look_like_numbers_must_be_quoted(folder: Path) -> None:
    problem = one(SMALL.replace("[dot]", "[a, 1]"))
    assert (problem.path, problem.line, problem.column) == ("classes.1", 4, 14)
    assert problem.hint == 'write "1", in quotes.'


# Plug-ins

@pytest.mark.parametrize(("item", "at", "message", "hint"), [
    ("use: dost", "dost", 'there is no generator named "dost"', 'did you mean "dots"?'),
    ("use: dots, step: 3", "step", 'unknown key "step"', 'did you mean "steps"?'),
    ("use: dots, cuont: 3", "cuont", 'unknown key "cuont"', 'did you mean "count"?'),
    ("use: dots, steps: 0", "0", "must be at least 1, but is 0", ""),
    ('use: dots, steps: "3"', '"3"', 'must be a whole number, but is the text "3"',
     "write it without quotes."),
    ("use: dots, sizes: [9]", "sizes", "item 1 is missing", ""),
    ("use: dots, sizes: [9, 3]", "dots", "sizes must be given smallest first", ""),
    ("use: dots, border: {widht: 3}", "widht", 'unknown key "widht"', 'did you mean "width"?'),
    ("use: dots, blend: poison", "poison", '"poison" is none of the choices', 'did you mean "poisson"?'),
    ("uze: stub, rounds: 3", "uze", 'unknown key "uze"', 'did you mean "use"?'),
])
def test_a_plug_in_and_its_options_are_checked_where_they_stand(
        folder: Path, item: str, at: str, message: str, hint: str) -> None:
    line = f"generate: [{{name: a, {item}}}]\n"
    problem = one(SMALL + line)
    assert (problem.line, problem.message, problem.hint) == (7, message, hint)
    assert problem.column == line.index(at) + 1
    assert problem.where.startswith("generate[0] (a)")


def test_options_that_a_careless_plug_in_would_swallow_are_refused(folder: Path) -> None:
    assert one(SMALL + "train: {use: stub, round: 3}\n").hint == 'did you mean "rounds"?'


def test_a_plug_in_that_cannot_be_imported_is_named_with_its_distribution(folder: Path) -> None:
    problem = one(SMALL + "generate: [{name: a, use: broken, anything: 3}]\n")
    assert "synthgen-fakes" in problem.message
    assert "ModuleNotFoundError" in problem.message


def test_a_disabled_generator_is_checked_all_the_same(folder: Path) -> None:
    problem = one(SMALL + "generate: [{name: a, use: dots, enabled: false, steps: 0}]\n")
    assert problem.path == "generate.0.steps"


def test_paths_among_options_are_relative_to_the_recipe_too(folder: Path) -> None:
    (folder / "sub/data/seed").mkdir(parents=True)
    (folder / "sub/colours.txt").touch()
    got = load(write(SMALL + "generate: [{name: a, use: dots, palette: colours.txt}]\n", "sub/r.yaml"))
    assert got.recipe.generate[0].options["palette"] == str(folder / "sub/colours.txt")


def test_unknown_formats_checks_and_trainers_are_told_at_once(folder: Path) -> None:
    text = SMALL.replace("{path: data/seed}", "{path: data/seed, format: coko}")
    text += "export: [lines, coko]\nevaluate: {gate: [{check: shap}]}\ntrain: {use: stubb}\n"
    assert [(p.path, p.hint) for p in problems(text)] == [
        ("data.seed.format", 'did you mean "coco"?'), ("export.1", 'did you mean "coco"?'),
        ("evaluate.gate.0.check", 'did you mean "shape"?'), ("train.use", 'did you mean "stub"?')]


# Sense

@pytest.mark.parametrize(("data", "path"), [
    ("  pool_truth: {path: data/truth}", "data.pool_truth"),
    ("  test: {path: data/seed}", "data.test.path"),
    ("  test: {path: data/test, format: images}", "data.test.format"),
    ("  test: {path: data/test, format: imagefolder}", "data.test.format"),
    ("  test: {path: data/test, limit: 3, limit_per_class: true}", "data.test.limit_per_class"),
    ("  test: {path: data/tset}", "data.test.path"),
    ("  test: {path: ''}", "data.test.path"),
])
def test_data_that_contradicts_itself_is_refused(folder: Path, data: str, path: str) -> None:
    assert one(SMALL + data + "\n").path == path


@pytest.mark.parametrize("task", ["classify", "detect"])
def test_a_promise_about_masks_needs_a_task_that_has_some(folder: Path, task: str) -> None:
    text = SMALL + "  pool: {path: data/pool}\nlabel: {certify: {pixels: 0.05}}\n"
    problem = next(p for p in problems(text.replace("task: instances", f"task: {task}")) if p.path.startswith("label"))
    assert (problem.path, problem.message) == ("label.certify.pixels",
                                               f"promises something of masks, and task {task} has none")
    assert load(write(text)).recipe.label.certify.pixels == 0.05  # type: ignore[union-attr]
    load(write(text.replace("instances", task).replace("0.05", "null")))


def test_a_name_that_stands_twice_is_told_at_the_second(folder: Path) -> None:
    text = SMALL + "generate:\n  - {name: a, use: dots}\n  - {name: b, use: dots}\n  - {name: a, use: dots}\n"
    problem = one(text.replace("[dot]", "[dot, ring]"))
    assert (problem.line, problem.hint) == (10, "the first is in line 8.")
    assert one(SMALL.replace("[dot]", "[dot, dot]")).path == "classes.1"


def test_a_path_is_relative_to_the_recipe_and_not_to_the_shell(folder: Path) -> None:
    write(SMALL.replace("data/seed", "../data/seed"), "sub/r.yaml")
    assert load("sub/r.yaml").recipe.data.seed.path == folder / "data/seed"


@pytest.mark.parametrize("path", [
    "a" * 5000, "~nobody-of-this-name/x", "data/seed/../../none", "/" + "a/" * 3000], ids=lambda p: p[:9])
def test_a_path_that_no_system_could_open_is_refused_like_any_other(folder: Path, path: str) -> None:
    assert "there is no file or folder" in one(SMALL.replace("data/seed", path)).message
    with pytest.raises(RecipeError):
        load(path)
    assert "there is no recipe" in one(f"extends: {path}\n{SMALL}").message


# The text itself

@pytest.mark.parametrize(("text", "line", "said"), [
    ("a: 1\nb: [1\n", 3, "this is not YAML"),
    ("name: x\n\ttask: y\n", 2, "this is not YAML"),
    ("name: !!python/object/apply:os.system [x]\n", 1, "tag !!python/object/apply:os.system is not allowed"),
    ("name: !mine x\n", 1, "tag !mine is not allowed"),
    ("- 1\n- 2\n", 1, "a recipe is a map of sections"),
    ("just words\n", 1, "a recipe is a map of sections"),
    ("name: a\n---\nname: b\n", 2, "a second document begins"),
    ("%YAML 1.1\n---\nname: yes\n", 2, "YAML 1.2"),
    ("name: *nothing\n", 1, "the alias *nothing stands for no value"),
    ("name: &a [*a]\n", 1, "the alias *a stands for no value"),
    ("[1, 2]: 3\n", 1, "a key must be a plain word"),
    ("name: a\x01\n", 1, "a control character"),
    ("a: " + "[" * 70 + "]" * 70 + "\n", 1, "nested more than 64 levels deep"),
    ("a: &a 1\nb: [" + "*a, " * 101 + "]\n", 2, "more than 100 aliases"),
])
def test_text_that_is_no_recipe_is_refused_with_its_place(
        folder: Path, text: str, line: int, said: str) -> None:
    problem = problems(text)[-1]
    assert said in problem.message
    assert problem.line == line


def test_a_billion_laughs_are_refused_before_they_are_laughed(folder: Path) -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 11))
    assert "more than 100,000 values" in problems(text)[-1].message


def test_a_file_that_is_too_large_or_not_utf8_is_refused(folder: Path) -> None:
    assert "larger than 1 MiB" in one("# " + "x" * (1 << 20)).message
    Path("latin.yaml").write_bytes(b"name: a\ntask: \xe9\n")
    with pytest.raises(InvalidRecipeError, match=r"latin.yaml:2:1  the file is not UTF-8"):
        load("latin.yaml")


def test_every_duplicate_key_is_told_and_the_rest_is_still_checked(folder: Path) -> None:
    text = SMALL + "seed: 1\nseed: 2\nmix: {real: 2, real: 3}\n"
    assert [(p.line, p.column, p.message) for p in problems(text)] == [
        (8, 1, 'the key "seed" stands here twice'),
        (9, 13, "must be at most 1, but is 2"),
        (9, 16, 'the key "real" stands here twice')]


def test_an_empty_file_lacks_every_key(folder: Path) -> None:
    assert {p.path for p in problems("# nothing\n")} == {"schema", "name", "task", "classes", "data"}


def test_merge_keys_and_aliases_work(folder: Path) -> None:
    got = loaded(SMALL + "generate:\n  - &a {name: a, use: dots, count: 3}\n  - {<<: *a, name: b}\n")
    assert [(g.name, g.count) for g in got.recipe.generate] == [("a", 3), ("b", 3)]


def test_windows_line_ends_and_a_byte_order_mark_do_not_move_places(folder: Path) -> None:
    Path("r.yaml").write_bytes(b"\xef\xbb\xbf" + SMALL.replace("name: small", "nmae: small").replace(
        "\n", "\r\n").encode())
    with pytest.raises(InvalidRecipeError) as caught:
        load("r.yaml")
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.excerpt) == (2, 1, "nmae: small")


def test_five_mistakes_are_told_on_one_page(
        full: str, folder: Path, golden: Callable[[str, str], None]) -> None:
    text = full
    for right, wrong in [("task: instances", "tsk: instances"), ("    steps: 24", "    step: 24"),
                         ("real: 0.3", "real: 1.3"), ("path: data/test", "path: data/tset"),
                         ("tta: false", "tta: no")]:
        assert right in text
        text = text.replace(right, wrong)
    with pytest.raises(InvalidRecipeError) as caught:
        loaded(text)
    assert len(caught.value.problems) == 5
    golden("five_mistakes", f"{caught.value}\n")


# extends

def test_extends_merges_maps_replaces_lists_and_null_deletes(folder: Path) -> None:
    write(SMALL.replace("data/seed", "../data/seed") + "mix: {real: 0.2, synthetic_until: 0.1}\n"
          "generate: [{name: a, use: dots}, {name: b, use: dots}]\nfilter: {min_area: 5}\n", "base/base.yaml")
    got = loaded("extends: base/base.yaml\nname: child\nmix: {real: 0.4}\nfilter: null\n"
                 "generate: [{name: c, use: dots}]\n")
    assert got.recipe.name == "child"
    assert (got.recipe.mix.real, got.recipe.mix.synthetic_until) == (0.4, 0.1)
    assert [g.name for g in got.recipe.generate] == ["c"]
    assert got.recipe.filter.min_area == 12
    assert got.recipe.data.seed.path == folder / "data/seed"          # relative to the file that says it
    assert got.files == (folder / "recipe.yaml", folder / "base/base.yaml")
    assert "extends" not in got.resolved


def test_an_error_in_a_parent_carries_the_parents_name(folder: Path) -> None:
    write(SMALL + "mix: {real: 7}\n", "base.yaml")
    found = problems("extends: base.yaml\nfilter: {min_area: 0}\n")
    assert [(p.file, p.line) for p in found] == [("recipe.yaml", 2), ("base.yaml", 7)]


def test_extending_in_a_circle_or_nothing_is_refused(folder: Path) -> None:
    write("extends: recipe.yaml\n", "other.yaml")
    circle = problems("extends: other.yaml\n" + SMALL)[-1]
    assert (circle.file, circle.line) == ("other.yaml", 1)
    assert "recipe.yaml extends other.yaml extends recipe.yaml" in circle.message
    assert 'there is no recipe "base.yml" to extend' in one("extends: base.yml\n" + SMALL).message
    assert one("extends: [a]\n" + SMALL).line == 1


# -S

def test_overrides_reach_items_by_name_and_index_and_make_missing_sections(full: str, folder: Path) -> None:
    got = loaded(full, "generate.paste.count=50", "generate[1].count=7", "label.accept=0.9", "export=[lines]",
                 "evaluate.gate.shape.max=0.5", "generate.paste.scale=null")
    assert [g.count for g in got.recipe.generate] == [50, 7]
    assert got.recipe.label.accept == 0.9
    assert got.recipe.export == ("lines",)
    assert got.resolved["evaluate"]["gate"][0]["max"] == 0.5
    assert "scale" not in got.recipe.generate[0].options
    assert got.where("generate.0.count") == "-S generate.paste.count=50"
    assert loaded(SMALL, "filter.min_area=3").recipe.filter.min_area == 3
    assert loaded(SMALL, "evaluate.gate.realism.max=3").resolved["evaluate"]["gate"][4]["max"] == 3


def test_an_override_is_a_value_and_never_code(folder: Path) -> None:
    problem = one(SMALL, "name=__import__('os')")
    assert "__import__('os')" in problem.message
    assert loaded(SMALL, "classes=[\"__import__('os')\"]").recipe.classes == ("__import__('os')",)
    assert "tag" in one(SMALL, "name=!!python/name:os.system").message


@pytest.mark.parametrize(("text", "said", "hint"), [
    ("generate.pastee.count=3", 'generate has no item "pastee"', 'did you mean "paste"?'),
    ("generate.paste.cuont=3", 'unknown key "cuont"', 'did you mean "count"?'),
    ("generate.paste.step=3", 'unknown key "step"', "did you mean \"steps\"?"),
    ("fliter.min_area=3", 'unknown key "fliter"', ""),
    ("name.first=3", 'name is a single value, it has no "first"', "write -S name=3"),
    ("name", "an override is written path=value", "for example -S generate.paste.count=50"),
    ("=3", "an override is written path=value", "for example -S generate.paste.count=50"),
    ("seed=many", 'must be a whole number, but is the text "many"', ""),
    ("seed=[1", "this is not YAML", ""),
])
def test_an_override_that_fits_nowhere_is_told_with_its_own_text(
        full: str, folder: Path, text: str, said: str, hint: str) -> None:
    full = full.replace("    steps: 24\n", "")
    problem = problems(full, text)[0]
    assert problem.file == f"-S {text}"
    assert problem.line == 0
    assert said in problem.message
    if hint:
        assert problem.hint == hint


def test_a_path_on_the_command_line_is_relative_to_the_shell(folder: Path) -> None:
    write(SMALL.replace("data/seed", "nowhere"), "sub/r.yaml")
    assert load("sub/r.yaml", ["data.seed.path=data/seed"]).recipe.data.seed.path == folder / "data/seed"


# The environment

def test_the_environment_fills_text_and_is_never_written_down(
        folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHGEN_TEST_DATA", "data")
    monkeypatch.setenv("SYNTHGEN_TEST_EMPTY", "")
    got = loaded(SMALL.replace("data/seed", "'${env:SYNTHGEN_TEST_DATA}/seed'").replace(
        "[dot]", "['${env:SYNTHGEN_TEST_NONE:-ring}', '${env:SYNTHGEN_TEST_EMPTY:-e}']"))
    assert got.recipe.data.seed.path == folder / "data/seed"
    assert got.recipe.classes == ("ring", "e")
    assert got.resolved["data"]["seed"]["path"] == f"{folder}/${{env:SYNTHGEN_TEST_DATA}}/seed"
    assert got.resolved["classes"][0] == "${env:SYNTHGEN_TEST_NONE:-ring}"
    assert load(write(json.dumps(got.resolved), "sub/again.yaml")).resolved == got.resolved


def test_a_variable_that_is_not_set_is_told_once_with_its_place(folder: Path) -> None:
    problem = one(SMALL.replace("data/seed", "'${env:SYNTHGEN_TEST_NONE}/seed'"))
    assert (problem.line, problem.column) == (6, 16)
    assert problem.message == "the environment variable SYNTHGEN_TEST_NONE is not set"
    assert "cannot be filled in" in one(SMALL.replace("small", "'${env:not a name}'")).message


def test_errors_do_not_print_the_environments_values(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHGEN_TEST_SECRET", "hunter2!")
    secret = "'${env:SYNTHGEN_TEST_SECRET}'"
    for text in (SMALL.replace("data/seed", secret), SMALL.replace("small", secret),
                 SMALL + f"seed: {secret}\n", SMALL + f"train: {{use: {secret}}}\n",
                 SMALL + f"export: [{secret}]\n", SMALL + f"run: {{device: {secret}}}\n"):
        with pytest.raises(InvalidRecipeError) as caught:
            loaded(text)
        assert "hunter2" not in str(caught.value)
        assert "SYNTHGEN_TEST_SECRET" in str(caught.value)


# Names

def test_a_recipe_that_is_not_there_is_told_with_what_is_near(folder: Path) -> None:
    write(SMALL, "recipe.yaml")
    with pytest.raises(RecipeError, match=r'there is no recipe .recipes\.yaml.*did you mean "recipe.yaml"'):
        load("recipes.yaml")
    with pytest.raises(RecipeError, match="is a folder, not a recipe"):
        load("data")


def test_a_waiver_of_what_is_not_judged_is_an_error_at_its_line(folder: Path) -> None:
    text = ('evaluate:\n  gate: [{check: integrity}]\n  waivers:\n'
            '    - {check: integrty, reason: "known and accepted", until: 2027-01-31, by: a}\n'
            '    - {check: quarantine, reason: "known and accepted", until: 2027-31-01, by: a}\n')
    path = folder / "waivers.yaml"
    path.write_text("extends: nuclei\nname: waivers\n" + text)
    with pytest.raises(RecipeError) as caught:
        load(path)
    said = str(caught.value)
    assert 'waivers.yaml:6:15' in said
    assert 'the gate has no check "integrty" that could be waived' in said
    assert 'did you mean "integrity"?' in said
    assert "should be a valid date" in said
