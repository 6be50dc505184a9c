"""Trials as real processes: their output, their ends, and that nothing of them is left."""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import psutil
import pytest

from mpx import processes
from mpx.processes import find_by_environment, send_signal, signal_group, start_of
from mpx.records import ExitStatus, TrialPaths, TrialSpec
from mpx.training_service import local
from mpx.training_service.local import LocalService
from tests.lab import wait_until

PYTHON = shlex.quote(sys.executable)
NEVER = 1000.0


class Site:
    """A local service on a loop of its own, with somebody who listens.

    Attributes:
        output: what each trial wrote to its stdout.
        ends: how trials ended.
        logs_output: whether what a trial writes is put into its log, as the controller does.
    """

    def __init__(self, root):
        self.root = root
        self.code_dir = root / "code"
        self.code_dir.mkdir(parents=True)
        self.loop = asyncio.new_event_loop()
        self.service = LocalService(self.loop, self.paths)
        self.service.listener = self
        self.output = {}
        self.ends = {}
        self.logs_output = False
        self.bugs = []
        self.groups = {}
        self.reapers = []  # what waits for the children of a manager that "died"
        self.loop.set_exception_handler(lambda loop, context: self.bugs.append(context))

    def paths(self, trial_id):
        return TrialPaths(self.root / "trials" / trial_id)

    def on_output(self, trial_id, data):
        assert trial_id not in self.ends
        self.output[trial_id] += data
        if self.logs_output:
            self.service.log(trial_id, data)

    def on_exit(self, trial_id, status):
        assert trial_id not in self.ends
        self.ends[trial_id] = status

    def start(self, command, grace=NEVER, **environment):
        """Start a trial and return its id, which no other process on this machine carries."""
        trial_id = uuid.uuid4().hex
        self.output[trial_id] = bytearray()
        spec = TrialSpec(
            trial_id=trial_id,
            sequence_id=0,
            command=command,
            code_dir=str(self.code_dir),
            environment={**os.environ, "MPX_TRIAL_ID": trial_id, **environment},
            grace_period=grace,
        )
        self.identity = self.service.start(spec)
        self.groups[trial_id] = self.identity.pid
        return trial_id

    def until(self, condition, what, patience=30):
        """Run the loop until the condition is true."""
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, f"waited {patience} s in vain for {what}"
            self.loop.run_until_complete(asyncio.sleep(0.002))
            assert self.bugs == []

    def finish(self, trial_id):
        """Run the loop until the trial is gone; check that it is; return how it ended."""
        self.until(lambda: trial_id in self.ends, "the trial's end")
        assert find_by_environment("MPX_TRIAL_ID", trial_id) == []
        return self.ends[trial_id]

    def run(self, command, **options):
        return self.finish(self.start(command, **options))

    def says(self, trial_id, text):
        """Run the loop until the trial has said this."""
        self.until(lambda: text in self.output[trial_id], f"{text!r}")

    def log(self, trial_id):
        return self.paths(trial_id).log.read_bytes()

    def close(self):
        """End what a failed test left."""
        for trial_id in self.groups.keys() - self.ends.keys():
            signal_group(self.groups[trial_id], signal.SIGKILL)
            send_signal(find_by_environment("MPX_TRIAL_ID", trial_id), signal.SIGKILL)
            with contextlib.suppress(AssertionError):
                self.until(lambda trial_id=trial_id: trial_id in self.ends, "an end", patience=10)
        for reap in self.reapers:
            reap()
        self.loop.close()


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "site")
    yield site
    site.close()
    assert site.bugs == []


@pytest.fixture(params=["as on Linux", "as elsewhere"])
def anywhere(request, monkeypatch):
    """With what Linux has for watching processes, and without."""
    if request.param == "as elsewhere":
        monkeypatch.setattr(local, "_open_pidfd", lambda pid: -1)
        monkeypatch.setattr(processes, "_HAS_PROC", False)
    elif not sys.platform.startswith("linux"):
        pytest.skip("only Linux has them")


# -- how a command ends ---------------------------------------------------------------------------

ENDS = {
    "true": 0,
    "exit 3": 3,
    "false": 1,
    "exec false": 1,
    "exec bash -c 'exit 7'": 7,
    "(exit 4)": 4,
    "no_such_command_at_all": 127,
    "kill -9 $$": 137,
    "kill -TERM $$": 143,
    "exec bash -c 'kill -SEGV $$'": 139,
    f"{PYTHON} -c 'import os; os.abort()'": 134,
    f"{PYTHON} -c 'import os; os.kill(os.getpid(), 11)'": 139,
    f"{PYTHON} -c 'import sys; sys.exit(5)'": 5,
    "echo 'unclosed": 2,
}


@pytest.mark.parametrize(("command", "code"), ENDS.items())
def test_the_exit_status_is_the_commands_and_is_written_down(site, command, code):
    trial_id = site.start(command)
    assert site.finish(trial_id) == ExitStatus(code)
    assert site.paths(trial_id).exit_status.read_text() == f"{code}\n"


@pytest.mark.usefixtures("anywhere")
def test_both_exit_watches_tell_the_status(site):
    assert site.run("exit 3") == ExitStatus(3)
    assert site.run("kill -9 $$").describe() == "killed by SIGKILL"


def test_a_sandbox_that_refuses_a_pidfd_is_no_hindrance(site, monkeypatch):
    def refuse(pid):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    assert site.run("exit 3") == ExitStatus(3)


def test_a_command_that_kills_its_keeper_is_ended_too(site):
    trial_id = site.start("echo $$; kill -9 $PPID; exec sleep 1000", grace=0.05)
    assert site.finish(trial_id) == ExitStatus(137)
    assert start_of(int(site.output[trial_id])) is None
    assert not site.paths(trial_id).exit_status.exists()


def test_the_pipes_are_gone_and_the_rest_stays(site):
    trial_id = site.start("echo text >&2")
    root = site.paths(trial_id).root
    assert stat.S_ISFIFO(site.paths(trial_id).stdin.stat().st_mode)
    site.finish(trial_id)
    assert sorted(path.name for path in root.iterdir()) == ["exit_status", "output", "trial.log"]
    assert stat.S_IMODE(site.paths(trial_id).log.stat().st_mode) == 0o600


def test_the_identity_names_the_leading_process(site):
    trial_id = site.start("exec sleep 1000")
    assert site.identity.start == start_of(site.identity.pid)
    assert os.getpgid(site.identity.pid) == os.getsid(site.identity.pid) == site.identity.pid
    site.service.kill(trial_id)
    site.finish(trial_id)


def test_a_trial_that_cannot_start_leaves_nothing(site):
    site.code_dir.rmdir()
    with pytest.raises(FileNotFoundError):
        site.start("true")
    (root,) = (site.root / "trials").iterdir()
    assert sorted(path.name for path in root.iterdir()) == ["output", "trial.log"]
    site.output.clear()
    site.code_dir.mkdir()
    assert site.run("true") == ExitStatus(0)


def test_a_command_that_is_too_long_for_the_system_is_an_error(site):
    with pytest.raises(OSError, match="Argument list too long"):
        site.start("true " + "x" * 4_000_000)
    site.output.clear()


# -- commands, paths, environments ----------------------------------------------------------------


def test_a_command_may_hold_quotes_and_newlines(site):
    command = """printf '%s|' "a b" 'c"d' $'e\\nf' \\
    "$WORD" `echo back`
printf '%s' "it's" # a comment
"""
    trial_id = site.start(command, WORD="x 'y' \"z\" $HOME\n")
    site.finish(trial_id)
    assert bytes(site.output[trial_id]) == b"a b|c\"d|e\nf|x 'y' \"z\" $HOME\n|back|it's"


def test_paths_may_hold_anything(tmp_path):
    site = Site(tmp_path / "a b'c\"d\ne$HOME;*`f` ü")
    trial_id = site.start('pwd; read -r line; echo "$line"; echo err >&2; exit 3')
    site.service.send(trial_id, b"hello\n")
    assert site.finish(trial_id) == ExitStatus(3)
    assert bytes(site.output[trial_id]).decode() == f"{site.code_dir}\nhello\n"
    assert site.log(trial_id) == b"err\n"
    assert site.paths(trial_id).exit_status.read_text() == "3\n"
    site.close()


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_command_runs_in_bash_or_else_in_sh(site, tmp_path, shell):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in {"sh", "mv", shell}:
        (programs / name).symlink_to(shutil.which(name))
    trial_id = site.start('echo "$0"; exit 3', PATH=str(programs))
    assert site.finish(trial_id) == ExitStatus(3)
    assert bytes(site.output[trial_id]) == shell.encode() + b"\n"
    assert site.paths(trial_id).exit_status.read_text() == "3\n"


# -- output ---------------------------------------------------------------------------------------


def test_output_comes_in_order_and_to_the_last_byte(site):
    trial_id = site.start(
        "for ((i = 0; i < 20000; i++)); do echo line $i; done; printf 'no newline'"
    )
    site.finish(trial_id)
    lines = "".join(f"line {number}\n" for number in range(20000))
    assert bytes(site.output[trial_id]) == lines.encode() + b"no newline"


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="needs a large pipe")
def test_what_was_written_last_comes_before_the_end(site):
    size = 2**20
    code = f"import fcntl, os; fcntl.fcntl(1, {fcntl.F_SETPIPE_SZ}, {size}); os.write(1, b'x' * {size})"
    trial_id = site.start(f"{PYTHON} -c {shlex.quote(code)}")
    # The loop does not turn before the trial has ended.
    wait_until(site.paths(trial_id).exit_status.exists, "the trial's end")
    site.finish(trial_id)
    assert len(site.output[trial_id]) == size


def test_text_without_a_newline_comes_while_the_trial_runs(site):
    trial_id = site.start("printf 'progress 10 %%'; exec sleep 1000")
    site.says(trial_id, b"progress 10 %")
    assert trial_id not in site.ends
    site.service.kill(trial_id)
    site.finish(trial_id)


def test_a_flood_on_both_streams_lands_in_the_log(site):
    size = 20 * 2**20
    site.logs_output = True
    flood = f"head -c {size} /dev/zero | tr '\\0'"
    trial_id = site.start(f"{flood} a & {flood} b >&2 & wait; exit 3")
    assert site.finish(trial_id) == ExitStatus(3)
    log = site.log(trial_id)
    assert (log.count(b"a"), log.count(b"b"), len(log)) == (size, size, 2 * size)


def test_one_trials_flood_holds_up_no_other(site):
    flooding = site.start("exec cat /dev/zero")
    other = site.start("for i in 1 2 3; do read -r line; echo got $line; done")
    for number in (b"1", b"2", b"3"):
        site.service.send(other, number + b"\n")
        site.says(other, b"got " + number)
        site.output[flooding].clear()
    assert site.finish(other) == ExitStatus(0)
    site.service.kill(flooding)
    site.finish(flooding)


def test_a_closed_stdout_ends_nothing(site):
    trial_id = site.start('exec 1>&-; read -r line; echo "$line" >&2; exit 3')
    site.service.send(trial_id, b"still here\n")
    assert site.finish(trial_id) == ExitStatus(3)
    assert site.log(trial_id) == b"still here\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_log_that_cannot_be_written_ends_nothing(site):
    trial_id = site.start("read -r line")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, site.service._trials[trial_id]._log)
    os.close(full)
    site.service.log(trial_id, b"text")
    site.service.send(trial_id, b"\n")
    assert site.finish(trial_id) == ExitStatus(0)


# -- input ----------------------------------------------------------------------------------------

SLOW_READER = """
import hashlib, sys, time
digest, size = hashlib.sha256(), int(sys.argv[1])
while size:
    time.sleep(0.001)
    data = sys.stdin.buffer.raw.read(min(size, 10_000))
    size -= len(data)
    digest.update(data)
print(digest.hexdigest())
"""


def test_much_more_than_a_pipe_holds_reaches_a_slow_reader_in_order(site):
    data = os.urandom(1_000_000)
    (site.code_dir / "read.py").write_text(SLOW_READER)
    trial_id = site.start(f"{PYTHON} read.py {len(data) + 6}")
    site.service.send(trial_id, b"first\n")
    site.service.send(trial_id, data[:500_000])
    site.service.send(trial_id, data[500_000:])
    site.finish(trial_id)
    expected = hashlib.sha256(b"first\n" + data).hexdigest()
    assert bytes(site.output[trial_id]).decode() == expected + "\n"


READER_THAT_PAUSES = """
import sys
from pathlib import Path
first = sys.stdin.buffer.raw.read(60_000)
Path("paused").touch()
print((first + sys.stdin.buffer.read(200_002 - len(first))).index(b"b"))
"""


def test_what_is_sent_later_never_comes_earlier(site):
    (site.code_dir / "read.py").write_text(READER_THAT_PAUSES)
    trial_id = site.start(f"{PYTHON} read.py")
    site.service.send(trial_id, b"a" * 200_000)
    # The loop does not turn before there is room for more.
    wait_until((site.code_dir / "paused").exists, "room in the pipe")
    site.service.send(trial_id, b"b\n")
    site.finish(trial_id)
    assert bytes(site.output[trial_id]) == b"200000\n"


def test_a_trial_that_never_reads_can_be_ended(site):
    trial_id = site.start("exec sleep 1000")
    site.service.send(trial_id, b"x" * 1_000_000)
    site.service.end(trial_id)
    assert site.finish(trial_id) == ExitStatus(143)
    site.service.send(trial_id, b"too late")
    site.service.log(trial_id, b"too late")
    site.service.end(trial_id)
    site.service.kill(trial_id)


def test_a_trial_that_ends_without_reading_is_no_error(site):
    trial_id = site.start("read -r line; exit 3")
    site.service.send(trial_id, b"x\n" * 500_000)
    assert site.finish(trial_id) == ExitStatus(3)


def test_sending_to_a_trial_whose_command_has_ended_is_no_error(site):
    stray = "setsid bash -c 'trap \"\" TERM; echo ready; exec sleep 1000' </dev/null &"
    trial_id = site.start(f"{stray} read -r line")
    site.says(trial_id, b"ready")
    site.service.send(trial_id, b"\n")
    site.until(lambda: start_of(site.identity.pid) is None, "the keeper's end")
    site.service.send(trial_id, b"too late\n")
    site.service.kill(trial_id)
    assert site.finish(trial_id) == ExitStatus(0)


MANAGER = """
import asyncio, os, sys
from pathlib import Path
from tests.test_local_service import Site
site = Site(Path(sys.argv[1]))
trial_id = site.start("until [ -e go ]; do sleep 0.01; done; echo text && echo fine >result; exit 3")
print(trial_id, flush=True)
site.loop.run_forever()
"""


def test_a_trial_outlives_its_manager(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", MANAGER, str(tmp_path)],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
    ) as manager:
        trial_id = manager.stdout.readline().strip()
        manager.kill()
    try:
        (tmp_path / "code" / "go").touch()
        status = TrialPaths(tmp_path / "trials" / trial_id).exit_status
        wait_until(status.exists, "the trial's end")
        assert status.read_text() == "3\n"
        assert (tmp_path / "code" / "result").read_text() == "fine\n"
    finally:
        send_signal(find_by_environment("MPX_TRIAL_ID", trial_id), signal.SIGKILL)


# -- nothing is left ------------------------------------------------------------------------------

# Each writes the pid of what it leaves behind into the file `pids`.
LEFT = {
    "a background child": "sleep 1000 & echo $! >pids",
    "a grandchild": "(sleep 1000 & echo $! >pids)",
    "one in a session of its own": "setsid bash -c 'echo $$ >pids; exec sleep 1000' &",
    "one with another group": "set -m; sleep 1000 & echo $! >pids",
    "a daemon": "(setsid bash -c '(cd /; exec sleep 1000 >/dev/null 2>&1 </dev/null) &"
    " echo $! >pids') &",
    "one that is stopped": "sleep 1000 & kill -STOP $!; echo $! >pids",
    "one that ignores SIGTERM": "bash -c 'trap \"\" TERM; echo $$ >pids; exec sleep 1000' &",
    "one without its environment": "env -i sleep 1000 & echo $! >pids",
    "one that is stopped and ignores SIGTERM": "bash -c 'trap \"\" TERM; echo $$ >pids; kill -STOP $$' &",
    "one that writes on": "(trap '' PIPE; while :; do echo on; done) & echo $! >pids",
    "many": "for i in {1..20}; do sleep 1000 & setsid sleep 1000 & done; echo $! >pids",
}


@pytest.mark.parametrize("kind", LEFT)
@pytest.mark.parametrize("ended_by", ["itself", "end"])
@pytest.mark.usefixtures("anywhere")
def test_all_that_a_trial_started_ends_with_it(site, kind, ended_by):
    wait = "until [ -s pids ]; do sleep 0.01; done"
    last = "exec sleep 1000" if ended_by == "end" else ""
    trial_id = site.start(f"{LEFT[kind]}\n{wait}\n{last}", grace=0.2)
    pids = site.code_dir / "pids"
    if ended_by == "end":
        site.until(lambda: pids.exists() and pids.read_text().endswith("\n"), "the child")
        site.service.end(trial_id)
    status = site.finish(trial_id)
    assert status.survivors == ()
    assert start_of(int(pids.read_text())) is None
    if ended_by == "itself":
        assert status.code == 0


def test_what_ends_on_sigterm_is_not_killed(site):
    command = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done"
    trial_id = site.start(command)
    site.says(trial_id, b"ready")
    site.service.end(trial_id)
    assert site.finish(trial_id) == ExitStatus(5)
    assert site.output[trial_id].endswith(b"bye\n")


@pytest.mark.parametrize("start", ["", "setsid "])
def test_what_is_stopped_can_end_on_sigterm(site, start):
    child = "trap 'echo bye; exit' TERM; echo ready; kill -STOP $$; while :; do sleep 0.01; done"
    trial_id = site.start(f"{start}bash -c {shlex.quote(child)} & read -r line")
    site.says(trial_id, b"ready")
    site.service.end(trial_id)
    assert site.finish(trial_id) == ExitStatus(143)
    assert site.output[trial_id].endswith(b"bye\n")


def test_what_is_said_in_the_grace_period_is_heard(site):
    """The shell between the keeper and the program ends at once; the program saves its model."""
    child = "trap 'sleep 0.1; echo bye; exit' TERM; echo ready; while :; do sleep 0.01; done"
    trial_id = site.start(f"bash -c {shlex.quote(child)}; true")
    site.says(trial_id, b"ready")
    site.service.end(trial_id)
    assert site.finish(trial_id) == ExitStatus(143)
    assert site.output[trial_id].endswith(b"bye\n")


def test_what_a_trial_starts_to_end_well_is_let_be(site):
    """A child born in the grace period saves a model, say."""
    save = 'bash -c "sleep 0.2; echo saved"; exit 5'
    trial_id = site.start(f"trap '{save}' TERM; echo ready; while :; do sleep 0.01; done")
    site.says(trial_id, b"ready")
    site.service.end(trial_id)
    assert site.finish(trial_id) == ExitStatus(5)
    assert site.output[trial_id].endswith(b"saved\n")


STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.01; done"


def test_what_ignores_sigterm_is_killed_when_the_grace_period_is_over(site):
    trial_id = site.start(STUBBORN, grace=0.2)
    site.says(trial_id, b"ready")
    began = time.monotonic()
    site.service.end(trial_id)
    assert site.finish(trial_id) == ExitStatus(137)
    assert time.monotonic() - began >= 0.2


def test_ending_twice_is_ending_once(site):
    trial_id = site.start(
        "trap 'echo term' TERM; echo ready; while :; do sleep 0.01; done", grace=0.3
    )
    site.says(trial_id, b"ready")
    site.service.end(trial_id)
    site.says(trial_id, b"term")
    site.service.end(trial_id)
    assert site.finish(trial_id) == ExitStatus(137)
    assert site.output[trial_id].count(b"term") == 1


def test_a_kill_cuts_the_grace_period_short(site):
    trial_id = site.start(STUBBORN)
    site.says(trial_id, b"ready")
    site.service.end(trial_id)
    site.service.kill(trial_id)
    assert site.finish(trial_id) == ExitStatus(137)


def test_a_kill_needs_no_end_before_it(site):
    trial_id = site.start(f"setsid bash -c {shlex.quote(STUBBORN)} & wait")
    site.says(trial_id, b"ready")
    site.service.kill(trial_id)
    assert site.finish(trial_id) == ExitStatus(137)


def test_a_trial_may_be_ended_as_soon_as_it_is_started(site):
    for _ in range(10):
        trial_id = site.start("exec sleep 1000")
        site.service.end(trial_id)
        assert site.finish(trial_id) == ExitStatus(143)


@pytest.mark.usefixtures("anywhere")
def test_what_cannot_be_ended_is_named(site, monkeypatch):
    for name in ("send_signal", "signal_group"):
        monkeypatch.setattr(local, name, lambda *_: None)
    monkeypatch.setattr(local, "_KILL_PATIENCE", 0.05)
    trial_id = site.start("echo $$; exec sleep 1000", grace=0.0)
    site.says(trial_id, b"\n")
    site.service.end(trial_id)
    site.until(lambda: trial_id in site.ends, "the end")
    keeper, command = site.identity, int(site.output[trial_id])
    assert site.ends[trial_id] == ExitStatus(None, tuple(sorted([command, keeper.pid])))
    # What ends after all is reaped, and tells nobody.
    send_signal([command, keeper.pid], signal.SIGKILL)
    site.until(lambda: not psutil.pid_exists(keeper.pid), "the keeper's end")
    site.until(lambda: "exit watch" not in [t.name for t in threading.enumerate()], "the watch")


def test_a_group_that_was_seen_empty_is_not_looked_at_again(site, monkeypatch):
    """Its number may be another group's by then."""
    looks = []
    real = local.group_members

    def look(group):
        looks.append(real(group))
        return looks[-1]

    command = "setsid bash -c 'trap \"\" TERM; echo ready; exec sleep 1000' & read -r line"
    trial_id = site.start(command, grace=0.3)
    site.says(trial_id, b"ready")
    monkeypatch.setattr(local, "group_members", look)
    site.service.send(trial_id, b"\n")
    assert site.finish(trial_id) == ExitStatus(0)
    assert looks.count([]) == 1


def test_a_forked_process_can_close_what_belongs_to_trials(site):
    trial_id = site.start("read -r line; exit 3")
    trial = site.service._trials[trial_id]
    fds = [trial._stdin, trial._stdout, trial._log]
    pid = os.fork()
    if pid == 0:
        site.service.close_in_child()
        closed = 0
        for fd in fds:
            try:
                os.fstat(fd)
            except OSError:
                closed += 1
        os._exit(closed)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    site.service.send(trial_id, b"\n")
    assert site.finish(trial_id) == ExitStatus(3)


def test_many_trials_at_once(site):
    trials = [site.start(f"read -r line; echo $line; exit {number}") for number in range(20)]
    for trial_id in trials:
        site.service.send(trial_id, trial_id.encode() + b"\n")
    for number, trial_id in enumerate(trials):
        assert site.finish(trial_id) == ExitStatus(number)
        assert bytes(site.output[trial_id]).decode() == trial_id + "\n"


# -- trials of an earlier manager -----------------------------------------------------------------


class Heir:
    """A site whose manager is another one than that which started the trials."""

    def __init__(self, site):
        self.before = site.service
        # The manager that died lets go of its ends, watches nothing, and reaps nobody: a process of
        # the test that started the trial does.
        for trial in site.service._trials.values():
            for fd in (trial._stdin, trial._stdout):
                site.loop.remove_reader(fd)
            trial._watch.abandon()
            site.reapers.append(trial._watch._exit_code)
            trial.close_fds()
        site.service = LocalService(site.loop, site.paths)
        site.service.listener = site
        self.site = site

    def adopt(self, trial_id, identity, session=None, grace=NEVER):
        found = self.site.service.find(trial_id, identity)
        spec = TrialSpec(trial_id, 0, "", str(self.site.code_dir), {}, grace)
        self.site.service.adopt(spec, found, session)
        return found


# It reads end-of-file while no manager is there, and waits for one.
READ = "until read -r line; do sleep 0.01; done"
ECHO = f'{READ}; echo "heard $line"; while read -r line; do :; done; exit 3'


def test_adopted_trial_is_heard_told_and_its_exit_known(site, anywhere):
    trial_id = site.start("echo early; " + ECHO)
    identity = site.identity
    site.says(trial_id, b"early\n")
    heir = Heir(site)
    assert heir.adopt(trial_id, identity) == identity
    site.service.send(trial_id, b"hello\n")
    site.says(trial_id, b"heard hello\n")
    site.service.log(trial_id, b"a mark\n")
    assert site.log(trial_id).endswith(b"a mark\n")
    for trial in site.service._trials.values():
        os.close(trial._stdin)  # end-of-file ends the command
        trial._stdin = -1
    assert site.finish(trial_id) == ExitStatus(3)
    assert not site.paths(trial_id).stdin.exists()


def test_found_trial_sees_a_manager_before_it_is_adopted(site):
    """Its wait for another manager, which has an end, is over."""
    trial_id = site.start(f"{READ}; echo heard $line; exit 0")
    identity = site.identity
    heir = Heir(site)
    heir.site.service.find(trial_id, identity)
    held = heir.site.service._held[trial_id]
    assert stat.S_ISFIFO(os.fstat(held).st_mode)
    heir.site.service.adopt(TrialSpec(trial_id, 0, "", "/", {}, NEVER), identity, None)
    site.service.send(trial_id, b"you\n")
    site.says(trial_id, b"heard you\n")
    assert site.finish(trial_id) == ExitStatus(0)


def test_adopted_trial_is_ended_with_all_it_started(site, anywhere):
    trial_id = site.start("setsid sleep 1000 & trap '' TERM; echo up; sleep 1000; sleep 1000")
    identity = site.identity
    site.says(trial_id, b"up\n")
    heir = Heir(site)
    heir.adopt(trial_id, identity, grace=0.2)
    site.service.end(trial_id)
    assert site.finish(trial_id).code in (137, 143, None)


def test_trial_that_ended_while_no_manager_ran_is_known_by_what_its_keeper_wrote(site, anywhere):
    trial_id = site.start("read -r line; exit 5")
    identity = site.identity
    heir = Heir(site)  # end-of-file ends the command
    wait_until(site.paths(trial_id).exit_status.exists, "the keeper's word")
    wait_until(lambda: start_of(identity.pid) is None, "the keeper's end")
    site.output[trial_id] = bytearray()
    assert heir.adopt(trial_id, identity) is None
    assert site.ends == {}, "an end comes in a later turn"
    assert site.finish(trial_id) == ExitStatus(5)


def test_what_a_dead_trial_left_is_ended_and_its_unsent_messages_delivered(site, anywhere):
    trial_id = site.start("setsid sleep 1000 & echo up; sleep 1000")
    identity = site.identity
    site.says(trial_id, b"up\n")
    heir = Heir(site)
    signal_group(identity.pid, signal.SIGKILL)
    wait_until(lambda: start_of(identity.pid) is None, "the keeper's end")
    site.paths(trial_id).unsent("abc").write_bytes(b"\n@mpx {}\n")
    site.paths(trial_id).unsent("other").write_bytes(b"not this\n")
    site.output[trial_id] = bytearray()
    assert heir.adopt(trial_id, identity, session="abc", grace=0.2) is None
    assert site.output[trial_id] == b"\n@mpx {}\n"
    assert site.finish(trial_id) == ExitStatus(None)


def test_trial_that_was_found_dead_may_be_ended_before_its_end_is_told(site):
    """Its group and its keeper have no number that could be signalled."""
    trial_id = site.start("setsid sleep 1000 & echo up; sleep 1000")
    identity = site.identity
    site.says(trial_id, b"up\n")
    heir = Heir(site)
    signal_group(identity.pid, signal.SIGKILL)
    wait_until(lambda: start_of(identity.pid) is None, "the keeper's end")
    assert heir.adopt(trial_id, identity, grace=0.2) is None
    site.service.end(trial_id)
    assert site.finish(trial_id) == ExitStatus(None)


@pytest.mark.parametrize("session", [None, "", "../abc", "a/b", "missing"])
def test_session_that_names_no_file_of_the_sdk_delivers_nothing(site, session):
    trial_id = site.start("exit 0")
    site.finish(trial_id)
    (site.paths(trial_id).root.parent / "abc").write_bytes(b"secret")
    site.ends.clear()
    site.output[trial_id] = bytearray()
    Heir(site).adopt(trial_id, None, session=session)
    assert site.finish(trial_id) == ExitStatus(0)
    assert site.output[trial_id] == b""


def test_trial_whose_start_was_not_recorded_is_found_by_its_mark(site):
    trial_id = site.start("echo up; " + ECHO)
    identity = site.identity
    site.says(trial_id, b"up\n")
    heir = Heir(site)
    assert heir.adopt(trial_id, None) == identity
    site.service.end(trial_id)
    site.service.kill(trial_id)
    site.finish(trial_id)


def test_number_that_another_process_was_given_is_not_the_trial(site, anywhere):
    trial_id = site.start("exit 0")
    site.finish(trial_id)
    other = subprocess.Popen(["sleep", "1000"])
    try:
        site.ends.clear()
        site.output[trial_id] = bytearray()
        impostor = local.Identity(other.pid, "another boot:17")
        assert Heir(site).adopt(trial_id, impostor, grace=0.1) is None
        assert site.finish(trial_id) == ExitStatus(0)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_child_of_a_tuner_closes_the_ends_that_are_held(site):
    trial_id = site.start(f"{READ}; exit 0")
    identity = site.identity
    heir = Heir(site)
    heir.site.service.find(trial_id, identity)
    held = heir.site.service._held[trial_id]
    child = os.fork()
    if not child:
        heir.site.service.close_in_child()
        try:
            os.fstat(held)
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(held)
    signal_group(identity.pid, signal.SIGKILL)
    site.ends[trial_id] = None


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_tuner_cannot_fork_while_a_trial_is_started(site):
    """Its child would hold pipes that nobody knows of yet, and `Popen` would wait for it."""
    started = threading.Event()
    order = []

    def fork():
        started.wait()
        child = os.fork()
        if not child:
            os._exit(0)
        order.append("forked")
        os.waitpid(child, 0)

    thread = threading.Thread(target=fork)
    thread.start()
    open_pipes = local._LocalTrial._open_pipes

    def open_slowly(trial):
        started.set()
        wait_until(lambda: local._no_fork.locked(), "the lock")
        assert order == []
        found = open_pipes(trial)
        order.append("opened")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local._LocalTrial, "_open_pipes", open_slowly)
        trial_id = site.start("exit 0")
    thread.join()
    assert order == ["opened", "forked"]
    site.finish(trial_id)


def test_child_that_cast_off_its_marks_ends_with_a_command_that_ended(site):
    """Its parent, which carries the mark, outlives the command, and is known when both are ended."""
    bare = "env -i setsid sleep 1000 & echo $! >../bare; wait"
    trial_id = site.start(
        f"bash -c {shlex.quote(bare)} & until [ -s ../bare ]; do sleep 0.01; done"
    )
    site.finish(trial_id)
    assert start_of(int((site.root / "bare").read_text())) is None


def test_child_that_cast_off_its_marks_ends_with_a_trial_that_was_found_dead(site):
    bare = "env -i setsid sleep 1000 & echo $! >../bare; wait"
    trial_id = site.start(f"setsid bash -c {shlex.quote(bare)} & sleep 1000")
    identity = site.identity
    file = site.root / "bare"
    wait_until(lambda: file.exists() and file.read_text(), "the child")
    heir = Heir(site)
    signal_group(identity.pid, signal.SIGKILL)
    wait_until(lambda: start_of(identity.pid) is None, "the keeper's end")
    heir.adopt(trial_id, identity, grace=0.2)
    site.finish(trial_id)
    assert start_of(int(file.read_text())) is None
