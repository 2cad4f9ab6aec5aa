"""What the server refuses: other hosts, other pages, whoever has no token, and everything that is no decision."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra `review`")
pytest.importorskip("httpx", reason="starlette's test client needs it")

from starlette.testclient import TestClient

from synthgen.errors import EnvironmentProblem
from synthgen.review import serve
from synthgen.review.app import MOST_BYTES, build
from synthgen.review.session import Session

PORT = 4321
HOME = f"http://127.0.0.1:{PORT}"
TOKEN = "the-token-that-was-printed"


@pytest.fixture
def session(open_session: Callable[..., Session]) -> Session:
    return open_session(3, blind=(1,))


@pytest.fixture
def stranger(session: Session) -> TestClient:
    """A client that has not entered."""
    return TestClient(build(session, PORT, TOKEN), base_url=HOME, follow_redirects=False)


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    assert stranger.get(f"/?token={TOKEN}").status_code == 303
    stranger.headers["origin"] = HOME
    return stranger


def labels_of(client: TestClient, id_: str) -> Any:
    return client.get(f"/api/labels/{id_}").json()


def objects_of(client: TestClient, id_: str) -> list[Any]:
    return [{key: one[key] for key in ("class", "box", "runs")} for one in labels_of(client, id_)["objects"]]


def every_address(session: Session) -> Iterator[tuple[str, str]]:
    one = session.ids[0]
    for path in ("/", "/static/main.js", "/api/session", f"/api/image/{one}", f"/api/labels/{one}"):
        yield "GET", path
    yield "POST", f"/api/decide/{one}"
    yield "POST", "/api/undo"


def test_without_a_token_nothing_is_shown_and_nothing_taken(stranger: TestClient, session: Session) -> None:
    for method, path in every_address(session):
        found = stranger.request(method, path, headers={"origin": HOME}, json={"action": "skip", "seconds": 1})
        assert found.status_code == 401, path
    assert session.decisions.every() == []


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1], "ü"])
def test_a_wrong_token_opens_nothing_and_leaves_the_right_one_good(stranger: TestClient, token: str) -> None:
    found = stranger.get("/", params={"token": token})
    assert found.status_code == 401
    assert "set-cookie" not in found.headers
    assert stranger.get(f"/?token={TOKEN}").status_code == 303


def test_the_token_is_good_once_and_the_cookie_cannot_leave_the_page(stranger: TestClient) -> None:
    entered = stranger.get(f"/?token={TOKEN}")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in entered.headers["set-cookie"]
    assert entered.headers["location"] == "/", "the secret leaves the address bar"
    assert stranger.get("/").status_code == 200
    stranger.cookies.clear()
    assert stranger.get(f"/?token={TOKEN}").status_code == 403


def test_a_forged_cookie_is_none(stranger: TestClient) -> None:
    for value in ("", "wrong", '"', "ü"):
        found = stranger.get("/", headers={"cookie": f"synthgen-review-{PORT}={value}".encode()})
        assert found.status_code == 401


@pytest.mark.parametrize("host", ["example.org", f"example.org:{PORT}", "127.0.0.1", "127.0.0.1:1",
                                  f"127.0.0.1.example.org:{PORT}", "", f"[::1]:{PORT}"])
def test_another_host_is_refused_even_with_the_cookie(client: TestClient, session: Session, host: str) -> None:
    for method, path in every_address(session):
        assert client.request(method, path, headers={"host": host}).status_code == 421, path


@pytest.mark.parametrize("origin", ["http://example.org", "null", f"https://127.0.0.1:{PORT}", "http://127.0.0.1:1",
                                    f"http://localhost:{PORT}", ""])
def test_another_origin_is_refused_even_with_the_cookie(client: TestClient, session: Session, origin: str) -> None:
    for method, path in every_address(session):
        found = client.request(method, path, headers={"origin": origin}, json={"action": "skip", "seconds": 1})
        assert found.status_code == 403, path
    assert session.decisions.every() == []


def test_what_changes_something_must_say_where_it_comes_from(client: TestClient, session: Session) -> None:
    del client.headers["origin"]
    assert client.post(f"/api/decide/{session.ids[0]}", json={"action": "skip", "seconds": 1}).status_code == 403
    assert client.get("/api/session").status_code == 200, "a browser sends no origin when it reads its own page"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_that_the_browser_marks_as_another_pages_is_refused(client: TestClient, session: Session,
                                                                      site: str) -> None:
    assert client.get(f"/api/image/{session.ids[0]}", headers={"sec-fetch-site": site}).status_code == 403


@pytest.mark.parametrize("name", ["../session.py", "..%2Fsession.py", "%2Fetc%2Fpasswd", "pool-0", "0", "a" * 4000,
                                  "%00", ".."])
@pytest.mark.parametrize("kind", ["image", "labels"])
def test_a_path_in_place_of_an_id_finds_nothing(client: TestClient, kind: str, name: str) -> None:
    assert client.get(f"/api/{kind}/{name}").status_code == 404


@pytest.mark.parametrize("name", ["../app.py", "..%2Fapp.py", "%2Fetc%2Fpasswd", "app.py", ""])
def test_static_files_are_those_of_the_page_alone(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_ids_say_nothing_of_the_samples(client: TestClient, session: Session) -> None:
    told = client.get("/api/session").text + "".join(client.get(f"/api/labels/{i}").text for i in session.ids)
    assert all(sample.id not in told for sample in session.pool)
    assert "/" not in "".join(session.ids)


def test_every_answer_carries_the_policy_and_the_page_holds_no_inline_script(client: TestClient,
                                                                             session: Session) -> None:
    paths = ["/", "/nowhere", f"/api/image/{session.ids[0]}", "/api/session"]
    for path in paths:
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
    page = client.get("/").text
    assert page.count("<script") == page.count('<script type="module" src="/static/main.js"></script>') == 1
    assert "style=" not in page
    assert "http" not in page


def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(client: TestClient, session: Session) -> None:
    path, chunk = f"/api/decide/{session.ids[0]}", b" " * (1 << 20)
    kind = {"content-type": "application/json"}
    assert client.post(path, content=b"", headers={**kind, "content-length": str(MOST_BYTES + 1)}).status_code == 413
    assert client.post(path, content=(chunk for _ in range(17)), headers=kind).status_code == 413
    assert client.post(path, content=b"", headers={**kind, "content-length": "-1"}).status_code == 413


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b"NaN", b"\xff", b"[" * 100_000,
                                  b'{"action": "skip", "seconds": 1, "more": 1}', b'{"seconds": 1}',
                                  b'{"action": ["skip"], "seconds": 1}', b'{"action": "skip"}',
                                  b'{"action": "skip", "seconds": -1}', b'{"action": "skip", "seconds": NaN}',
                                  b'{"action": "skip", "seconds": true}', b'{"action": "skip", "seconds": 1e999}'])
def test_what_is_no_decision_is_refused_in_words(client: TestClient, session: Session, body: bytes) -> None:
    found = client.post(f"/api/decide/{session.ids[0]}", content=body, headers={"content-type": "application/json"})
    assert found.status_code == 400, found.text
    assert found.text
    assert session.decisions.every() == []


def test_a_form_of_another_page_could_not_even_be_read(client: TestClient, session: Session) -> None:
    body = json.dumps({"action": "skip", "seconds": 1}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        found = client.post(f"/api/decide/{session.ids[0]}", content=body, headers={"content-type": kind})
        assert found.status_code == 415


def changed(**more: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda one: {**one, **more}


@pytest.mark.parametrize(("what", "said"), [
    (changed(**{"class": 2}), "class"), (changed(**{"class": -1}), "class"), (changed(**{"class": True}), "class"),
    (changed(**{"class": 0.0}), "class"), (changed(**{"class": "0"}), "class"), (changed(path="/etc"), "must be"),
    (changed(runs=[]), "runs"), (changed(runs=None), "runs"), (changed(runs="12"), "runs"),
    (changed(runs=[1]), "add up"),
    (changed(box=[0, 0, 2, 2], runs=[4]), "no pixel"), (changed(box=[0, 0, 2, 2], runs=[1, 4]), "add up"),
    (changed(box=[0, 0, 2, 2], runs=[5, -1]), "add up"), (changed(box=[0, 0, 2, 2], runs=[1, 0, 3]), "above 0"),
    (changed(box=[0, 0, 2, 2], runs=[1, True, 2]), "runs"),
    (changed(box=[0, 0, 2, 2], runs=[0, 1, 1, 1, 1, 0]), "runs"),
    (changed(box=[0, 0, 2, 2], runs=[0, 2**64]), "add up"), (changed(box=[0, 0, 10**9, 10**9], runs=[0, 1]), "leaves"),
    (changed(box=[-1, 0, 2, 2]), "leaves"), (changed(box=[2, 0, 2, 2]), "empty"),
    (changed(box=[0, 0, 2.5, 2]), "whole"),
    (changed(box=[0, 0, 2]), "box"), (changed(box="0022"), "box"),
])  # fmt: skip
def test_objects_that_cannot_be_are_refused_by_name(
    client: TestClient, session: Session, what: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    id_ = session.ids[0]
    objects = objects_of(client, id_)
    objects[0] = what(objects[0])
    found = client.post(f"/api/decide/{id_}", json={"action": "redraw", "seconds": 1, "objects": objects})
    assert found.status_code == 400
    assert said in found.text
    assert "object 0" in found.text
    assert session.decisions.every() == []


def test_objects_that_overlap_are_refused(client: TestClient, session: Session) -> None:
    one = {"class": 0, "box": [0, 0, 2, 2], "runs": [0, 4]}
    other = {"class": 0, "box": [1, 1, 2, 2], "runs": [0, 1]}
    said = {"action": "redraw", "seconds": 1, "objects": [one, other]}
    found = client.post(f"/api/decide/{session.ids[0]}", json=said)
    assert found.status_code == 400
    assert "overlaps" in found.text


@pytest.mark.parametrize("objects", [None, {}, "all", [[]], [None], [{}]])
def test_objects_that_are_no_list_of_objects_are_refused(client: TestClient, session: Session, objects: Any) -> None:
    found = client.post(f"/api/decide/{session.ids[0]}", json={"action": "redraw", "seconds": 1, "objects": objects})
    assert found.status_code == 400


def test_the_same_submitted_twice_is_one_decision(client: TestClient, session: Session) -> None:
    id_ = session.ids[0]
    objects = objects_of(client, id_)[:1]
    body = {"action": "redraw", "seconds": 1, "objects": objects}
    first, second = (client.post(f"/api/decide/{id_}", json=body) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert (first.json()["new"], second.json()["new"]) == (True, False)
    assert first.json()["left"] == second.json()["left"] == 2
    assert len(session.decisions.every()) == 1


def test_the_page_listens_on_the_loopback_alone(session: Session) -> None:
    for host in ("0.0.0.0", "::", "192.168.0.1", "example.org"):
        with pytest.raises(EnvironmentProblem, match=r"127\.0\.0\.1 only"):
            serve(session, host=host)


def test_a_missing_package_is_named_with_the_line_that_installs_it(session: Session,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'synthgen-cv\[review\]'"):
        serve(session)
