"""A review of the tiny project in a real Chromium, by keyboard alone; on disk stands what was decided."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs the extra `review`")
playwright = pytest.importorskip("playwright.sync_api", reason="drives the browser")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the browser's driver, not ours
]

from synthgen.geometry import decode  # noqa: E402
from synthgen.recipe.load import load  # noqa: E402
from synthgen.review import open_session as session_of  # noqa: E402
from synthgen.review import serve  # noqa: E402
from synthgen.review.session import Session  # noqa: E402
from synthgen.run import job_of, run  # noqa: E402
from synthgen.stages.label import labelled  # noqa: E402
from synthgen.store import write_json  # noqa: E402
from synthgen.testing import tiny_recipe  # noqa: E402


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Page:
    """A page of a session that is served in a thread; what went wrong in it is kept."""

    def __init__(self, browser: Any, session: Session) -> None:
        address: list[str] = []
        self.session = session
        thread = threading.Thread(target=serve, args=(session,), daemon=True,
                                  kwargs={"opened": address.append, "said": lambda _text: None})
        thread.start()
        while not address:
            time.sleep(0.02)
        self.wrong: list[str] = []
        self.page = browser.new_page(viewport={"width": 1000, "height": 700})
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.add_init_script(
            "window.broken = [];"
            "document.addEventListener('securitypolicyviolation', e => window.broken.push(e.blockedURI))")
        self.page.goto(address[0])
        self.ready("0")

    def ready(self, at: str) -> None:
        self.page.wait_for_selector(f"body[data-ready='{at}']")

    def press(self, *keys: str) -> None:
        for key in keys:
            name, _, times = key.partition("*")
            for _ in range(int(times or 1)):
                self.page.keyboard.press(name)

    def says(self, words: str) -> None:
        """Wait until the page says these words (nothing, if they are empty): what a key asks takes time."""
        said = playwright.expect(self.page.locator("#said"))
        said.to_contain_text(words) if words else said.to_be_empty()

    def saved(self, n: int) -> None:
        """Wait until so many decisions stand."""
        end = time.monotonic() + 10
        while len(self.session.decisions.every()) != n:
            assert time.monotonic() < end, [d.action for d in self.session.decisions.every()]
            time.sleep(0.02)


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[[Session], Page]]:
    pages: list[Page] = []

    def go(session: Session) -> Page:
        pages.append(Page(browser, session))
        return pages[-1]

    yield go
    for one in pages:
        broken = one.page.evaluate("window.broken")
        one.page.close(run_before_unload=False)
        assert one.wrong == []
        assert broken == []


def test_the_tiny_project_is_reviewed_by_keyboard_alone(tmp_path: Path, visit: Callable[[Session], Page]) -> None:
    loaded = load(tiny_recipe(tmp_path), ["generate.a.count=2", "label.accept=1.0", "label.ignore=0.0"])
    run(loaded, lambda what, done, total: None, lambda *step: None, "label")
    job = job_of(loaded)
    pool = labelled(job)
    # Five images, whatever so short a training sees in them, and one of them blind, as in an audit.
    queue = [{"id": entry.id, "why": "typical", "blind": k == 1} for k, entry in enumerate(pool.entries)]
    write_json(job.work.folder / "5-queue" / "queue.json", queue)
    session = session_of(job, "ada")
    decisions = session.decisions
    page = visit(session)

    # 1: the labels are accepted as they are
    page.press("Enter")
    page.ready("1")
    # 2: blind; nothing can be rejected, and Enter alone saves nothing
    page.press("r")
    page.says("no pre-label")
    page.press("Enter")
    page.says("There is no object")
    # a brush of one pixel, nine steps to the right and back to the left without painting
    page.press("b", "[*5", "ArrowLeft", "ArrowRight", "Space", "ArrowRight*9", "Space")
    # another object of the second class: a polygon of 10 × 6 px
    page.press("n", "2", "p", "ArrowDown*4", "Space", "Shift+ArrowLeft", "ArrowLeft*2", "Space", "ArrowDown*6", "Space",
               "Shift+ArrowRight", "ArrowRight*2", "Space", "Enter", "Enter")
    page.ready("2")
    # 3: whatever is there is deleted, one by one, and the image confirmed to be empty
    found = page.page.evaluate("fetch('/api/labels/' + 0).then(r => r.status)")
    assert found == 404
    page.wrong.clear()  # the browser notes what we asked for on purpose
    count = len(page.session.labels(page.session.ids[2])["objects"])
    page.press(*[".", "Delete"] * count, "e")
    page.ready("3")
    # 4: skipped; taken back; skipped again
    page.press("s")
    page.ready("4")
    page.press("u")
    page.ready("3")
    page.press("s")
    page.ready("4")
    # 5: a box, taken back, drawn anew elsewhere
    count = len(page.session.labels(page.session.ids[4])["objects"])
    page.press("o", "Space", "Shift+ArrowRight", "ArrowDown*3", "Space", "u")
    page.press(*[".", "Delete"] * count)
    page.press("1", "ArrowRight", "Space", "ArrowRight*4", "ArrowDown*5", "Space", "Enter")
    page.ready("end")
    page.saved(5)

    first, second, third, fourth, fifth = decisions.every()
    assert [d.id for d in decisions.every()] == [pool.entries[k].id for k in range(5)]
    assert first.action in ("accept", "confirm-empty")
    shown = pool.labels(0)
    assert shown is not None
    assert first.labels.masks == shown.masks
    assert (second.action, second.blind) == ("answer", True)
    assert second.labels.classes.tolist() == [0, 1]
    stroke, polygon = decode(second.labels.masks or (), second.labels.size)
    assert stroke.sum() == 10
    assert stroke.any(1).sum() == 1
    assert polygon.sum() == 60
    assert (third.action, third.labels.empty) == ("confirm-empty", "confirmed")
    assert fourth.action == "skip"
    assert fifth.labels.classes.tolist() == [0]
    assert decode(fifth.labels.masks or (), fifth.labels.size)[0].sum() == 20
    assert all(d.by == "ada" and d.tool == "review" and d.seconds is not None and 0 < d.seconds < 60
               for d in decisions.every())
    text = decisions.file.read_text()
    assert text.count("\n") == 7, "six decisions and the line that takes one back: nothing is ever removed"
    again = session_of(job, "ada")
    assert [again.pool[w.place].id for w in again.order] == [fourth.id], "what was skipped waits again"


def test_classes_are_given_by_number_and_by_name(open_session: Callable[..., Session],
                                                 visit: Callable[[Session], Page]) -> None:
    session = open_session(4, task="classify", blind=(3,))
    page = visit(session)
    page.says("The model says class 0 (0.75)")
    page.press("1")  # what the model said
    page.ready("1")
    page.press("1")  # the model said class 1
    page.ready("2")
    page.press("/")
    page.page.keyboard.type("class 1")
    page.press("Enter")
    page.ready("3")
    page.says("")
    page.press("Enter")
    page.says("Which class?")
    page.press("2")
    page.ready("end")
    page.saved(4)
    assert [(d.action, d.labels.image_class) for d in session.decisions.every()] == [
        ("accept", 0), ("redraw", 0), ("redraw", 1), ("answer", 1)]


def test_boxes_are_drawn_and_reclassed_where_boxes_are_all(open_session: Callable[..., Session],
                                                           visit: Callable[[Session], Page]) -> None:
    session = open_session(1, task="detect", blind=(0,))
    page = visit(session)
    assert page.page.locator("#tools button").all_inner_texts() == ["Select\nv", "Box\no"]
    page.press("o", "Space", "ArrowRight*7", "ArrowDown*3", "Space", "2", "Enter")
    page.ready("end")
    page.saved(1)
    (made,) = session.decisions.every()
    assert made.labels.classes.tolist() == [1]
    assert (made.labels.boxes[0, 2:] - made.labels.boxes[0, :2]).tolist() == [7, 3]


def test_a_mouse_paints_what_it_passes_over(open_session: Callable[..., Session],
                                            visit: Callable[[Session], Page]) -> None:
    session = open_session(1, blind=(0,))
    page = visit(session)
    page.press("b")
    box = page.page.locator("#canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.page.mouse.move(x - 60, y)
    page.page.mouse.down()
    page.page.mouse.move(x + 60, y, steps=6)
    page.page.mouse.up()
    page.press("Enter")
    page.ready("end")
    page.saved(1)
    (made,) = session.decisions.every()
    assert len(made.labels) == 1
    width, height = np.diff(made.labels.boxes[0].reshape(2, 2), axis=0)[0]
    assert width > height > 4


def test_every_control_has_a_name_and_what_it_cannot_do_is_said(open_session: Callable[..., Session],
                                                                visit: Callable[[Session], Page]) -> None:
    page = visit(open_session(2, blind=(0,)))
    names = page.page.evaluate("[...document.querySelectorAll('button, input, canvas')].map(e => "
                               "e.getAttribute('aria-label') || e.textContent.trim() || '')")
    assert all(names)
    assert page.page.locator("#reject").is_disabled()
    page.press("?")
    assert page.page.locator("#help").is_visible()
    page.press("Enter")
    assert not page.page.locator("#help").is_visible()
    page.press("Delete")
    page.says("Select an object first")
    page.press("u")
    page.says("Nothing to take back")


def test_a_decision_that_cannot_be_saved_brings_its_image_back(open_session: Callable[..., Session],
                                                               visit: Callable[[Session], Page]) -> None:
    session = open_session(3)
    page = visit(session)
    page.page.route("**/api/decide/*", lambda route: route.fulfill(status=400, body="the disk is full"))
    page.press("Enter")
    page.page.wait_for_selector("#said.wrong")
    page.says("the disk is full")
    page.page.unroute("**/api/decide/*")
    page.wrong.clear()  # the browser notes the answer 400
    page.ready("0")
    page.press("Enter")
    page.ready("1")
    page.saved(1)
