"""The clients in docs/protocol.md, run as they stand there."""

from __future__ import annotations

import re
import shutil

import pytest

from mpx.protocol import FROM_MANAGER, FROM_TRIAL, LARGEST_BATCH, Given, ManagerConnection
from tests.bench import REPOSITORY, Bench

TEXT = (REPOSITORY / "docs" / "protocol.md").read_text()
BASH, PERL, PERL_LOOP = re.findall(r"^```(?:bash|perl)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CLIENTS = {
    "bash": BASH,
    "perl": PERL,
    "perl, three phases at a time": PERL.partition("while (say_it(")[0] + PERL_LOOP,
}
# What a process that spoke before may have left in the pipe.
LEFT_UNREAD = b'"x":1}}\n{"type":"welcome","seq":1,"session":"another"}\n{"type":"ack","seq":1}\n\n'


def run(bench, language, before=""):
    """Run the client, after some other shell commands; return its exit code."""
    program = language.partition(",")[0]
    if shutil.which(program) is None:
        pytest.skip(f"no {program} here")
    bench.script(CLIENTS[language], "client")
    code = bench.run(f"{before}{program} client")
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


def test_the_perl_loop_of_batches_waits_once_for_all_of_one(tmp_path):
    bench = Bench(tmp_path, [{"x": x} for x in range(4)])
    bench.on["final"] = lambda message: b"" if bench.connection.open_phases else bench.acknowledge()
    assert run(bench, "perl, three phases at a time") == 0, bench.log()
    assert bench.types() == ["hello", "request", *["final"] * 3, "request", "final", "request"]
    assert bench.of_phases() == [(2, 4), (1, 1), (0, 0), (3, 9)]


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


def test_the_example_of_a_batch_is_what_the_manager_says_and_takes():
    (example,) = re.findall(
        r"^```\n(@mpx \{\"type\":\"request\".*?)^```$", TEXT, re.MULTILINE | re.DOTALL
    )
    request, answer, *finals = example.splitlines(keepends=True)
    manager = ManagerConnection()
    assert len([*manager.receive(request.encode())]) == 1
    given = [Given(7, 0, '{"x":1}'), Given(8, 1, '{"x":2}')]
    assert manager.parameters(given, is_batch=True) == answer.encode()
    assert [message["phase_index"] for message in manager.receive("".join(finals).encode())] == [
        1,
        0,
    ]
    assert f"from 1 to {LARGEST_BATCH}, asks for a *batch*" in TEXT


# By the text alone: no hello, no numbers.
RAW = r"""
exec 3<&0 4>&1 </dev/null >>"$MPX_TRIAL_DIR/trial.log"
say() { printf '\n@mpx %s\n' "$1" >&4; }
final() { say "{\"type\":\"final\",\"phase_index\":$1,\"value\":$2}"; }

say '{"type":"request","count":0}' && read -r line <&3 && echo "$line"
while say '{"type":"request","count":3}' && read -r line <&3; do
    set -- $(printf '%s\n' "$line" | grep -o '"phase_index":[0-9]*' | grep -o '[0-9]*$')
    [ $# -gt 0 ] || break
    say '{"type":"final","value":"of the only one"}'
    say "{\"type\":\"checkpoint\",\"phase_index\":$1,\"path\":\"/weights/$1\"}"
    [ $# -eq 1 ] || final $2 "1$2"
    final $1 "1$1"
done
echo "$line"
"""


def test_a_shell_script_has_three_phases_open_under_the_real_manager(lab):
    config = lab.config("", maxPhaseNum=7, trial={"codeDir": ".", "command": "bash raw.sh"})
    lab.write("raw.sh", RAW)
    experiment = lab.finish(config)
    found = [(p["phase_index"], p["status"], p["value"]) for p in lab.phases(experiment)]
    assert found == [
        *((n, "SUCCEEDED", 10 + n) for n in (0, 1)),
        (2, "ABANDONED", None),
        *((n, "SUCCEEDED", 10 + n) for n in (3, 4)),
        (5, "ABANDONED", None),
        (6, "SUCCEEDED", "of the only one"),
    ]
    log = lab.log(experiment)
    assert '{"type":"error","seq":0,"state":"no phase is open","message":"the `count` of' in log
    assert (
        "'final' is not allowed now: 3 phases are open: name one by its `phase_index` (0, 1, 2)"
        in log
    )
    assert "] phases 3 to 5 · parameter_ids 3 to 5\n" in log
    assert log.endswith('{"type":"no_more","seq":0,"reason":"maxPhaseNum (7) is reached"}\n')
