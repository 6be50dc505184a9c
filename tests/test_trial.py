"""The SDK in real processes on real named pipes, with a manager that the tests script."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from mpx import trial
from mpx.errors import LocalProtocolError, MessageError, RemoteProtocolError, UsageError
from mpx.protocol import ASKED
from tests.bench import REPOSITORY, Bench, interpreter

GONE = "the manager is gone; `mpx resume anExp` goes on with the experiment"
TWO_PHASES = """
    import mpx
    print("before")
    for phase in mpx.phases():
        with phase:
            print("phase", phase.index)
            phase.report_final(phase.parameters)
    print("after")
"""


# For trials that tell the test, by a line of text, to answer the request that waits.
TELL = """
import os, time, mpx
from mpx import trial

def tell(line):
    with open(os.environ["MPX_TRIAL_DIR"] + "/stdout", "w") as pipe:
        pipe.write(line + "\\n")

def wait_until_it_asked():
    while trial._session()._connection.state is not trial.ASKED:
        time.sleep(0.001)
"""


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


# -- the trial's pipes ----------------------------------------------------------------------------


def test_the_protocol_leaves_fds_0_and_1_and_no_child_inherits_it(bench):
    code = bench.python(
        """
        import fcntl, os, mpx
        mpx.get_next_parameter()
        def is_open(fd):
            try:
                return fcntl.fcntl(fd, fcntl.F_GETFD) is not None
            except OSError:
                return False
        open_fds = [fd for fd in range(3, 100) if is_open(fd)]
        mpx.report_final_result({
            "stdin is null": os.path.samestat(os.fstat(0), os.stat(os.devnull)),
            "stdout is the log": os.path.samestat(os.fstat(1), os.fstat(2)),
            "low": [fd for fd in open_fds if fd < 10],
            "inheritable": [fd for fd in open_fds if os.get_inheritable(fd)],
            "children's stdin and stdout": [os.get_inheritable(0), os.get_inheritable(1)],
        })
        """
    )
    assert code == 0
    assert bench.values() == [
        {
            "stdin is null": True,
            "stdout is the log": True,
            "low": [],
            "inheritable": [],
            "children's stdin and stdout": [True, True],
        }
    ]


@pytest.mark.parametrize(
    "command",
    [
        "{python} trial.py",
        "exec {python} trial.py",
        "{python} trial.py 2>&1",
        "{python} trial.py | tee copy",
        "{python} trial.py > copy",
        "{python} trial.py > copy 2>&1",
        "{python} trial.py & wait",
        "{python} trial.py < /dev/null",
        "echo input | {python} trial.py | cat",
        "{python} trial.py <&-",
        "({python} trial.py >&-)",
        "{python} trial.py <&- >&- 2>&-",
        'env -i PYTHONPATH="$PYTHONPATH" MPX_TRIAL_DIR="$MPX_TRIAL_DIR" {python} trial.py',
    ],
)
def test_a_trial_is_heard_whatever_its_command_does_with_stdin_and_stdout(bench, command):
    bench.script(TWO_PHASES)
    assert bench.run(command.format(python=f"'{sys.executable}'")) == 0
    assert bench.types() == ["hello", *["request", "final"] * 2, "request"]
    assert bench.values() == [{"n": 0}, {"n": 1}]
    assert bench.errors == []


@pytest.mark.parametrize("command", ["{python} trial.py | tee copy", "{python} trial.py > copy"])
def test_a_stdout_that_is_not_the_trials_pipe_stays_where_it_is(bench, command):
    bench.script(TWO_PHASES)
    bench.run(command.format(python=f"'{sys.executable}'"))
    assert (bench.code / "copy").read_text() == "before\nphase 0\nphase 1\nafter\n"


def test_text_comes_in_the_order_it_was_printed_in(bench):
    bench.python(TWO_PHASES)
    assert bench.text == b""
    assert bench.log() == "before\nphase 0\nphase 1\nafter\n"


def test_what_was_printed_before_the_import_comes_through_the_pipe(bench):
    bench.python("print('early', end='')\nimport mpx\nmpx.get_next_parameter()\nprint('late')")
    assert bench.text == b"early\n"
    assert bench.log() == "late\n"


def test_each_line_that_is_printed_is_in_the_log_at_once(bench):
    seen = []
    bench.on["final"] = lambda message: seen.append(bench.log()) or bench.acknowledge()
    bench.python(
        """
        import mpx
        mpx.get_next_parameter()
        print("epoch 1")
        mpx.report_final_result(0.5)
        """
    )
    assert seen == ["epoch 1\n"]


def test_what_is_printed_without_newline_is_in_the_log_before_the_next_phase(bench):
    seen = []
    bench.on["request"] = lambda message: (seen.append(bench.log()), bench.answer())[1]
    bench.python("import mpx\nfor phase in mpx.phases(): print(phase.index, end=' ')")
    assert seen == ["", "0 ", "0 1 "]


def test_the_import_takes_the_pipes_away_before_the_first_ask(bench):
    code = bench.python(
        """
        import os
        pipes = [os.fstat(fd).st_ino for fd in (0, 1)]
        import mpx
        import subprocess
        subprocess.run("echo hi; cat", shell=True, check=True)
        assert not {os.fstat(fd).st_ino for fd in (0, 1)} & set(pipes)
        for phase in mpx.phases():
            phase.report_final(phase.parameters)
        """
    )
    assert code == 0, bench.log()
    assert bench.text == b""
    assert bench.values() == [{"n": 0}, {"n": 1}]


def test_the_import_does_not_mind_a_trial_directory_that_is_gone(tmp_path):
    command = [sys.executable, "-c", "import mpx; mpx.get_trial_id()"]
    environment = {
        **os.environ,
        "MPX_TRIAL_DIR": str(tmp_path / "gone"),
        "PYTHONPATH": str(REPOSITORY),
    }
    subprocess.run(command, env=environment, check=True)


def test_children_may_print_and_read_as_they_like(bench):
    code = bench.python(
        """
        import subprocess, mpx
        for phase in mpx.phases():
            with phase:
                subprocess.run("echo hi; cat; printf 'no newline'; echo ' @mpx {}' >&2", shell=True)
                print(input.__name__)
                phase.report_final(subprocess.check_output("cat", shell=True).decode())
        """
    )
    assert code == 0
    assert bench.values() == ["", ""]
    assert bench.log().count("hi\n") == 2


def test_children_that_kept_the_pipe_flood_it_and_no_message_is_lost(bench):
    bench.parameters = list(range(20))
    first = [True]

    def when_both_began(text):
        """Answer the first request."""
        if first and bench.connection.state is ASKED and set(b"xy") <= set(bench.text):
            first.pop()
            return bench.answer()
        return b""

    bench.on["request"] = lambda message: b"" if first else bench.answer()
    bench.on["text"] = when_both_began
    code = bench.python(
        """
        import subprocess, sys
        flood = "import os\\nfor _ in range(100_000): os.write(1, {})"
        floods = [subprocess.Popen([sys.executable, "-c", flood.format(text)])
            for text in ("b'x' * 3", "b'y' * 5000")]
        import mpx
        for phase in mpx.phases():
            phase.report_final("z" * 30_000)
        for process in floods:
            process.kill()
            process.wait()
        """
    )
    assert code == 0, bench.log()
    assert bench.values() == ["z" * 30_000] * 20
    assert set(bench.text) == set(b"xy\n")


def test_a_pipe_that_another_program_made_nonblocking_is_no_matter(bench):
    bench.script("import os; os.set_blocking(0, False); os.set_blocking(1, False)", "odd.py")
    bench.script(TWO_PHASES)
    assert bench.run(f"'{sys.executable}' odd.py; '{sys.executable}' trial.py") == 0
    assert bench.values() == [{"n": 0}, {"n": 1}]


@pytest.mark.parametrize(
    "stdout",
    [
        "type('Tee', (), {'write': lambda self, text: len(text)})()",
        "None",
        "open(os.devnull, 'w'); sys.stdout.close()",
        "io.StringIO()",
    ],
)
def test_any_object_may_stand_for_stdout(bench, stdout):
    code = bench.python(
        f"""
        import io, os, sys, mpx
        sys.stdout = {stdout}
        for phase in mpx.phases():
            phase.report_final(phase.parameters)
        sys.stdout = sys.__stdout__
        """
    )
    assert code == 0, bench.log()
    assert bench.values() == [{"n": 0}, {"n": 1}]


# -- values ---------------------------------------------------------------------------------------


def test_what_the_functions_return(bench):
    bench.parameters = [{"lr": 0.1}, None]
    bench.python(
        """
        import mpx
        found = [mpx.get_current_parameter(), mpx.get_current_parameter("lr")]
        found += [mpx.get_next_parameter(), mpx.get_current_parameter(), mpx.get_current_parameter("lr")]
        found += [mpx.get_experiment_id(), mpx.get_trial_id(), mpx.get_sequence_id()]
        mpx.report_intermediate_result({"default": 0.5})
        mpx.report_intermediate_result([1, 2])
        mpx.report_final_result(found)
        mpx.get_next_parameter()
        mpx.report_final_result([mpx.get_next_parameter(), mpx.get_current_parameter()])
        """
    )
    assert bench.values("intermediate") == [{"default": 0.5}, [1, 2]]
    assert bench.values() == [
        [None, None, {"lr": 0.1}, {"lr": 0.1}, 0.1, "anExp", "aTrial", 3],
    ]
    assert "a result was reported, but no phase is open" in bench.log()


def test_nan_long_values_and_numpy_pass_both_ways(bench):
    pytest.importorskip("numpy")
    bench.parameters = [[math.inf, "x" * 10_000_000]]
    code = bench.python(
        """
        import mpx, numpy
        inf, text = mpx.get_next_parameter()
        assert (inf, text) == (float("inf"), "x" * 10_000_000)
        mpx.report_intermediate_result(numpy.float32(0.5))
        mpx.report_intermediate_result(numpy.arange(3))
        mpx.report_final_result([-inf, "y" * 10_000_000])
        """
    )
    assert code == 0, bench.log()
    scalar, array = bench.values("intermediate")
    assert scalar == 0.5
    assert array["__ndarray__"] == [0, 1, 2]
    assert bench.values() == [[-math.inf, "y" * 10_000_000]]


@pytest.mark.parametrize("value", ["object()", "[b'bytes']", "'x' * 200_000"])
def test_a_value_that_cannot_be_sent_leaves_the_phase_open(tmp_path, value):
    bench = Bench(tmp_path, max_line=100_000)
    bench.python(
        f"""
        import mpx
        mpx.get_next_parameter()
        for report in (mpx.report_intermediate_result, mpx.report_final_result):
            try:
                report({value})
            except mpx.ProtocolError as error:
                mpx.report_intermediate_result(type(error).__name__)
        mpx.report_final_result("well")
        """
    )
    assert bench.values("intermediate") == ["MessageError", "MessageError"]
    assert bench.values() == ["well"]


# -- phases ---------------------------------------------------------------------------------------


def test_an_exception_fails_its_phase_and_goes_on_up(bench):
    code = bench.python(
        """
        import mpx
        for phase in mpx.phases():
            with phase:
                raise KeyError("no such layer")
        """
    )
    assert code == 1
    assert bench.types() == ["hello", "request", "failed"]
    error = bench.heard[-1]["error"]
    assert (error["type"], error["message"]) == ("KeyError", "'no such layer'")
    assert 'raise KeyError("no such layer")' in error["traceback"]
    assert error["traceback"] in bench.log()


def test_continue_prints_the_exception_and_begins_the_next_phase(bench):
    code = bench.python(
        """
        import mpx
        for phase in mpx.phases(on_error="continue"):
            with phase:
                phase.report_final(1 / phase.parameters["n"])
        print("the end")
        """
    )
    assert code == 0
    assert bench.types() == ["hello", "request", "failed", "request", "final", "request"]
    assert "ZeroDivisionError: division by zero\n" in bench.log()
    assert bench.log().endswith("the end\n")


def test_continue_lets_exit_and_interrupts_through(bench):
    code = bench.python(
        """
        import sys, mpx
        for phase in mpx.phases(on_error="continue"):
            with phase:
                sys.exit(7)
        """
    )
    assert code == 7
    assert bench.heard[-1]["error"]["type"] == "SystemExit"


def test_an_exception_after_the_final_result_leaves_it_standing(bench):
    code = bench.python(
        """
        import mpx
        for phase in mpx.phases():
            with phase:
                phase.report_final(1)
                raise ValueError
        """
    )
    assert code == 1
    assert bench.types() == ["hello", "request", "final"]
    assert "could not be reported" not in bench.log()


def test_a_body_that_ends_without_a_result_says_nothing_of_its_phase(bench):
    code = bench.python(
        """
        import mpx
        for phase in mpx.phases():
            with phase as same:
                assert same is phase
        """
    )
    assert code == 0, bench.log()
    assert bench.types() == ["hello", "request", "request", "request"]


def test_an_exception_that_cannot_say_what_it_is_fails_its_phase(bench):
    bench.python(
        """
        import mpx
        class Odd(Exception):
            def __str__(self):
                raise RuntimeError
        for phase in mpx.phases():
            with phase:
                raise Odd
        """
    )
    error = bench.heard[-1]["error"]
    assert (error["type"], error["message"]) == ("Odd", "no message: its __str__ failed")


def test_a_failure_that_cannot_be_reported_does_not_hide_the_exception(bench):
    bench.on["failed"] = lambda message: bench.die()
    bench.orphan_timeout = 0
    code = bench.python(
        """
        import mpx
        try:
            for phase in mpx.phases():
                with phase:
                    raise KeyError("mine")
        except KeyError as error:
            print("caught", error)
        """
    )
    assert code == 0
    assert f"mpx: the failure of phase 0 could not be reported: {GONE}\n" in bench.log()
    assert bench.log().endswith("caught 'mine'\n")


@pytest.mark.parametrize(
    ("late", "said"),
    [
        ("phase.report_final(2)", "phase 0 is over: it has its result"),
        ("phase.report_intermediate(2)", "phase 0 is over: it has its result"),
        ("mpx.report_final_result(2)", "no phase is open: a phase takes one final result"),
        ("mpx.report_intermediate_result(2)", "no phase is open: a phase takes one final result"),
        ("mpx.get_next_parameter(); phase.report_final(2)", "phase 0 is over: it has its result"),
    ],
)
def test_a_report_that_no_open_phase_takes_raises_and_sends_nothing(bench, late, said):
    code = bench.python(
        f"""
        import mpx
        phase = next(mpx.phases())
        phase.report_final(1)
        {late}
        """
    )
    assert code == 1
    assert f"LocalProtocolError: {said}" in bench.log().replace("a result was reported, but ", "")
    assert bench.values() == [1]
    assert bench.values("intermediate") == []


@pytest.mark.parametrize("report", ["report_final_result", "report_intermediate_result"])
def test_a_report_before_any_process_asked_raises(bench, report):
    code = bench.python(
        f"""
        import subprocess, sys, mpx
        try:
            mpx.{report}(1)
        except mpx.ProtocolError as error:
            print(error)
        # It owns nothing for having tried.
        asks = "import mpx; mpx.report_final_result(mpx.get_next_parameter())"
        subprocess.run([sys.executable, "-c", asks], check=True)
        mpx.get_next_parameter()
        mpx.report_final_result("asked")
        """
    )
    assert code == 0
    assert "a result was reported, but no phase is open" in bench.log()
    assert bench.values() == [{"n": 0}, "asked"]


def test_asking_again_without_a_result_opens_the_next_phase(bench):
    bench.python(
        "import mpx\nmpx.get_next_parameter()\nmpx.report_final_result(mpx.get_next_parameter())"
    )
    assert bench.values() == [{"n": 1}]


def test_an_error_that_answers_a_request_raises_and_the_next_ask_works(bench):
    answers = [lambda: bench.connection.error("the parameters are too long"), bench.answer]
    bench.on["request"] = lambda message: answers.pop(0)()
    bench.python(
        """
        import mpx
        try:
            mpx.get_next_parameter()
        except mpx.ProtocolError as error:
            told = str(error)
        mpx.get_next_parameter()
        mpx.report_final_result(told)
        """
    )
    assert bench.values() == ["the parameters are too long"]


# -- processes and threads ------------------------------------------------------------------------

IN_A_CHILD = """
    import mpx
    def in_a_child(phase):
        mpx.report_intermediate_result(1)
        phase.report_intermediate(2)
        phase.report_final(3)
        with phase:
            try:
                mpx.get_next_parameter()
            except mpx.ProtocolError as error:
                print(error, flush=True)
            raise ValueError("in the child")
"""


def check_that_the_child_was_inert(bench):
    assert bench.values() == ["the parent's"]
    assert bench.values("intermediate") == []
    assert bench.types().count("request") == 1
    assert bench.log().count("is dropped: it did not ask for parameters\n") == 1
    assert "an intermediate result from process" in bench.log()
    assert "cannot ask for parameters: another process of this trial does" in bench.log()
    assert "ValueError: in the child" in bench.log()


def test_a_fork_is_inert(bench):
    bench.python(
        textwrap.dedent(IN_A_CHILD)
        + textwrap.dedent(
            """
            import os, sys, traceback
            phase = next(mpx.phases())
            child = os.fork()
            if not child:
                try:
                    in_a_child(phase)
                except ValueError:
                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(0)
            os.waitpid(child, 0)
            phase.report_final("the parent's")
            """
        )
    )
    check_that_the_child_was_inert(bench)


def test_a_spawned_process_is_inert(bench):
    bench.python(
        textwrap.dedent(IN_A_CHILD)
        + textwrap.dedent(
            """
            import multiprocessing
            if __name__ == "__main__":
                phase = next(mpx.phases())
                child = multiprocessing.get_context("spawn").Process(target=in_a_child, args=[phase])
                child.start()
                child.join()
                phase.report_final("the parent's")
            """
        )
    )
    check_that_the_child_was_inert(bench)


def test_a_fork_while_another_thread_waits_is_told_at_once_that_it_may_not_ask(bench):
    bench.answer_when_told()
    code = bench.python(
        TELL
        + """
import threading
waiting = threading.Thread(target=mpx.get_next_parameter)
waiting.start()
wait_until_it_asked()
child = os.fork()
if not child:
    try:
        mpx.get_next_parameter()
    except mpx.ProtocolError:
        os._exit(7)
    os._exit(0)
status = os.waitpid(child, 0)[1]
tell("answer now")
waiting.join()
mpx.report_final_result(os.WEXITSTATUS(status))
"""
    )
    assert code == 0, bench.log()
    assert bench.values() == [7]


def test_a_second_process_takes_over_and_hears_nothing_of_the_firsts_replies(bench):
    bench.parameters = ["the first's", "the first's, unread", "the second's"]
    bench.script(
        """
        import os, mpx
        from mpx import trial
        mpx.get_next_parameter()
        session = trial._session()
        session._connection.request()
        session._pipes.flush()
        os._exit(0)
        """,
        "first.py",
    )
    bench.script("import mpx; mpx.report_final_result(mpx.get_next_parameter())")
    assert bench.run(f"'{sys.executable}' first.py; '{sys.executable}' trial.py") == 0
    assert bench.values() == ["the second's"]
    assert bench.types() == ["hello", "request", "request", "hello", "request", "final"]


def test_a_process_that_replaces_itself_takes_over_from_itself(bench):
    bench.python(
        """
        import os, sys, mpx
        found = mpx.get_next_parameter()
        if len(sys.argv) == 1:
            os.execv(sys.executable, [sys.executable, "trial.py", "again"])
        mpx.report_final_result(found)
        """
    )
    assert bench.values() == [{"n": 1}]


def test_threads_may_report_at_once(bench):
    bench.python(
        """
        import threading, mpx
        phase = next(mpx.phases())
        def report(number):
            for i in range(20):
                phase.report_intermediate([number, i, "x" * 5000])
        threads = [threading.Thread(target=report, args=[n]) for n in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        phase.report_final(1)
        """
    )
    found = [value[:2] for value in bench.values("intermediate")]
    assert sorted(found) == [[n, i] for n in range(8) for i in range(20)]
    assert bench.values() == [1]


@pytest.mark.parametrize("report", ["phase.report_final", "mpx.report_final_result"])
def test_a_thread_that_reports_late_does_not_report_into_the_next_phase(bench, report):
    """The report is made, and waits for the lock, while another thread waits for parameters."""
    bench.answer_when_told(1)
    bench.python(
        TELL
        + f"""
import threading
phase = next(mpx.phases())

class Lock:
    held = trial._session()._lock
    def __enter__(self):
        if threading.current_thread() is thread:
            tell("answer now")
        self.held.acquire()
    def __exit__(self, *error):
        self.held.release()

def late():
    wait_until_it_asked()
    try:
        {report}("late")
    except mpx.ProtocolError as error:
        print("refused:", error)

thread = threading.Thread(target=late)
trial._session()._lock = Lock()
thread.start()
mpx.get_next_parameter()
thread.join()
mpx.report_final_result("in time")
"""
    )
    assert bench.values() == ["in time"]
    assert "refused: " in bench.log()


def test_ctrl_c_ends_a_wait_and_the_next_ask_goes_on_with_it(bench):
    bench.answer_when_told()
    bench.on["request"] = lambda message: os.kill(bench.heard[0]["pid"], signal.SIGINT) or b""
    code = bench.python(
        TELL
        + """
try:
    mpx.get_next_parameter()
except KeyboardInterrupt:
    tell("answer now")
mpx.report_final_result(mpx.get_next_parameter())
"""
    )
    assert code == 0, bench.log()
    assert bench.values() == [{"n": 0}]
    assert bench.types() == ["hello", "request", "final"]


def test_ctrl_c_before_the_welcome_lets_the_next_ask_begin_again(bench):
    welcomes = [
        lambda pid: os.kill(pid, signal.SIGINT) or b"",
        lambda pid: bench.connection.welcome(),
    ]
    bench.on["hello"] = lambda message: welcomes.pop(0)(message["pid"])
    code = bench.python(
        """
        import mpx
        try:
            mpx.get_next_parameter()
        except KeyboardInterrupt:
            mpx.report_final_result(mpx.get_next_parameter())
        """
    )
    assert code == 0, bench.log()
    assert bench.types() == ["hello", "hello", "request", "final"]


def test_an_ack_that_comes_after_ctrl_c_is_not_taken_for_parameters(bench):
    late = []

    def on_final(message):
        late.append(bench.acknowledge())
        if len(late) == 1:
            os.kill(bench.heard[0]["pid"], signal.SIGINT)
            return b""
        return late[1]

    bench.on["final"] = on_final
    bench.on["request"] = lambda message: (late[0] if late else b"") + bench.answer()
    code = bench.python(
        """
        import mpx
        mpx.get_next_parameter()
        try:
            mpx.report_final_result("interrupted")
        except KeyboardInterrupt:
            mpx.report_final_result(mpx.get_next_parameter())
        """
    )
    assert code == 0, bench.log()
    assert bench.values() == ["interrupted", {"n": 1}]


# -- trouble --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hello", "request", "final"])
def test_a_manager_that_went_while_the_trial_waits_is_said_so(bench, kind):
    bench.on[kind] = lambda message: bench.die()
    bench.orphan_timeout = 0
    assert bench.python(TWO_PHASES) == 1
    check_that_it_said_so(bench, kind)


def test_a_manager_that_went_while_the_trial_computes_is_said_so(bench):
    def answer_and_die(message):
        answer = bench.answer()
        bench.record()
        bench.send_now(answer)
        return bench.die()

    bench.on["request"] = answer_and_die
    bench.orphan_timeout = 0
    assert bench.python(TWO_PHASES) == 1
    check_that_it_said_so(bench, "final")


def check_that_it_said_so(bench, kind):
    """What was not recorded is left for another manager, and it is but this."""
    assert f"ProtocolError: {GONE}\n" in bench.log()
    waiting = "mpx: the manager is gone; waiting up to 0 s for another one (mpx resume anExp)\n"
    assert bench.log().count(waiting) == 1
    (left,) = bench.unsent()
    assert left["type"] == kind
    assert bench.lost in ([], [left])
    assert not (bench.root / "unsent.draft").exists()


@pytest.mark.parametrize("kind", ["checkpoint", "final"])
def test_a_line_that_the_manager_cannot_read_is_an_error_in_the_trial(bench, kind):
    bench.on[kind] = lambda message: bench.connection.violation(RemoteProtocolError("unreadable"))
    code = bench.python(
        """
        import mpx
        phase = next(mpx.phases())
        phase.save_checkpoint("trial.py")
        print("saved")
        phase.report_final(1)
        """
    )
    assert code == 1
    assert "ProtocolError: unreadable" in bench.log()
    assert ("saved" in bench.log()) == (kind == "final")


def test_a_trial_that_has_ended_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "_the_session", None)
    monkeypatch.setenv("MPX_TRIAL_DIR", str(tmp_path / "gone"))
    with pytest.raises(trial.ProtocolError, match=r"gone/owner'\. Has the trial ended\? To run"):
        trial.get_next_parameter()


def test_a_trial_that_nobody_keeps_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "_the_session", None)
    monkeypatch.setenv("MPX_TRIAL_DIR", str(tmp_path))
    for name in ("stdin", "stdout"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(trial.ProtocolError, match=r"cannot be opened: .* Has the trial ended"):
        trial.get_next_parameter()


# -- alone ----------------------------------------------------------------------------------------


@pytest.fixture
def alone(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MPX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(trial, "_the_session", None)
    return monkeypatch


def test_alone_a_trial_gets_ten_sets_of_parameters_and_prints_its_results(alone, capsys):
    alone.setenv("MPX_PARAMETERS", '{"lr": NaN}')
    found = [trial.get_next_parameter() for _ in range(11)]
    assert math.isnan(found[9]["lr"])
    assert found[10] is None
    assert trial.get_next_parameter() is None
    assert trial.get_current_parameter() is None
    assert "mpx: no manager: no more parameters after 10 asks\n" in capsys.readouterr().err


def test_alone_results_are_printed(alone, capsys):
    for phase in trial.phases(on_error="continue"):
        with phase:
            assert phase.parameters == {}
            phase.report_intermediate({"default": 0.5})
            if phase.index == 1:
                raise ValueError("by hand")
            phase.report_final(phase.parameter_id)
            if phase.index == 2:
                raise ValueError("too late to count")
    said = capsys.readouterr().err
    assert 'mpx: phase 0: intermediate result: {"default":0.5}\n' in said
    assert "mpx: phase 9: final result: 9\n" in said
    assert "mpx: phase 1: failed: ValueError: by hand\n" in said
    assert "phase 1: final" not in said
    assert "phase 2: failed" not in said


def test_alone_a_phase_that_failed_is_over(alone):
    phase = next(trial.phases())
    with pytest.raises(ValueError, match="by hand"), phase:
        raise ValueError("by hand")
    with pytest.raises(LocalProtocolError, match="phase 0 is over"):
        phase.report_final(1)


def test_alone_the_ids_say_so(alone):
    assert trial.get_experiment_id() == trial.get_trial_id() == "STANDALONE"
    assert trial.get_sequence_id() == 0


@pytest.mark.parametrize("text", ["", "{lr: 1}", "{'lr': 1}", "[" * 100_000])
def test_alone_parameters_that_are_no_json_are_a_usage_error(alone, text):
    alone.setenv("MPX_PARAMETERS", text)
    with pytest.raises(UsageError, match=r"^MPX_PARAMETERS is not JSON: .*; found: ") as refused:
        trial.get_next_parameter()
    assert len(str(refused.value)) < 250


def test_alone_the_rules_of_reporting_hold(alone):
    with pytest.raises(LocalProtocolError, match="no phase is open"):
        trial.report_final_result(1)
    trial.get_next_parameter()
    with pytest.raises(MessageError, match="object is not something JSON can say"):
        trial.report_final_result(object())
    trial.report_final_result(1)
    with pytest.raises(LocalProtocolError, match="no phase is open"):
        trial.report_final_result(1)
    with pytest.raises(LocalProtocolError, match="no phase is open"):
        trial.report_intermediate_result(1)


def test_what_happens_on_an_error_is_one_of_two(alone):
    with pytest.raises(UsageError, match="on_error is 'ignore'; it may be 'raise' or 'continue'"):
        next(trial.phases(on_error="ignore"))


def test_a_phase_shows_what_it_is(alone):
    alone.setenv("MPX_PARAMETERS", '{"lr": 0.1}')
    assert repr(next(trial.phases())) == "Phase(index=0, parameters={'lr': 0.1})"


# -- start-up and old interpreters ----------------------------------------------------------------


def test_the_sdk_loads_nothing_that_it_does_not_need():
    code = "import sys, mpx; mpx.get_next_parameter; print(*sys.modules)"
    loaded = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); {code}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "mpx.trial" in loaded
    heavy = "click rich yaml jsonschema sqlite3 asyncio numpy subprocess traceback pathlib logging"
    assert [name for name in heavy.split() if name in loaded] == []


@pytest.mark.parametrize("minor", [7, 8, 9, 10, 11, 12, 13, 14])
def test_the_sdk_runs_in_every_interpreter_that_a_trial_may_use(bench, minor):
    bench.parameters = [7, 8, {"n": math.inf}, {"n": 0}, {"n": 2}]
    code = bench.python(
        """
        import subprocess, sys, mpx, mpx.tuner, mpx.errors
        import mpx.compat.nni as nni, mpx.compat.nni.tuner
        import mpx.compat.nni.multi_phase.multi_phase_tuner
        batch = mpx.get_next_parameters(2)
        with batch[1] as phase:
            phase.save_checkpoint("trial.py")
            phase.save_checkpoint(".")
        batch.report_final(phase.parameters for phase in batch)
        for phase in mpx.phases(on_error="continue"):
            with phase:
                subprocess.check_call("echo hi; cat", shell=True)
                phase.report_intermediate({float(phase.index)})
                phase.report_final([1 / phase.parameters["n"], "x" * 100_000])
        nni.get_next_parameter()
        nni.report_final_result(1)
        mpx.Tuner(), mpx.MultiPhaseTuner()
        print(sys.version_info[1])
        """,
        interpreter(minor),
    )
    assert code == 0, bench.log()
    assert bench.types()[:6] == ["hello", "request", *["checkpoint"] * 2, "final", "final"]
    assert bench.values("intermediate") == [{"__set__": [float(i)]} for i in range(2, 5)]
    assert bench.values() == [7, 8, [0, "x" * 100_000], [0.5, "x" * 100_000]]
    assert bench.heard[-6]["error"]["message"] == "division by zero"
    assert "nni: dropped: a result was reported, but no phase is open" in bench.log()
    assert bench.log().endswith(f"{minor}\n")
