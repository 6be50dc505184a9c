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


def run(bench, language):
    if shutil.which(language) is None:
        pytest.skip(f"no {language} here")
    bench.script(CLIENTS[language], "client")
    assert bench.run(f"{language} client") == 0, bench.log()
    assert bench.errors == []


@pytest.mark.parametrize("language", ["bash", "perl"])
def test_a_client_asks_reports_and_ends(tmp_path, language):
    bench = Bench(tmp_path, [{"name": "a b", "x": 3}, {"x": -0.5, "y": [1e-5]}])
    run(bench, language)
    assert bench.values() == [9, 0.25]
    assert bench.values("intermediate") == [0, 0]
    assert bench.log() == "x is 3\nx is -0.5\n"


def test_the_bash_client_is_the_least_there_can_be(tmp_path):
    bench = Bench(tmp_path, [{"x": 2}])
    run(bench, "bash")
    assert bench.types() == ["request", "intermediate", "final", "request"]
    assert not any("seq" in message for message in bench.heard)


def test_the_perl_client_says_hello_and_skips_what_was_meant_for_another(tmp_path):
    bench = Bench(tmp_path, [{"x": 2}])
    bench.send_now(LEFT_UNREAD)
    run(bench, "perl")
    assert bench.types() == ["hello", "request", "intermediate", "final", "request"]
    assert [message["seq"] for message in bench.heard] == [1, 2, 3, 4, 5]


def test_every_message_is_specified():
    rows = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) - {"type"}
    assert rows == FROM_TRIAL | FROM_MANAGER
