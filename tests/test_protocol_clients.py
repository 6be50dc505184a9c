"""The clients in docs/protocol.md, run as they stand there."""

from __future__ import annotations

import re
import shutil

import pytest

from mpx.protocol import FROM_MANAGER, FROM_TRIAL
from tests.bench import REPOSITORY, Bench

TEXT = (REPOSITORY / "docs" / "protocol.md").read_text()
CLIENTS = dict(re.findall(r"^```(bash|perl)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
# What a process that spoke before may have left in the pipe.
LEFT_UNREAD = b'"x":1}}\n{"type":"welcome","seq":1,"session":"another"}\n{"type":"ack","seq":1}\n\n'


def run(bench, language, before=""):
    """Run the client, after some other shell commands; return its exit code."""
    if shutil.which(language) is None:
        pytest.skip(f"no {language} here")
    bench.script(CLIENTS[language], "client")
    code = bench.run(f"{before}{language} client")
    assert bench.errors == []
    return code


@pytest.mark.parametrize("language", ["bash", "perl"])
def test_a_client_asks_reports_and_ends(tmp_path, language):
    bench = Bench(tmp_path, [{"name": "a b", "x": 3}, {"x": -0.5, "y": [1e-5]}])
    assert run(bench, language) == 0, bench.log()
    assert bench.values() == [9, 0.25]
    assert bench.values("intermediate") == [0, 0]
    assert bench.log() == "x is 3\nx is -0.5\n"


def test_the_bash_client_is_the_least_there_can_be(tmp_path):
    bench = Bench(tmp_path, [{"x": 2}])
    assert run(bench, "bash") == 0, bench.log()
    assert bench.types() == ["request", "intermediate", "final", "request"]
    assert not any("seq" in message for message in bench.heard)


def test_the_perl_client_says_hello_and_skips_what_was_meant_for_another(tmp_path):
    bench = Bench(tmp_path, [{"x": 2}])
    bench.send_now(LEFT_UNREAD)
    assert run(bench, "perl") == 0, bench.log()
    assert bench.types() == ["hello", "request", "intermediate", "final", "request"]
    assert [message["seq"] for message in bench.heard] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("language", "kind"),
    [("bash", "request"), ("perl", "hello"), ("perl", "request"), ("perl", "final")],
)
def test_a_client_ends_when_its_manager_is_gone(tmp_path, language, kind):
    bench = Bench(tmp_path, [{"x": 3}])
    bench.on[kind] = lambda message: bench.die()
    assert run(bench, language) not in (0, None)
    assert "the manager is gone\n" in bench.log()


@pytest.mark.parametrize("language", ["bash", "perl"])
def test_a_client_that_has_said_nothing_goes_on_with_another_manager(tmp_path, language):
    bench = Bench(tmp_path, [{"x": 3}])
    bench.on["text"] = lambda text: bench.die(until=lambda: True)
    bench.on_return = (bench.code / "back").touch
    before = "echo begun; while [ ! -e back ]; do sleep 0.01; done; "
    assert run(bench, language, before) == 0, bench.log()
    assert bench.values() == [9]
    assert not bench.connection.resends


def test_every_message_is_specified():
    rows = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) - {"type"}
    assert rows == FROM_TRIAL | FROM_MANAGER
