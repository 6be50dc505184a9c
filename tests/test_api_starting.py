"""Starting experiments: what is made, who is started, what is said when it fails."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import mpx
from mpx import api
from mpx.api import starting
from mpx.api.tracebacks import user_frame
from mpx.errors import ConfigError, MpxError, StartError
from mpx.records import ExperimentPaths
from tests.lab import REPOSITORY, Lab, wait_until

LOOP = """
    import mpx
    for phase in mpx.phases():
        phase.report_final(1)
"""
ENDLESS = "import time; time.sleep(1000)"


@pytest.fixture(autouse=True)
def _home(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPX_HOME", str(lab.home))


@pytest.fixture
def fake_manager(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script to write, which then is the manager: DIRECTORY and READY_FD are its arguments."""
    script = lab.root / "fake_manager.py"
    monkeypatch.setattr(
        starting,
        "_manager_command",
        lambda paths, ready, limits: [sys.executable, str(script), str(paths.root), str(ready)],
    )
    return script


def says(**line: object) -> str:
    """Return a manager's code that says this line and ends."""
    data = json.dumps(line).encode() + b"\n"
    return f"import os, sys; os.write(int(sys.argv[2]), {data!r})"


def test_create_returns_when_the_first_trial_runs(lab: Lab) -> None:
    paths = api.create(lab.config(ENDLESS))
    record = api.show(paths)
    assert (record.status, record.manager_alive) == ("RUNNING", True)
    assert api.wait(paths, timeout=0.01) is False
    (stopped,) = api.stop([paths])
    assert stopped.trials == 1
    assert api.wait(paths) is True
    assert api.show(paths).status == "STOPPED"


def test_experiment_has_all_its_files_for_its_owner_alone(lab: Lab) -> None:
    config = lab.config(LOOP, maxPhaseNum=1)
    paths = api.create(config)
    api.wait(paths)

    assert len(paths.id) == 8
    assert paths.id[0].isalpha()
    assert paths.id.isalnum()
    for directory in (
        lab.home,
        lab.home / "experiments",
        paths.root,
        paths.trials,
        paths.checkpoint,
    ):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(paths.manager_log.stat().st_mode) == 0o600
    assert paths.config.read_bytes() == config.read_bytes()
    package = Path(mpx.__file__).parent
    assert (paths.sdk / "mpx").readlink() == package
    assert (paths.sdk / "nni").readlink() == package / "compat" / "nni"

    about = json.loads(paths.experiment.read_text())
    assert about["id"] == paths.id
    assert about["config_path"] == str(config)
    assert about["config"] == api.describe(paths).config.to_json()
    assert set(about["versions"]) == {"mpx", "python"}
    assert about["host"] == socket.gethostname()
    # Neither variables nor a virtual environment: a resume takes the shell's anew.
    assert set(about) == {"id", "created_at", "config", "config_path", "host", "versions"}
    assert not paths.kept_checkpoints.exists()


def test_mistaken_configuration_makes_nothing(lab: Lab) -> None:
    with pytest.raises(ConfigError):
        api.create(lab.config(LOOP, nosuchkey=1))
    assert not lab.home.exists()


def test_home_that_cannot_be_written_is_named(lab: Lab) -> None:
    lab.home.write_text("a file")
    with pytest.raises(MpxError, match=r"cannot make the experiment's directory: .*home"):
        api.create(lab.config(LOOP))


def test_manager_is_found_in_a_source_tree_and_nothing_in_the_way_of_it(lab: Lab) -> None:
    """The shell stands in a directory with a module `json`; mpx is on `sys.path` by its hand alone."""
    here = lab.write("here/json.py", "raise ImportError('the wrong json')").parent
    config = lab.config(
        """
        import os, sys, mpx
        mpx.get_next_parameter()
        seed = os.environ.get("PYTHONHASHSEED")
        mpx.report_final_result({"default": 1, "path": os.environ["PYTHONPATH"], "seed": seed})
        """,
        maxPhaseNum=1,
    )
    ours = ("PYTHONPATH", "PYTHONHASHSEED")
    environment = {k: v for k, v in lab.environment.items() if k not in ours}
    code = (
        f"import sys; sys.path.append({str(REPOSITORY)!r});"
        f" from pathlib import Path; from mpx import api;"
        f" paths = api.create(Path({str(config)!r})); api.wait(paths); print(paths.id)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=environment,
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    paths = api.find(done.stdout.strip())
    (phase,) = api.phases(paths)
    assert phase.value["path"] == str(paths.sdk)
    assert phase.value["seed"] is None  # the manager's own is fixed


def test_manager_that_dies_is_told_with_its_status_and_last_lines(
    lab: Lab, fake_manager: Path
) -> None:
    fake_manager.write_text("import os; print('last words', flush=True); os._exit(7)")
    with pytest.raises(StartError, match=r"(?s)died.*exit status 7.*manager\.log.*last words"):
        api.create(lab.config(LOOP))


def test_killed_manager_is_told_by_its_signal(lab: Lab, fake_manager: Path) -> None:
    fake_manager.write_text("import os; os.kill(os.getpid(), 11)")
    with pytest.raises(StartError, match=r"(?s)killed by SIGSEGV.*\(nothing\)"):
        api.create(lab.config(LOOP))


def test_failed_tuner_is_told_with_the_place_in_the_users_file(
    lab: Lab, fake_manager: Path
) -> None:
    traceback = textwrap.dedent(f"""\
        Traceback (most recent call last):
          File "{lab.root}/tuner.py", line 12, in __init__
            self.x = json.loads("{{bad")
          File "/usr/lib/python3/json/__init__.py", line 346, in loads
            return _default_decoder.decode(s)
        ValueError: bad
        """)
    error = {"type": "ValueError", "message": "bad", "traceback": traceback}
    fake_manager.write_text(says(status="ERROR", reason="the constructor raised", error=error))
    with pytest.raises(StartError) as caught:
        api.create(lab.config(LOOP))
    paths = ExperimentPaths(lab.home / "experiments" / caught.value.experiment_id)
    assert str(caught.value).splitlines() == [
        f"experiment {paths.id} failed: the constructor raised",
        f'  File "{lab.root}/tuner.py", line 12, in __init__',
        '    self.x = json.loads("{bad")',
        "    ValueError: bad",
        f"the whole traceback: mpx status {paths.id}",
    ]
    assert caught.value.traceback == traceback


def test_failure_without_a_traceback_promises_none(lab: Lab, fake_manager: Path) -> None:
    error = {"type": "OSError", "message": "no space", "traceback": None}
    reason = "a trial cannot be started: OSError: no space"
    fake_manager.write_text(says(status="ERROR", reason=reason, error=error))
    with pytest.raises(StartError) as caught:
        api.create(lab.config(LOOP))
    assert str(caught.value) == f"experiment {caught.value.experiment_id} failed: {reason}"


def test_manager_that_cannot_begin_is_waited_for_until_it_has_ended(
    lab: Lab, fake_manager: Path
) -> None:
    said = says(status="INTERRUPTED", reason="it is locked", error=None)
    fake_manager.write_text(f"{said}\nimport time; time.sleep(0.1)")
    with pytest.raises(StartError, match=r"cannot go on, and is left as it was: it is locked$"):
        api.create(lab.config(LOOP))
    assert all(manager.poll() is not None for manager in starting._managers)


def test_experiment_that_ended_at_once_was_started(lab: Lab, fake_manager: Path) -> None:
    fake_manager.write_text(says(status="DONE", reason="no more", error=None))
    assert api.create(lab.config(LOOP)).root.exists()


def test_experiment_stopped_meanwhile_was_not_started(lab: Lab, fake_manager: Path) -> None:
    fake_manager.write_text(says(status="STOPPED", reason="mpx stop", error=None))
    with pytest.raises(StartError, match="was stopped before its first trial ran"):
        api.create(lab.config(LOOP))


def test_line_that_comes_in_parts_is_one_line(lab: Lab, fake_manager: Path) -> None:
    fake_manager.write_text(
        "import os, sys, time\n"
        "os.write(int(sys.argv[2]), b'{\"status\": ')\n"
        f"while not os.path.exists({str(lab.root / 'go')!r}): time.sleep(0.01)\n"
        "os.write(int(sys.argv[2]), b'\"RUNNING\"}\\n')\n"
    )
    with api.launch(lab.config(LOOP)) as started:
        assert started.read()
        assert started.beginning is None
        (lab.root / "go").touch()
        started.wait_ready()
        while started.read():
            pass


def test_manager_leaves_the_terminal_and_its_session(lab: Lab, fake_manager: Path) -> None:
    fake_manager.write_text(
        "import os, sys, json\n"
        "about = {'stdin': os.readlink('/proc/self/fd/0'), 'out': os.readlink('/proc/self/fd/1'),\n"
        "  'err': os.readlink('/proc/self/fd/2'), 'leads': os.getsid(0) == os.getpid()}\n"
        "open(sys.argv[1] + '/about', 'w').write(json.dumps(about))\n"
    )
    if not os.path.isdir("/proc/self/fd"):  # noqa: PTH112
        pytest.skip("needs /proc")
    with pytest.raises(StartError) as caught:
        api.create(lab.config(LOOP))
    root = lab.home / "experiments" / caught.value.experiment_id
    about = json.loads((root / "about").read_text())
    log = str(root / "manager.log")
    assert about == {"stdin": "/dev/null", "out": log, "err": log, "leads": True}


def test_managers_that_ended_leave_no_zombie(lab: Lab, fake_manager: Path) -> None:
    fake_manager.write_text(says(status="DONE"))
    api.create(lab.config(LOOP))
    (first,) = starting._managers
    wait_until(lambda: first.poll() is not None, "the manager's end")
    api.create(lab.config(LOOP))
    assert first not in starting._managers


TRACEBACK = """\
Traceback (most recent call last):
  File "/mine/tuner.py", line 3, in ask
    return inner(
           ^^^^^^
  File "/mine/deep/other.py", line 9, in inner
    raise KeyError("x")
  File "/lib/numpy/core.py", line 1, in array
    pass
KeyError: 'x'
"""


@pytest.mark.parametrize(
    ("code_dir", "first", "last"),
    [
        ("/mine/deep", '  File "/mine/deep/other.py", line 9, in inner', '    raise KeyError("x")'),
        ("/mine", '  File "/mine/deep/other.py", line 9, in inner', '    raise KeyError("x")'),
        ("/min", '  File "/lib/numpy/core.py", line 1, in array', "    pass"),
        (None, '  File "/lib/numpy/core.py", line 1, in array', "    pass"),
    ],
)
def test_innermost_frame_of_the_users_own_is_shown(
    code_dir: str | None, first: str, last: str
) -> None:
    frame = user_frame(TRACEBACK, code_dir)
    assert (frame[0], frame[-1]) == (first, last)


def test_syntax_error_is_shown_with_its_caret() -> None:
    text = (
        '  File "/mine/tuner.py", line 3\n    def f(:\n          ^\nSyntaxError: invalid syntax\n'
    )
    assert user_frame(text, "/mine") == text.splitlines()[:-1]


def test_frames_that_are_in_no_file_are_left_out() -> None:
    text = 'Traceback:\n  File "<frozen importlib._bootstrap_external>", line 1130, in get_data\n'
    assert user_frame(text, "/mine") == []
    assert user_frame(f'  File "/lib/a.py", line 1, in b\n    c\n{text}', "/mine") == [
        '  File "/lib/a.py", line 1, in b',
        "    c",
    ]


def test_no_traceback_no_frame() -> None:
    assert user_frame("", "/mine") == []
