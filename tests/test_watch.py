"""`report --watch`: what follows a study, and the server that gives it out."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from test_report import write_run
from test_status import NOW, start_run, write_sign

from uncollapse.errors import InputError
from uncollapse.report import watch
from uncollapse.report.page import build_page
from uncollapse.report.server import LOCAL, Served, Server, open_server
from uncollapse.report.watch import Follower, read_last_row, render_reason
from uncollapse.runs import heartbeat


@pytest.fixture
def serve() -> Iterator:
    """serve(shown, host) starts a server on a free port."""
    servers = []

    def start(shown: Served, host: str = LOCAL) -> Server:
        server = open_server(host, 0, shown)
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(LOCAL, server.server_address[1], timeout=20)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


def test_page_and_status_are_given_out_once(serve) -> None:
    shown = Served(b"frame", b"<p>page</p>", b'{"head": "x"}')
    server = serve(shown)
    assert server.address == f"http://127.0.0.1:{server.server_address[1]}/"
    assert ask(server, "/").read() == b"frame"
    answer = ask(server, "/page?tag")
    assert answer.status == 200 and answer.read() == b"<p>page</p>"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert ask(server, "/page", **{"If-None-Match": shown.page_tag}).status == 304
    answer = ask(server, "/status.json")
    assert json.loads(answer.read()) == {"head": "x"}
    tag = answer.getheader("ETag")
    assert ask(server, "/status.json", **{"If-None-Match": tag}).status == 304
    shown.status = b"{}"
    assert ask(server, "/status.json", **{"If-None-Match": tag}).status == 200


def test_head_is_answered_as_get_without_the_content(serve) -> None:
    server = serve(Served(b"frame", b"<p>page</p>"))
    for path in ("/page", "/nothing"):
        one, other = ask(server, path), ask(server, path, "HEAD")
        assert (one.status, one.getheaders()[2:]) == (other.status, other.getheaders()[2:])
        assert one.read() and other.read() == b""


@pytest.mark.parametrize("path", ["/etc/passwd", "/../runs", "/index.html", "/%2e%2e/"])
def test_nothing_else_is_given_out(path: str, serve) -> None:
    assert ask(serve(Served()), path).status == 404


def test_name_of_another_site_is_refused(serve) -> None:
    """A page elsewhere cannot read the study by giving its own name the address 127.0.0.1."""
    server = serve(Served(b"page"))
    assert ask(server, "/", Host="evil.example").status == 403
    assert ask(server, "/", Host="localhost:8765").status == 200


def test_other_interfaces_need_the_token(serve) -> None:
    server = serve(Served(b"page"), "0.0.0.0")
    assert ask(server, "/").status == 403
    assert ask(server, "/?token=guess").status == 403
    assert ask(server, "/status.json", Cookie="uncollapse=guess").status == 403
    answer = ask(server, f"/?token={server.token}")
    assert answer.status == 200
    cookie = answer.getheader("Set-Cookie")
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert ask(server, "/status.json", Cookie=cookie.partition(";")[0]).status == 200
    assert len(server.token) >= 32 and server.token in server.address


def test_port_in_use_is_refused(serve) -> None:
    port = serve(Served()).server_address[1]
    with pytest.raises(InputError, match=f"--port {port} on 127.0.0.1: cannot be used"):
        open_server(LOCAL, port, Served())
    with pytest.raises(InputError, match="--port 70000"):
        open_server(LOCAL, 70_000, Served())


def test_page_is_built_when_runs_change_but_not_too_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat.time, "time", lambda: NOW + 5)
    folder = start_run(tmp_path, "a/default/seed=0")
    pages = iter([b"first", InputError("later"), b"third"])

    def build() -> bytes:
        page = next(pages)
        if isinstance(page, InputError):
            raise page
        return page

    follower = Follower(tmp_path, build, lambda reason: f"none: {reason}".encode())
    follower.follow()
    follower.follow()
    assert follower.shown.page == b"first"
    status = json.loads(follower.shown.status)
    assert status["page"] == follower.shown.page_tag and "1 stopped" in status["head"]
    # a row of a running run, and a build that took a second: the page waits ten
    write_sign(folder)
    row = {"split": "valid", "mode": "eval", "epoch": 1, "step": 300, "nelbo": 12.3}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n" + '{"split": "va')
    follower.cost = 1.0
    follower.follow()
    assert follower.shown.page == b"first"
    (run,) = json.loads(follower.shown.status)["runs"]
    assert run["state"] == "running" and run["share"] == 0.3
    assert run["row"] == "epoch 1.00 step 300 valid: nelbo 12.30"
    ends, rows = follower.ends, (("metrics.jsonl", 1),)
    assert not follower.is_due(ends, rows, follower.built + 9)
    assert follower.is_due(ends, rows, follower.built + 10)
    # the end of a run is shown sooner
    assert not follower.is_due((("done", 1),), rows, follower.built + 1)
    assert follower.is_due((("done", 1),), rows, follower.built + 2)
    follower.cost = 0.0
    follower.follow()
    assert follower.shown.page == b"none: later"
    (folder / "done").touch()
    follower.follow()
    assert follower.shown.page == b"third"
    assert json.loads(follower.shown.status)["runs"] == []


def test_run_that_ended_is_named_until_the_page_has_it(tmp_path: Path) -> None:
    study = tmp_path / "s"
    write_run(study, "plain", 0, evaluations=2)
    follower = Follower(study, lambda: build_page(study), lambda reason: b"none")
    follower.follow()
    assert json.loads(follower.shown.status)["runs"] == []
    write_run(study, "bn_mu", 0, evaluations=2)
    # the page took long to build, so it waits
    follower.cost = 1000.0
    follower.follow()
    (run,) = json.loads(follower.shown.status)["runs"]
    assert run["name"] == "bn_mu/default/seed=0" and run["state"] == "done"
    assert run["text"] == "the table has it with the next update"
    assert run["row"].startswith("epoch") and " test: nelbo" in run["row"]
    follower.cost = 0.0
    follower.follow()
    assert json.loads(follower.shown.status)["runs"] == []


def test_any_error_ends_one_look_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat.time, "time", lambda: NOW + 5)
    start_run(tmp_path, "a/default/seed=0")
    steps = iter([KeyError("mi"), b"first", OSError("gone"), OSError("gone"), OSError(), b"second"])

    def build() -> bytes:
        step = next(steps)
        if isinstance(step, Exception):
            raise step
        return step

    def look() -> str:
        follower.cost = 0.0
        follower.follow()
        return json.loads(follower.shown.status)["problem"]

    follower = Follower(tmp_path, build, lambda reason: f"none: {reason}".encode())
    said = "The study could not be read (KeyError: 'mi'); trying again."
    assert look() == said and follower.shown.page == f"none: {said}".encode()
    assert "Traceback" in capsys.readouterr().err
    # nothing has changed on the disk, but the last look failed
    assert look() == "" and follower.shown.page == b"first"
    (tmp_path / "runs/a/default/seed=0/done").touch()
    tracebacks = []
    for reason in ("OSError: gone", "OSError: gone", "OSError"):
        assert look() == f"The study could not be read ({reason}); trying again."
        # the earlier page stays, and the frame is that of now
        assert follower.shown.page == b"first" and "1 done" in follower.shown.status.decode()
        tracebacks.append(capsys.readouterr().err.count("Traceback"))
    assert tracebacks == [1, 0, 1], "once for each error"
    assert look() == "" and follower.shown.page == b"second"


def test_error_of_the_status_keeps_what_was_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_run(tmp_path, "a/default/seed=0")
    follower = Follower(tmp_path, lambda: b"page", lambda reason: b"none")
    follower.follow()
    known = json.loads(follower.shown.status)
    monkeypatch.setattr(watch, "read_status", lambda folder: 1 / 0)
    follower.follow()
    status = json.loads(follower.shown.status)
    assert "ZeroDivisionError: division by zero" in status.pop("problem")
    assert known == status | {"problem": ""} and len(status["runs"]) == 1


def test_removed_folder_is_said_until_it_is_back(tmp_path: Path) -> None:
    study = tmp_path / "s"
    write_run(study, "plain", 0, evaluations=2)
    follower = Follower(study, lambda: build_page(study), lambda reason: render_reason("s", reason))
    follower.follow()
    page = follower.shown.page
    study.rename(tmp_path / "elsewhere")
    follower.cost = 0.0
    follower.follow()
    (tmp_path / "elsewhere").rename(study)
    follower.cost = 0.0
    follower.follow()
    assert json.loads(follower.shown.status)["problem"] == "" and follower.shown.page == page


@pytest.mark.parametrize("content", ["", "{", "[]", '{"split": "valid", "mode": "eval"}'])
def test_rows_of_anyone_do_no_harm(content: str, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text(content)
    assert read_last_row(tmp_path / "rows", "valid") == ""
    assert read_last_row(tmp_path / "missing", "valid") == ""
