# SPDX-License-Identifier: GPL-2.0-only
"""Objectives measured by an operator's command or a Prometheus server, and how they fail."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from iridescent_xdp.config.objective import CommandConfig, PrometheusConfig
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.objectives.base import Turn
from iridescent_xdp.objectives.command import Command
from iridescent_xdp.objectives.outside import number_of
from iridescent_xdp.objectives.prometheus import Prometheus

TURN = Turn(interface="eth7", variant="rules=tree", packets=lambda: 0, stop=lambda: False)
SOON_S = 5.0  # far below any time-out here


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), (" -2.5\n", -2.5), ("3e3", 3000.0), (".5", 0.5), ("+1.", 1.0), ("0", 0.0)],
)
def test_a_number_is_read(text: str, value: float) -> None:
    assert number_of(text, "x") == value


@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "1e999", "1 2", "1,5", "1ms", "0x10", "1_0", "\u0661", "x" * 500]
)
def test_anything_else_is_a_failed_measurement(text: str) -> None:
    with pytest.raises(MeasurementError, match="x must give one finite number") as caught:
        number_of(text, "x")
    assert len(str(caught.value)) < 150


# -- command ---------------------------------------------------------------------------------


def command(*argv: str, timeout_s: float = 10.0) -> Command:
    return Command(
        CommandConfig(command=argv, direction="lower", unit="us", timeout_s=timeout_s)
    )  # fmt: skip


def shell(script: str, timeout_s: float = 10.0) -> Command:
    return command("/bin/sh", "-c", script, timeout_s=timeout_s)


def test_a_command_is_told_what_is_live_and_its_number_is_taken() -> None:
    script = 'test "$IRIDESCENT_INTERFACE $IRIDESCENT_VARIANT" = "eth7 rules=tree" && echo 12.5'
    assert shell(script).measure(TURN) == 12.5


def test_a_command_has_no_shell_and_no_input() -> None:
    assert command("printf", "%s", "1").measure(TURN) == 1
    with pytest.raises(MeasurementError, match=r"got '\$\(echo 1\)'"):
        command("printf", "%s", "$(echo 1)").measure(TURN)
    assert shell("read x; echo 7").measure(TURN) == 7  # ends at once


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 1; echo no route >&2; exit 3", "ended with exit code 3: no route"),
        ("exit 1", "ended with exit code 1$"),
        ("echo 1; kill -9 $$", "ended with exit code -9"),
        ("echo fast", "one finite number, got 'fast'"),
        ("true", "one finite number, got ''"),
        ("printf '\\377'", "one finite number, got"),
        ("yes", "prints more than one number"),
    ],
)
def test_a_command_that_fails_is_a_failed_measurement(script: str, says: str) -> None:
    with pytest.raises(MeasurementError, match=says):
        shell(script).measure(TURN)


def test_a_program_that_vanished(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="cannot be run: No such file"):
        command(str(tmp_path / "gone")).measure(TURN)


def test_a_chatty_command_is_not_held_up_by_what_it_complains() -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890 >&2; "
    assert shell(f"{script} i=$((i+1)); done; echo 4").measure(TURN) == 4


def test_at_the_time_out_a_command_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began = time.monotonic()
    with pytest.raises(MeasurementError, match=r"took longer than timeout_s = 0\.3"):
        shell(f"sleep 60 & echo $! $$ > {pids}; wait", timeout_s=0.3).measure(TURN)
    assert time.monotonic() - began < SOON_S
    for pid in pids.read_text().split():
        while _runs(pid):
            assert time.monotonic() - began < SOON_S, pid
            time.sleep(0.005)


def _runs(pid: str) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_that_keeps_the_output_open_is_waited_for_until_the_time_out() -> None:
    with pytest.raises(MeasurementError, match="took longer than timeout_s"):
        shell("sleep 60 & echo 1", timeout_s=0.3).measure(TURN)


def test_a_command_that_closes_its_output_and_goes_on_is_late_too() -> None:
    with pytest.raises(MeasurementError, match="took longer than timeout_s"):
        shell("echo 1; exec >&- 2>&-; sleep 60", timeout_s=0.3).measure(TURN)


def test_a_command_is_interrupted_by_whoever_stops_the_search() -> None:
    began = time.monotonic()
    with pytest.raises(MeasurementError, match="interrupted"):
        shell("sleep 60").measure(
            Turn(interface="x", variant="y", packets=lambda: 0, stop=lambda: True)
        )
    assert time.monotonic() - began < SOON_S


# -- prometheus ------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Answers every request with ``answer(query)``: a code, a type and chunks of a body."""

    daemon_threads = True
    answer: Callable[[str], tuple[int, Iterator[bytes]]]
    seen: list[str]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(self.path)
        parts = urlsplit(self.path)
        code, body = self.server.answer(parse_qs(parts.query).get("query", [""])[0])
        self.send_response(code if parts.path.endswith("/api/v1/query") else 404)
        self.end_headers()
        try:
            for chunk in body:
                self.wfile.write(chunk)
                self.wfile.flush()
        except OSError:  # the client has heard enough
            pass

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as its base has it
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # not asked
    with Server(("127.0.0.1", 0), Handler) as made:
        made.seen = []
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


def ask(server: Server, body: Any, code: int = 200, *, query: str = "up", path: str = "") -> float:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    server.answer = lambda _: (code, iter([raw]))
    return prometheus(server, query, path).measure(TURN)


def prometheus(
    server: Server, query: str = "up", path: str = "", timeout_s: float = 10.0
) -> Prometheus:
    url = f"http://127.0.0.1:{server.server_port}{path}"
    return Prometheus(
        PrometheusConfig(url=url, query=query, direction="lower", unit="s", timeout_s=timeout_s)
    )


def success(kind: str, value: object) -> dict[str, object]:
    return {"status": "success", "data": {"resultType": kind, "result": value}}


SERIES = {"metric": {"job": "web"}, "value": [1435781451.781, "0.25"]}


def test_a_query_gives_one_number(server: Server) -> None:
    query = 'histogram_quantile(0.99, rate(x{a="b&c"}[1m]))'
    assert ask(server, success("vector", [SERIES]), query=query) == 0.25
    assert ask(server, success("scalar", [1435781451.781, "7"])) == 7
    assert ask(server, success("scalar", [1.0, "7"]), path="/prefix/") == 7
    assert ask(server, success("scalar", [1.0, "7"]), path="/api/v1/query") == 7
    places = [urlsplit(path) for path in server.seen]
    assert [p.path for p in places] == [
        "/api/v1/query", "/api/v1/query", "/prefix/api/v1/query", "/api/v1/query",
    ]  # fmt: skip
    assert parse_qs(places[0].query) == {"query": [query]}


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (success("vector", []), 200, "must give one series, got 0"),
        (success("vector", [SERIES, SERIES]), 200, "must give one series, got 2"),
        (success("matrix", []), 200, "a vector or a scalar, got matrix"),
        (success("scalar", [1.0, "NaN"]), 200, "one finite number, got 'NaN'"),
        (success("scalar", [1.0, "+Inf"]), 200, r"one finite number, got '\+Inf'"),
        (success("scalar", [1.0]), 200, "does not speak the API"),
        (success("vector", [3]), 200, "does not speak the API"),
        ({"status": "error", "error": "parse error"}, 400, "answers 400: parse error"),
        ({"status": "error", "error": "timeout"}, 200, "does not answer the query: timeout"),
        (b"<html>bad gateway</html>", 502, "answers 502$"),
        (b"\xff", 200, "does not answer the query$"),
        (b"[]", 200, "does not answer the query$"),
        ({"status": "success"}, 200, "a vector or a scalar, got None"),
        (b" " * (1 << 21), 200, "answers more than 1,048,576 bytes"),
    ],
)
def test_any_other_answer_is_a_failed_measurement(
    server: Server, body: Any, code: int, says: str
) -> None:
    with pytest.raises(MeasurementError, match=says):
        ask(server, body, code)


def test_a_server_that_is_not_there(server: Server) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server.server_port = unused.getsockname()[1]
    with pytest.raises(MeasurementError, match=r"cannot be asked: .*refused"):
        prometheus(server).measure(TURN)


def test_a_server_that_does_not_answer_in_time(server: Server) -> None:
    done = threading.Event()

    def silent() -> Iterator[bytes]:
        done.wait(SOON_S)
        yield b"{}"

    server.answer = lambda _: (200, silent())
    with pytest.raises(MeasurementError, match="timed out"):
        prometheus(server, timeout_s=0.2).measure(TURN)
    done.set()


def test_a_server_that_drips_is_late_too(server: Server) -> None:
    done = threading.Event()

    def dripping() -> Iterator[bytes]:
        while not done.wait(0.05):
            yield b" "

    server.answer = lambda _: (200, dripping())
    began = time.monotonic()
    with pytest.raises(MeasurementError, match=r"took longer than timeout_s = 0\.3"):
        prometheus(server, timeout_s=0.3).measure(TURN)
    assert time.monotonic() - began < SOON_S
    done.set()
