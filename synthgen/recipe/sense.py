"""What the schema alone cannot see: plug-ins and their options, paths, keys that contradict each other."""

from __future__ import annotations

import ast
import itertools
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from synthgen import plugins
from synthgen.errors import PluginError
from synthgen.plugins import Group
from synthgen.recipe.branches import branches_at, keys_below
from synthgen.recipe.check import Findings, Keys, spot
from synthgen.recipe.problems import did_you_mean, problem_at
from synthgen.recipe.schema import FAMILY, Evaluate, Features, Function, GateEntry, Generate, Open, Recipe, Train
from synthgen.recipe.sections import PLUGIN_KEY, fields_of
from synthgen.recipe.shipped import absolute_path, home_expanded
from synthgen.recipe.tree import Node
from synthgen.types import Json, Task

ALWAYS_JUDGED = ("filter", "quarantine", "features")   # what the gate measures without being asked

Settings = dict[Keys, dict[str, Json]]                # section → every option of its plug-in, defaults too


def check_plugins(findings: Findings) -> Settings:
    """Check every plug-in that the recipe names, and its options. Paths among them become absolute."""
    settings: Settings = {}
    # A section that is not there uses its default plug-in, which must be installed as well.
    nothing = Node({}, findings.root.place)
    sections: list[tuple[Keys, Node, type[Open]]] = [
        (path, item, Generate) for path, item in findings.children("generate")]
    sections += [(("train",), findings.get(("train",)) or nothing, Train)]
    if findings.get(("evaluate", "gate")) is None:
        place = nothing.place
        entries = [Node({"check": Node(entry.check, place)}, place) for entry in Evaluate().gate]
        sections += [(("evaluate", "gate", i), entry, GateEntry) for i, entry in enumerate(entries)]
    else:
        sections += [(path, item, GateEntry) for path, item in findings.children("evaluate", "gate")]
    sections += [(path, item, Function) for path, item in findings.children("label", "functions")]
    sections += _extractors(findings, nothing)
    for path, section, model in sections:
        if isinstance(section.value, dict):
            _check_options(findings, path, section.value, model, settings)

    judged = [name for path, section, model in sections if model is GateEntry and isinstance(section.value, dict)
              and "check" in section.value and isinstance(name := section.value["check"].value, str)]
    for path, _ in findings.children("evaluate", "waivers"):
        name = findings.text(*path, "check")
        if name is not None and name not in (*judged, *ALWAYS_JUDGED):
            findings.say((*path, "check"), f'the gate has no check "{name}" that could be waived',
                         hint=did_you_mean(name, (*judged, *ALWAYS_JUDGED)), allowed=(*judged, *ALWAYS_JUDGED))

    formats = [(path, item) for path, item in findings.children("export")]
    if findings.get(("export",)) is None:
        formats = [(("export", i), Node(name, nothing.place))
                   for i, name in enumerate(Recipe.model_fields["export"].default)]
    for path, item in formats:
        plugin = _find(findings, "formats", item.value, path) if isinstance(item.value, str) else None
        if plugin is not None:
            _does_task(findings, "formats", plugin, str(item.value), path if findings.get(path) else ("task",))
    for path, _ in findings.children("data"):
        name = findings.text(*path, "format")
        if name is not None and name != "auto":
            _find(findings, "formats", name, (*path, "format"), ("auto",))
    return settings


def _extractors(findings: Findings, nothing: Node) -> list[tuple[Keys, Node, type[Open]]]:
    """The entries of `evaluate.features`; a name alone becomes the map that it is short for, unless it is no name."""
    found: list[tuple[Keys, Node, type[Open]]] = []
    if findings.get(("evaluate", "features")) is None:
        names = [entry.use for entry in Evaluate().features]
        return [(("evaluate", "features", i), Node({"use": Node(name, nothing.place)}, nothing.place), Features)
                for i, name in enumerate(names)]
    for path, item in findings.children("evaluate", "features"):
        if isinstance(item.value, str):
            if _find(findings, "features", item.value, path) is None:
                continue
            item.value = {"use": Node(item.value, item.place, raw=item.raw)}
        found.append((path, item, Features))
    return found


def _check_families(findings: Findings) -> None:
    """Tell families of features with one name, and extractors that learn from a pool that is not there."""
    seen: set[str] = set()
    natural = {FAMILY.get(p.name, p.name): p.name for p in plugins.installed("features")}
    for path, item in findings.children("evaluate", "features"):
        use, name = findings.text(*path, "use"), findings.text(*path, "name")
        if use is None or use not in natural.values():
            continue                                  # the schema, or the list of plug-ins, says so
        family = name or FAMILY.get(use, use)
        if natural.get(family, use) != use:
            findings.say((*path, "name"), f'"{family}" is what the features of {natural[family]} are called',
                         hint="give these another name.")
        elif family in seen:
            findings.say(path, f'the family "{family}" stands twice; every extractor needs a name of its own',
                         hint="write {use: …, name: …}.", at=item.at)
        seen.add(family)
        try:
            fits = getattr(plugins.find("features", use), "FITS", False)
        except PluginError:
            continue                                  # told where options are checked
        if fits and findings.get(("data", "pool")) is None and ("data", "pool") not in findings.meant:
            findings.say(path, f"the feature extractor {use} learns from the pool, but there is no pool", at=item.at,
                         hint="add data.pool, or leave the extractor out.")


def _find(findings: Findings, group: Group, name: str, path: Keys, also: tuple[str, ...] = ()) -> type | None:
    try:
        return plugins.find(group, name)
    except PluginError as error:
        names = [*also, *(p.name for p in plugins.installed(group))]
        if name in names:
            findings.say(path, str(error), hint="see: synthgen doctor")
        else:
            node = findings.get(path)
            written = node.plain(secret=True) if node is not None else name
            findings.say(path, f'there is no {plugins.NOUNS[group]} named "{written}"', hint=did_you_mean(name, names),
                         allowed=names or ["none is installed"])
    return None


def _check_options(findings: Findings, path: Keys, entries: dict[str, Node], model: type[Open],
                   settings: Settings) -> None:
    group, key = PLUGIN_KEY[model]
    own = tuple(fields_of(model))
    extra = [k for k in entries if k not in own]
    if key not in entries:
        misspelt = [k for k in extra if did_you_mean(k, own) == f'did you mean "{key}"?']
        if misspelt:
            # Which plug-in was meant is not known, so the options cannot be judged.
            findings.unknown_key(path, misspelt[0], own)
            return
    name = entries[key].value if key in entries else model.model_fields[key].default
    if not isinstance(name, str):
        return                                        # missing, or no text: the schema says so
    if group == "functions" and plugins.in_file(name) is not None:
        _check_file(findings, (*path, key), entries[key])
        for option in extra:
            findings.say((*path, option), "a function of a file takes no options", hint="write its numbers into it.")
        return
    plugin = _find(findings, group, name, (*path, key))
    if plugin is None:
        return
    _does_task(findings, group, plugin, name, ("task",))
    _option_paths(findings, plugin, path, {k: entries[k] for k in extra})
    given = {k: entries[k].plain() for k in extra}
    wrong = plugins.problems(plugin, given)
    for error in wrong:
        if not error["loc"] and error["type"] in ("value_error", "assertion_error"):
            error["loc"] = (key,)                     # options that contradict each other: point at the name
    if wrong:
        shape = plugins.schema(plugin)
        findings.tell(wrong, path, lambda at: (*own, *keys_below(shape, ())) if at == path
                      else keys_below(shape, at[len(path):]))
    else:
        settings[path] = plugins.settings(plugin, given)


def _does_task(findings: Findings, group: Group, plugin: type, name: str, path: Keys) -> None:
    """Plug-ins that do not serve every task say in TASKS which ones they do."""
    task, tasks = findings.text("task"), getattr(plugin, "TASKS", None)
    if tasks is None or task not in get_args(Task) or task in tasks:
        return
    if path == ("task",):
        findings.say(path, f'the {plugins.NOUNS[group]} "{name}" does not do task {task}', allowed=tasks)
        return
    able = [p.name for p in plugins.installed(group) if task in getattr(plugins.find(group, p.name), "TASKS", ())]
    findings.say(path, f'the {plugins.NOUNS[group]} "{name}" does not do task {task}', allowed=able)


def _check_file(findings: Findings, path: Keys, node: Node) -> None:
    """Make the path of `rules.py:NAME` absolute; tell when there is no such file or function. Nothing is run."""
    written = str(node.value)
    (_, name), folder = plugins.in_file(written) or (None, ""), node.place.source.folder
    _make_absolute(node)
    file, _ = plugins.in_file(str(node.value)) or (Path(), "")
    if not file.is_file():
        findings.say(path, f'there is no file "{written.rpartition(":")[0]}"', hint=did_you_mean(
            file.name, [n for n in _names_in(file.parent) if n.endswith(".py")]) or f"a path is relative to {folder}.")
        return
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        findings.say(path, f"{file.name} is no Python: {error}")
        return
    known = [part.name for part in tree.body if isinstance(part, ast.FunctionDef)]
    if name not in known:
        findings.say(path, f'{file.name} has no function "{name}"', hint=did_you_mean(name, known), allowed=known)


def _check_functions(findings: Findings) -> None:
    """Tell labelling functions without a name of their own, and ones that work on what is not there."""
    functions = findings.children("label", "functions")
    _unique(findings, [(p, findings.get((*p, "name"))) for p, _ in functions], "every function needs a name of its own")
    if functions and findings.get(("data", "pool")) is None and ("data", "pool") not in findings.meant:
        findings.say(("label", "functions"), "labelling functions label the pool, but there is no pool",
                     hint="add data.pool, or leave the functions out.")
    before = ["labeler"]
    for path, _ in functions:
        name, use, of = (findings.text(*path, key) for key in ("name", "use", "of"))
        if name == "labeler":
            findings.say((*path, "name"), '"labeler" is what the trained labeler is called', hint="name it otherwise.")
        refines = False
        if use is not None and use in [p.name for p in plugins.installed("functions")]:
            try:
                refines = getattr(plugins.find("functions", use), "REFINES", False)
            except PluginError:
                continue                              # told where options are checked
            if refines and findings.get((*path, "of")) is None and (*path, "of") not in findings.meant:
                findings.say(path, f"{use} works on what another function says", hint="add of: with its name.",
                             allowed=before)
        if of is not None and not refines:
            findings.say((*path, "of"), f"{use} looks at images, not at another function's labels",
                         hint="leave it out.")
        elif of is not None and of not in before:
            findings.say((*path, "of"), f'no function "{of}" stands before this one', hint=did_you_mean(of, before),
                         allowed=before)
        before += [name] if name is not None else []


def _option_paths(findings: Findings, plugin: type, path: Keys, options: dict[str, Node]) -> None:
    """Make the paths among a plug-in's options absolute, in lists too; tell those leading nowhere.

    A text is a path where the plug-in's schema allows one, and it is none of the words allowed beside it and nothing
    like a pattern beside it.
    """
    shape = plugins.schema(plugin) if options else {}
    open_: list[tuple[Keys, Keys, Node]] = [((*path, key), (key,), node) for key, node in options.items()]
    while open_:
        where, below, node = open_.pop()
        if isinstance(node.value, dict | list):
            inner = node.value.items() if isinstance(node.value, dict) else enumerate(node.value)
            open_ += [((*where, key), (*below, key), child) for key, child in inner]
        elif isinstance(node.value, str):
            branches = branches_at(shape, below)
            words = {word for part in branches for word in (*part.get("enum", ()), part.get("const"))}
            other = [part for part in branches if "pattern" in part]
            is_other = node.value in words or any(re.search(part["pattern"], node.value) for part in other)
            if not is_other and any(str(part.get("format", "")).endswith("path") for part in branches):
                like = [str(example) for part in other for example in part.get("examples", ())]
                _follow(findings, where, node, tuple(sorted(filter(None, words))), tuple(like))


def check_paths(findings: Findings) -> None:
    """Make the paths of `data` absolute, each from the folder of its own file; tell those leading nowhere."""
    for path, _ in findings.children("data"):
        node = findings.get((*path, "path"))
        if node is None or not isinstance(node.value, str):
            continue
        if spot(problem_at(node.at, "")) in findings.spoiled:
            continue                                  # its ${env:..} could not be filled in
        if not node.value.strip():
            findings.say((*path, "path"), "must be a path, but is empty text")
            continue
        _follow(findings, (*path, "path"), node)


def _follow(findings: Findings, path: Keys, node: Node, words: tuple[str, ...] = (), like: tuple[str, ...] = ()
            ) -> None:
    """Make a path absolute, and tell when it leads nowhere. words: what could have been written in its place. like:
    examples of what else could."""
    written = node.plain(secret=True)
    _make_absolute(node)
    there = Path(str(node.value))
    if os.path.exists(there):                         # Path.exists raises for names that no system could open
        return
    above = Path(written).parent
    hint = did_you_mean(written, words) or did_you_mean(
        str(above / there.name), [str(above / name) for name in _names_in(there.parent)])
    if not hint and node.raw is None:                 # a path from the environment is not printed
        hint = f"looked for {there}; a path is relative to the recipe that holds it."
    findings.say(path, f'there is no file or folder "{written}"', hint=hint,
                 allowed=(*words, *(f"text like {example}" for example in like), "a path") if words or like else ())


def _make_absolute(node: Node) -> None:
    folder = node.place.source.folder
    if node.raw is not None and not home_expanded(str(node.value)).is_absolute():
        node.raw = f"{folder}/{node.raw}"
    node.value = str(absolute_path(str(node.value), folder))


def _names_in(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in itertools.islice(os.scandir(folder), 1000)]
    except OSError:                                   # not there, not a folder, or not ours to read
        return []


def check_sense(findings: Findings) -> None:
    """Tell keys that contradict each other, and names that stand twice."""
    _unique(findings, [(p, findings.get((*p, "name"))) for p, _ in findings.children("generate")],
            "every generator needs a name of its own")
    _unique(findings, list(findings.children("classes")), "every class needs a name of its own")
    _unique(findings, list(findings.children("export")), "write every format once")

    _check_families(findings)
    _check_functions(findings)

    task = findings.text("task")
    for part, _ in findings.children("data"):
        form, labelled = findings.text(*part, "format"), part[-1] in ("seed", "test", "pool_truth")
        if form == "images" and labelled:
            findings.say((*part, "format"), f"images hold no labels, and {part[-1]} needs them",
                         hint="name a format with labels, or auto.")
        if form == "imagefolder" and labelled and task not in (None, "classify"):
            findings.say((*part, "format"), f"an imagefolder holds classes of images; the task is {task}",
                         hint='write "task: classify", or name a format that holds objects.')
        per_class = findings.get((*part, "limit_per_class"))
        if per_class is not None and per_class.value is True:
            if task not in (None, "classify"):
                findings.say((*part, "limit_per_class"), f"counts classes of images, task {task} has none",
                             hint="leave it out; limit alone counts images.")
            if findings.get((*part, "limit")) is None:
                findings.say((*part, "limit_per_class"), "says how to count a limit, but there is no limit",
                             hint="add limit: and the number per class.")
    no_pool = findings.get(("data", "pool")) is None and ("data", "pool") not in findings.meant
    if findings.get(("data", "pool_truth")) is not None and no_pool:
        findings.say(("data", "pool_truth"), "holds the labels of a pool, but there is no pool",
                     hint="add data.pool, or leave pool_truth out.")
    certify = findings.get(("label", "certify"))
    if certify is not None and isinstance(certify.value, dict):
        if no_pool:
            findings.say(("label", "certify"), "promises something of the pool's labels, but there is no pool",
                         hint="add data.pool, or leave the certificate out.")
        elif findings.text("label", "audit", "answers") == "simulated" and findings.get(("data", "pool_truth")) is None:
            findings.say(("label", "audit", "answers"), "simulated answers are read from data.pool_truth, which is not "
                         "there", hint="add it, or say answers: people.")
        asked = findings.get(("label", "certify", "pixels"))
        if asked and asked.value is not None and (task := findings.text("task")) in ("classify", "detect"):
            findings.say(("label", "certify", "pixels"), f"promises something of masks, and task {task} has none")
    for other in ("seed", "pool"):
        path, split = findings.text("data", "test", "path"), findings.text("data", "test", "split")
        apart = split is not None and findings.text("data", other, "split") not in (None, split)
        if path is not None and path == findings.text("data", other, "path") and not apart:
            findings.say(("data", "test", "path"), f"is data.{other}.path too, which cannot test itself",
                         hint="split the data first; see: synthgen data split --help")

    for at, entry in findings.children("mix", "augment"):
        _check_transform(findings, at, entry)

    accept, ignore = findings.get(("label", "accept")), findings.get(("label", "ignore"))
    defaults = fields_of(Recipe)["label"].default
    high = accept.value if accept is not None else defaults.accept
    low = ignore.value if ignore is not None else defaults.ignore
    if isinstance(high, int | float) and isinstance(low, int | float) and low > high:
        findings.say(("label", "ignore") if ignore is not None else ("label", "accept"),
                     f"ignore ({low}) must not be above accept ({high})",
                     hint="between the two lies what a person looks at.")


def _check_transform(findings: Findings, path: Keys, entry: Node) -> None:
    """Whether albumentations has a transform of this name. Importing it would take seconds, so its text is read."""
    name = findings.text(*path, "type")
    if not isinstance(entry.value, dict):
        return                                        # the schema says so
    if name is None:
        findings.say(path, "a transform needs a type: the name of an albumentations class")
        return
    spec = find_spec("albumentations")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        known = {found for file in Path(folder).glob("augmentations/**/*.py")
                 for found in re.findall(r"^class ([A-Z]\w+)\(", file.read_text(encoding="utf-8"), re.M)}
        if known and name not in known:
            findings.say((*path, "type"), f'albumentations has no transform "{name}"', hint=did_you_mean(name, known))


def _unique(findings: Findings, nodes: list[tuple[Keys, Node | None]], rule: str) -> None:
    seen: dict[str, int] = {}
    for path, node in nodes:
        if node is None or not isinstance(node.value, str):
            continue
        if node.value in seen:
            first = f" in line {seen[node.value]}" if node.place.source.path is not None else ""
            findings.say(path, f'"{node.plain(secret=True)}" stands twice; {rule}', at=node.at,
                         hint=f"the first is{first}." if first else "")
        seen.setdefault(node.value, node.place.line)
