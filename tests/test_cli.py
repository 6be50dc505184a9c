"""The command line: help, errors and exit codes, and what each command prints."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import mpx
from mpx import cli
from mpx.cli.errors import Settings, report
from mpx.errors import ConfigError, MpxError, StartError, SurvivorsError
from mpx.records import ErrorRecord, ExperimentStatus, PhaseStatus, TrialStatus
from tests import stored
from tests.lab import REPOSITORY, Lab

EVIL = "\x1b[31mred"
PHASES: list[dict[str, Any]] = [
    {"value": 0.25, "intermediates": [0.1, 0.2]},
    {"value": 0.75, "parameters": {"n": 1, "who": EVIL}},
    {"status": PhaseStatus.FAILED, "value": None, "score": None, "reason": "ValueError: no"},
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MPX_HOME", str(tmp_path))
    return tmp_path


def run(*arguments: str) -> str:
    """Run a command in this process and return what it printed."""
    result = CliRunner().invoke(cli.group, arguments, obj=Settings(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


# -- help and the table of commands ---------------------------------------------------------------


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_table_of_commands_says_what_their_help_does(name: str) -> None:
    command = cli.group.get_command(click.Context(cli.group), name)
    assert command is not None
    assert (command.help or "").split("\n\n")[0] == cli.COMMANDS[name]
    assert cli.COMMANDS[name] in run(name, "--help")


def test_every_command_module_is_in_the_table() -> None:
    modules = {path.stem for path in (Path(cli.__file__).parent).glob("*.py")}
    shared = {"__init__", "errors", "options", "foreground", "launching"}
    assert modules - shared == set(cli.COMMANDS)


def test_help_lists_every_command_and_loads_none(lab: Lab) -> None:
    code = (
        "import sys; from mpx.cli import main; sys.argv = ['mpx', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted(name for name in sys.modules if name.startswith('mpx')"
        " or name in ('rich', 'yaml', 'jsonschema', 'psutil', 'sqlite3', 'asyncio')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=lab.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    *shown, loaded = done.stdout.splitlines()
    section = shown[shown.index("Commands:") + 1 :]
    assert [line.split()[0] for line in section[: section.index("")]] == [*cli.COMMANDS]
    allowed = {"mpx", "mpx.cli", "mpx.cli.errors", "mpx.errors", "mpx.lifecycle", "mpx.records"}
    assert set(json.loads(loaded.replace("'", '"'))) == allowed


def test_mpx_alone_shows_the_help() -> None:
    assert run() == run("--help") == run("-h")


def test_version_is_that_of_the_package() -> None:
    assert run("--version") == f"mpx {mpx.__version__}\n"


# -- errors and exit codes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nosuch"], 2, "no command 'nosuch'; `mpx --help` lists all"),
        (["stauts"], 2, "no command 'stauts'; did you mean 'status'?"),
        (["status", "--nosuch"], 2, "--nosuch"),
        (["create"], 2, "CONFIG"),
        (["create", "none.yml", "-q", "--json"], 2, "exclude each other"),
        (["create", "none.yml"], 2, "none.yml"),
        (["validate", "none.yml"], 2, "1 mistake"),
        (["status", "nosuch"], 3, "no experiment 'nosuch'"),
        (["stop"], 3, "no experiment runs"),
        (["stop", "nosuch"], 3, "no experiment 'nosuch'"),
        (["stop", "x", "--all"], 2, "not both"),
        (["status", "-w", "--json"], 2, "exclude each other"),
        (["resume"], 2, "ID"),
        (["resume", "nosuch"], 3, "no experiment 'nosuch'"),
        (["resume", "demo", "-q", "--json"], 2, "exclude each other"),
        (["resume", "demo", "--max-phases", "0"], 2, "'--max-phases': 0 is not in the range"),
        (["resume", "demo", "--max-trials", "many"], 2, "'--max-trials': 'many' is not"),
        (["resume", "demo", "--max-duration", "90"], 2, "found '90'; allowed: a duration such as"),
        (["trials", "nosuch"], 3, "no experiment"),
        (["phases", "Ab3dEf12", "--top", "0"], 2, "--top"),
        (["phases", "Ab3dEf12", "--trial", "9"], 2, "no trial '9'"),
        (["logs", "Ab3dEf12", "9"], 2, "no trial '9'"),
        (["logs", "Ab3dEf12", "0", "--manager"], 2, "exclude each other"),
        (["export", "Ab3dEf12", "-o", "x.parquet"], 2, "allowed: .csv, .json, .jsonl"),
        (["export", "Ab3dEf12", "--format", "xml"], 2, "xml"),
        (["import", "nosuch", "none.json"], 3, "no experiment 'nosuch'"),
        (["import", "Ab3dEf12", "none.json"], 2, "cannot read none.json: No such file"),
        (["create", "none.yml", "--import", "none.json"], 2, "cannot read none.json: No such file"),
        (["enqueue", "nosuch", "{}"], 3, "no experiment 'nosuch'"),
        (["enqueue", "Ab3dEf12", "lr=1"], 2, "the parameters: found no JSON"),
        (["enqueue", "Ab3dEf12", "null"], 2, "found nothing (null); allowed: JSON such as"),
        (["enqueue", "Ab3dEf12", "@none.json"], 2, "cannot read none.json: No such file"),
        (["delete", "Ab3dEf12"], 2, "--yes"),
    ],
)
def test_mistake_is_one_message_and_an_exit_code(
    lab: Lab, arguments: list[str], code: int, said: str
) -> None:
    stored.experiment(lab.home)
    done = subprocess.run(
        lab.command(*arguments),
        env=lab.environment,
        cwd=lab.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "mpx: error: " in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MpxError("a\x1b\nb"), 1, "mpx: error: a\\x1b\nb\n"),
        (SurvivorsError("pid 7"), 4, "mpx: error: pid 7\n"),
        (ConfigError(["a:1:2: x", "a:3:4: y"]), 2, "a:1:2: x\na:3:4: y\nmpx: error: the config"),
        (click.ClickException("no"), 1, "mpx: error: no\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (SystemExit(7), 7, ""),
        (SystemExit("text"), 1, ""),
        (ZeroDivisionError("by zero"), 1, "mpx: error: ZeroDivisionError: by zero\nThis is a mis"),
    ],
)
def test_every_error_ends_in_a_message_and_a_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error, Settings()) == code
    shown = capsys.readouterr().err
    assert shown.startswith(said)
    assert bool(shown) == bool(said)


def test_debug_shows_the_users_traceback_and_ours(capsys: pytest.CaptureFixture[str]) -> None:
    report(StartError("failed", "Ab3dEf12", "the user's own"), Settings(debug=True))
    shown = capsys.readouterr().err
    assert shown.startswith("mpx: error: failed\nthe user's own\n\nReported by:\n")
    assert shown.rstrip().endswith("StartError: failed")


@pytest.mark.parametrize("arguments", [["--debug", "status", "x"], ["status", "x", "--debug"]])
def test_debug_is_welcome_before_and_behind_the_command(lab: Lab, arguments: list[str]) -> None:
    done = lab.run(*arguments)
    assert done.returncode == 3
    assert "Traceback" in done.stderr


def buffered(lab: Lab) -> dict[str, str]:
    """Return an environment in which the interpreter has something left to write at its end."""
    return {key: value for key, value in lab.environment.items() if key != "PYTHONUNBUFFERED"}


@pytest.mark.parametrize("command", ["schema", "status"])
def test_reader_that_goes_away_is_no_error(lab: Lab, command: str) -> None:
    stored.experiment(lab.home)
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
        lab.command(command), env=buffered(lab), stdout=writer, stderr=subprocess.PIPE
    ) as process:
        os.close(writer)
        assert process.stderr
        assert process.stderr.read() == b""
        assert process.wait() == 1


@pytest.mark.parametrize("command", ["schema", "status"])
def test_full_disk_is_told(lab: Lab, command: str) -> None:
    stored.experiment(lab.home)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with open(full, "w") as disk:
        done = subprocess.run(
            lab.command(command),
            env=buffered(lab),
            stdout=disk,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"mpx: error: [Errno 28] No space left on device\n"


def test_closed_stdout_is_no_error(lab: Lab) -> None:
    code = "import os, sys; os.close(1); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *lab.command("status")],
        env=lab.environment,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_is_quiet(lab: Lab) -> None:
    stored.experiment(lab.home)
    with subprocess.Popen(
        lab.command("delete", "Ab3dEf12"),
        env=lab.environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr
        question = process.stderr.read(len("Remove"))
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in question + rest


# -- validate, schema -----------------------------------------------------------------------------


def test_good_configuration_is_good(lab: Lab) -> None:
    config = lab.config("")
    assert lab.mpx("validate", config) == f"{config} is good; run it: mpx create {config}\n"
    assert json.loads(lab.mpx("validate", config, "--json")) == {"valid": True, "problems": []}


def test_all_mistakes_are_shown_or_listed(lab: Lab) -> None:
    config = lab.write("bad.yml", "trialConcurrency: zero\nnosuchkey: 1\n")
    done = lab.run("validate", config)
    assert done.returncode == 2
    assert f"{config}:1:19: trialConcurrency" in done.stderr
    assert f"{config}:2:1: nosuchkey" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("mpx: error: the configuration has ")

    found = json.loads(lab.mpx("validate", config, "--json", code=2))
    assert not found["valid"]
    assert {"trialConcurrency", "nosuchkey"} <= {each["key"] for each in found["problems"]}


def test_schema_is_the_file_that_configurations_are_checked_by() -> None:
    file = REPOSITORY / "mpx" / "config" / "schema.json"
    assert run("schema") == file.read_text("utf-8")


# -- looking --------------------------------------------------------------------------------------


def test_status_without_experiments_says_how_to_begin(home: Path) -> None:
    assert run("status") == f"no experiments in {home}; start one: mpx create CONFIG\n"
    assert json.loads(run("status", "--json")) == []


def test_status_lists_all_or_shows_one(home: Path) -> None:
    stored.experiment(home, "first123", phases=PHASES)
    stored.experiment(home, "second12", name="other")
    assert [line.split()[:3] for line in run("status").splitlines()[1:]] == [
        ["first123", "demo", "DONE"],
        ["second12", "other", "DONE"],
    ]
    assert [each["id"] for each in json.loads(run("status", "--json"))] == ["first123", "second12"]
    assert run("status", "fir").startswith("demo  first123  DONE  for 9.0 s\n")
    assert json.loads(run("status", "other", "--json"))["id"] == "second12"


def test_status_shows_the_error_and_the_last_lines_of_the_dead(home: Path) -> None:
    error = ErrorRecord("KeyError", "'lr'", "Traceback\nKeyError: 'lr'")
    paths = stored.experiment(
        home, status=ExperimentStatus.ERROR, error=error, trial_status=TrialStatus.FAILED,
        exit_status=3,
    )  # fmt: skip
    log = paths.trial("trialA").log
    log.parent.mkdir()
    log.write_text(f"{EVIL}\n")
    shown = run("status", paths.id)
    assert "trial 0 trialA  FAILED after 0 phases: exit status 3\n  | \\x1b[31mred\n" in shown
    assert shown.endswith("\nKeyError: 'lr'\n  | Traceback\n  | KeyError: 'lr'\n")


def test_watching_what_has_ended_shows_it_once(home: Path) -> None:
    paths = stored.experiment(home)
    assert run("status", paths.id, "--watch") == run("status", paths.id)


def test_trials_are_listed(home: Path) -> None:
    paths = stored.experiment(home, phases=PHASES)
    (line,) = run("trials", paths.id).splitlines()[1:]
    assert line.split()[:3] == ["0", "trialA", "SUCCEEDED"]
    (trial,) = json.loads(run("trials", paths.id, "--json"))
    assert (trial["trial_id"], trial["phases"]) == ("trialA", {"SUCCEEDED": 2, "FAILED": 1})


def test_phases_are_listed_best_first_if_asked(home: Path) -> None:
    paths = stored.experiment(home, phases=PHASES)
    assert [line.split()[0] for line in run("phases", paths.id).splitlines()[1:]] == ["0", "1", "2"]
    assert "who=\\x1b[31mred" in run("phases", paths.id)
    best = run("phases", paths.id, "--top", "1").splitlines()[1:]
    assert [line.split()[0] for line in best] == ["1"]
    rows = json.loads(run("phases", paths.id, "--trial", "0", "--json"))
    assert [row["value"] for row in rows] == [0.25, 0.75, None]


def test_export_goes_to_stdout_or_into_a_file(home: Path) -> None:
    paths = stored.experiment(home, phases=PHASES)
    rows = list(csv.DictReader(io.StringIO(run("export", paths.id))))
    assert [row["parameters.who"] for row in rows] == ["", EVIL, ""]
    assert json.loads(run("export", paths.id, "--json"))[0]["intermediates"] == [0.1, 0.2]
    assert len(run("export", paths.id, "--format", "jsonl").splitlines()) == 3

    file = home / "phases.jsonl"
    assert run("export", paths.id, "-o", str(file)) == ""
    assert file.read_text() == run("export", paths.id, "--format", "jsonl")
    assert run("export", paths.id, "-o", str(file), "--format", "csv") == ""
    assert file.read_text() == run("export", paths.id)


def test_logs_are_shown_as_they_are(home: Path) -> None:
    paths = stored.experiment(home)
    log = paths.trial("trialA").log
    log.parent.mkdir()
    log.write_bytes(b"one\n\x1b[31mtwo\n\xffthree")
    paths.manager_log.write_text("from the manager\n")
    runner = CliRunner()

    def printed(*arguments: str) -> bytes:
        return runner.invoke(cli.group, ["logs", paths.id, *arguments], obj=Settings()).stdout_bytes

    assert printed("0") == b"one\n\x1b[31mtwo\n\xffthree\n"
    assert printed("0", "-n", "1") == b"\xffthree\n"
    assert printed() == b"==> trial 0 (trialA) <==\none\n\x1b[31mtwo\n\xffthree\n"
    assert printed("--manager") == b"from the manager\n"
    assert printed("-f") == printed()
    lines = [json.loads(line) for line in printed("--json").splitlines()]
    assert lines[1] == {"trial_id": "trialA", "sequence_id": 0, "line": "\x1b[31mtwo"}


def test_logs_are_followed_to_the_end(lab: Lab) -> None:
    config = lab.config(
        """
        import mpx, time
        for phase in mpx.phases():
            print("phase", phase.index)
            time.sleep(0.1)
            phase.report_final(1)
        """,
        maxPhaseNum=5,
    )
    experiment = lab.create(config)
    said = lab.mpx("logs", experiment, "0", "--follow")
    own = [line for line in said.splitlines() if not line.startswith("[mpx ")]
    assert own == [f"phase {index}" for index in range(5)]


def test_watching_ends_with_the_experiment(lab: Lab) -> None:
    config = lab.config(
        """
        import mpx, os, time
        for phase in mpx.phases():
            while not os.path.exists("go"):
                time.sleep(0.01)
            phase.report_final(1)
        """,
        maxPhaseNum=2,
    )
    experiment = lab.create(config)
    with subprocess.Popen(
        lab.command("status", "--watch"), env=lab.environment, stdout=subprocess.PIPE, text=True
    ) as watch:
        assert watch.stdout
        first = watch.stdout.readline()
        lab.write("go", "")
        *_, last = watch.stdout.read().splitlines()
        assert watch.wait(30) == 0
    assert f"config ({experiment}) is RUNNING" in first
    assert last.startswith("  directory")
    assert lab.status(experiment)["status"] == "DONE"


def test_delete_asks_first(home: Path) -> None:
    paths = stored.experiment(home)
    runner = CliRunner()
    kept = runner.invoke(cli.group, ["delete", paths.id], input="n\n", obj=Settings())
    assert "Remove experiment Ab3dEf12 (demo) with 0 phases" in kept.stderr
    assert kept.stdout == "nothing was removed\n"
    assert paths.root.exists()
    gone = runner.invoke(cli.group, ["delete", paths.id], input="y\n", obj=Settings())
    assert gone.stdout == "removed Ab3dEf12\n"
    assert not paths.root.exists()


def test_delete_with_yes_asks_nothing(home: Path) -> None:
    paths = stored.experiment(home)
    assert run("delete", paths.id, "--yes") == "removed Ab3dEf12\n"


def test_stopping_what_left_no_record_says_so(home: Path) -> None:
    paths = stored.experiment(home, status=ExperimentStatus.RUNNING)
    paths.store.unlink()
    assert run("stop", "demo") == (
        "Ab3dEf12 (demo) left no record of its trials; nothing of it runs any more\n"
    )


def test_stopping_what_has_ended_says_so(home: Path) -> None:
    stored.experiment(home)
    assert run("stop", "demo") == "Ab3dEf12 (demo) had ended already: DONE\n"
    assert run("stop", "--all") == "no experiment runs\n"
    assert json.loads(run("stop", "demo", "--json")) == [
        {
            "id": "Ab3dEf12",
            "name": "demo",
            "had_ended": True,
            "status": "DONE",
            "trials": 0,
            "phases": 0,
            "killed": [],
        }
    ]
    assert json.loads(run("stop", "--all", "--json")) == []


# -- on a terminal --------------------------------------------------------------------------------


def on_terminal(lab: Lab, *arguments: str, **environment: str) -> str:
    """Run a command on a terminal of its own and return what it drew."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        lab.command(*arguments),
        env={**lab.environment, "TERM": "xterm", "COLUMNS": "60", **environment},
        stdin=its,
        stdout=its,
        stderr=its,
    ):
        os.close(its)
        drawn = b""
        try:
            while data := os.read(ours, 65536):
                drawn += data
        except OSError:  # Linux: nobody has the terminal open any more
            pass
    os.close(ours)
    return drawn.decode()


def unstyled(drawn: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", drawn)


def test_colour_is_for_terminals_that_want_it(lab: Lab) -> None:
    stored.experiment(lab.home)
    assert "\x1b[" not in lab.mpx("status")
    assert "\x1b[32mDONE" in on_terminal(lab, "status")
    assert "\x1b[3" not in on_terminal(lab, "status", NO_COLOR="1")


def test_table_is_cut_to_the_terminal(lab: Lab) -> None:
    stored.experiment(lab.home, phases=[{"parameters": {"long": "x" * 39, "other": "y" * 39}}])
    lines = unstyled(on_terminal(lab, "phases", "demo")).splitlines()
    assert max(map(len, lines)) == 60
    assert "…" in lines[1]


@pytest.mark.parametrize("command", [["phases"], ["export"], ["logs"], ["status"]])
def test_no_escape_of_a_user_reaches_the_terminal(lab: Lab, command: list[str]) -> None:
    paths = stored.experiment(lab.home, phases=PHASES, trial_status=TrialStatus.FAILED)
    log = paths.trial("trialA").log
    log.parent.mkdir()
    log.write_text(f"{EVIL}\n")
    drawn = on_terminal(lab, *command, "demo", NO_COLOR="1", COLUMNS="200")
    assert "\\x1b[31mred" in drawn
    assert EVIL not in drawn
