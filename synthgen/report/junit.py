"""Measurements as JUnit XML, which build servers show beside their tests."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from synthgen.types import Json


def junit(name: str, measurements: Sequence[Json], verdict: str) -> str:
    """One test case per measurement: what refuses is a failure, what could not be run an error, what was not decided or
    only warns is skipped with its reason, what decides nothing (info) passes; and one case for the verdict as a whole.

    measurements: as `checks.as_json` gives them.
    """
    suite = ET.Element("testsuite", name=name)
    for m in measurements:
        case = ET.SubElement(suite, "testcase", classname=m["check"], name=m["name"])
        failed = "failure" if m["hard"] else "skipped"
        tag = {"pass": "", "info": "", "fail": failed, "error": "error"}.get(m["verdict"], "skipped")
        if tag:
            why = f"{m['verdict']}: {m['why']}"
            ET.SubElement(case, tag, message=_printable(why)).text = _printable(m["remedy"])
        else:
            ET.SubElement(case, "system-out").text = _printable(m["why"])
    case = ET.SubElement(suite, "testcase", classname="gate", name="verdict")
    if verdict == "fail":
        ET.SubElement(case, "failure", message="the gate refused the dataset")
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite)))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _printable(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(c if c in "\t\n" or ord(c) >= 32 else "�" for c in text)
