"""The chat function against a server on this machine: what it sends, what it logs, what it makes of any answer."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen import plugins
from synthgen.errors import DataError, EnvironmentProblem, PluginError
from synthgen.images import from_png, hash_image
from synthgen.testing import tiny_context
from synthgen.testing.function import check_function

IMAGE = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)


class Server(ThreadingHTTPServer):
    """Answers everybody the same and remembers what was asked."""

    daemon_threads = True
    reply: Any = None
    status, wait = 200, 0.0

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], Any]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        server.asked.append((dict(self.headers), json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        time.sleep(server.wait)
        body = server.reply if isinstance(server.reply, bytes) else json.dumps(
            {"choices": [{"message": {"content": json.dumps(server.reply)}}]}).encode()
        try:
            self.send_response(server.status)
            if server.status == 302:
                self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass                                      # the client has given up, as one test wants it to

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def chat(server: Server, folder: Path, task: str = "detect", **options: Any) -> Any:
    made = plugins.build("functions", "chat", {
        "endpoint": f"http://127.0.0.1:{server.server_port}/v1/chat/completions", "model": "m", **options})
    made.prepare(replace(tiny_context(folder, task), base=folder))
    return made


def test_it_sends_the_image_with_the_key_and_logs_everything_but_the_key(server, tmp_path, monkeypatch):
    monkeypatch.setenv("THE_KEY", "secret-123")
    server.reply = {"class": "class 1"}
    found = chat(server, tmp_path, "classify", key_variable="THE_KEY")(IMAGE)
    assert found.image_class == 1
    ((headers, body),) = server.asked
    assert headers["Authorization"] == "Bearer secret-123"
    url = body["messages"][0]["content"][1]["image_url"]["url"]
    assert (from_png(base64.b64decode(url.partition(",")[2])) == IMAGE).all()
    log = (tmp_path / "sent.jsonl").read_text()
    assert "secret" not in log
    (row,) = [json.loads(line) for line in log.splitlines()]
    assert (row["image"], row["endpoint"].startswith("http://127.0.0.1")) == (hash_image(IMAGE), True)
    assert row["bytes"] > 100


def test_boxes_are_cut_to_the_image_and_empty_ones_left_out(server, tmp_path):
    server.reply = {"boxes": [{"class": "class 0", "box": [-5, 2, 10, 99]}, {"class": "class 1", "box": [4, 4, 4, 9]}]}
    assert chat(server, tmp_path)(IMAGE).boxes.tolist() == [[0, 2, 10, 20]]
    server.reply = {"boxes": []}
    check_function(chat(server, tmp_path), "detect")


@pytest.mark.slow
@pytest.mark.parametrize(("reply", "why"), [
    (b"no json", "no such answer"), (b"{}", "no such answer"), (b"[]", "no such answer"), ({}, "cannot tell"),
    ({"boxes": [{"class": "cat", "box": [0, 0, 1, 1]}]}, "no such answer"), ({"boxes": 3}, "no such answer"),
    ({"boxes": [{"class": "class 0", "box": [0, 0, 1]}]}, "no such answer"), ("words", "no such answer"),
    ({"boxes": [{"class": "class 0", "box": [0, 0, 1, float("nan")]}]}, "no such answer")])
def test_any_other_answer_is_an_abstention_that_is_counted(server, tmp_path, reply, why):
    server.reply = reply
    asks = chat(server, tmp_path)
    assert asks(IMAGE) is None
    assert asks.counts() == {"sent": 1, f"abstained: {why}": 1}


@pytest.mark.parametrize("status", [302, 401, 429, 500])
def test_no_status_but_success_is_believed_and_no_redirection_followed(server, tmp_path, status):
    server.reply, server.status = {"boxes": []}, status
    asks = chat(server, tmp_path)
    assert asks(IMAGE) is None
    assert asks.counts()[f"abstained: status {status}"] == 1
    assert len(server.asked) == 1


def test_a_slow_endpoint_and_one_that_is_not_there_are_given_up(server, tmp_path):
    server.reply, server.wait = {"boxes": []}, 0.6
    late = chat(server, tmp_path, timeout=0.1)
    assert late(IMAGE) is None
    assert late.counts()["abstained: timed out"] == 1
    gone = chat(server, tmp_path, endpoint="http://127.0.0.1:9/x")
    assert gone(IMAGE) is None
    assert gone.counts()["abstained: not reached"] == 1


def test_nothing_is_sent_without_a_key_that_was_promised_or_without_a_log(server, tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(EnvironmentProblem, match="NO_SUCH_KEY is not set"):
        chat(server, tmp_path, key_variable="NO_SUCH_KEY")
    with pytest.raises(EnvironmentProblem, match="so nothing is sent"):
        chat(server, tmp_path / "nowhere")
    with pytest.raises(DataError, match="call prepare"):
        plugins.build("functions", "chat", {"endpoint": "http://localhost:1/x", "model": "m"})(IMAGE)
    assert not server.asked


@pytest.mark.parametrize("endpoint", ["http://example.org/v1", "https://me:pw@example.org/v1", "ftp://example.org"])
def test_an_endpoint_that_would_give_the_key_away_is_refused(endpoint):
    with pytest.raises(PluginError, match=r"endpoint|use"):
        plugins.build("functions", "chat", {"endpoint": endpoint, "model": "m"})
