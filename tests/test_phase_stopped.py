"""Trials that an assessor judges, in real processes: what the SDK returns, raises and reports."""

from __future__ import annotations

import os
import signal

import pytest

from tests.bench import Bench, interpreter

STOPPED = "PhaseStopped"


@pytest.fixture
def bench(tmp_path):
    """A manager with an assessor to whom a number below zero is bad."""
    bench = Bench(tmp_path, [{"n": n} for n in range(3)])
    bench.connection.has_assessor = True
    bench.stops = lambda value: "it is bad" if value < 0 else None
    return bench


def said(bench):
    """Return what the trial said of its phases, in short."""
    short = {
        "intermediate": lambda m: f"{m['value']}{'?' if m.get('verdict') else ''}",
        "final": lambda m: f"= {m['value']}",
        "failed": lambda m: m["error"]["type"],
    }
    return [short[m["type"]](m) for m in bench.heard if m["type"] in short]


def test_a_report_returns_whether_the_phase_was_stopped_and_with_leaves_it_so(bench):
    code = """
        import mpx
        for phase in mpx.phases():
            with phase:
                print([phase.report_intermediate(v) for v in (1, -phase.index)], phase.stopped)
                if phase.index == 2:
                    phase.report_final(7)
                elif not phase.stopped:
                    phase.report_final(5)
            print("next")
    """
    assert bench.python(code) == 0, bench.log()
    assert said(bench) == ["1?", "0?", "= 5", "1?", "-1?", STOPPED, "1?", "-2?", "= 7"]
    assert bench.log() == "[False, False] False\nnext\n" + 2 * "[False, True] True\nnext\n"


def test_raise_ends_the_body_and_nothing_more(bench):
    code = """
        import mpx
        for phase in mpx.phases(on_stop="raise"):
            try:
                with phase:
                    phase.report_intermediate(phase.index - 1)
                    phase.report_final(5)
                print("after", phase.index, phase.stopped)
            except BaseException as error:
                print("no exception leaves it, but", repr(error))
    """
    assert bench.python(code) == 0, bench.log()
    assert said(bench) == ["-1?", STOPPED, "0?", "= 5", "1?", "= 5"]
    assert bench.log() == "after 0 True\nafter 1 False\nafter 2 False\n"
    (failed,) = [m for m in bench.heard if m["type"] == "failed"]
    assert failed["error"]["message"] == "the assessor has stopped phase 0"


@pytest.mark.parametrize(
    ("body", "says", "code"),
    [
        ("break", [STOPPED], 0),
        ("return", [STOPPED], 0),
        ("pass", [STOPPED], 0),
        ("phase.report_final(3)", ["= 3"], 0),
        ("phase.report_final(3); raise KeyError", ["= 3"], 1),
        ("raise KeyError", ["KeyError"], 1),
        ("raise SystemExit(4)", ["SystemExit"], 4),
    ],
)
def test_however_a_stopped_phase_is_left(bench, body, says, code):
    script = f"""
        import mpx
        def main():
            for phase in mpx.phases():
                with phase:
                    if phase.report_intermediate(-1):
                        {body}
                break
        main()
    """
    assert bench.python(script) == code, bench.log()
    assert said(bench) == ["-1?", *says]


def test_the_functions_say_it_too_and_wait_only_if_they_are_to(bench):
    code = """
        import mpx
        while mpx.get_next_parameter() is not None:
            print(mpx.report_intermediate_result(-1, wait=False))
            print(mpx.report_intermediate_result(-2))
            print(mpx.report_intermediate_result(-3, wait=False))
    """
    bench.parameters = [{}]
    assert bench.python(code) == 0, bench.log()
    assert said(bench) == ["-1", "-2?", "-3"]
    assert bench.log() == "False\nTrue\nTrue\n"


def test_without_an_assessor_no_report_waits(bench):
    bench.connection.has_assessor = False
    code = "import mpx\nprint([p.report_intermediate(-1) for p in mpx.phases()])\n"
    assert bench.python(code) == 0, bench.log()
    assert said(bench) == ["-1"] * 3
    assert bench.log() == "[False, False, False]\n"


def test_alone_no_phase_is_stopped(bench):
    code = """
        import os
        del os.environ["MPX_TRIAL_DIR"]
        import mpx
        print([phase.report_intermediate(-1) for phase in mpx.phases(on_stop="raise")])
    """
    assert bench.python(code) == 0, bench.log()
    assert f"{[False] * 10}\n".encode() in bench.text


def test_threads_get_their_own_verdicts(bench):
    code = """
        import threading, mpx
        phase = next(mpx.phases())
        def report(sign):
            for step in range(1, 101):
                if not phase.report_intermediate(sign * step) and sign < 0:
                    print("not told")
        threads = [threading.Thread(target=report, args=[sign]) for sign in (1, -1)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        phase.report_final(1)
    """
    assert bench.python(code) == 0, bench.log()
    assert bench.log() == ""
    values = bench.values("intermediate")
    assert [v for v in values if v > 0] == [*range(1, 101)]
    assert [v for v in values if v < 0] == [*range(-1, -101, -1)]


def test_ctrl_c_while_a_verdict_is_awaited_and_what_comes_next_is_answered_right(bench):
    code = """
        import mpx
        phase = next(mpx.phases())
        try:
            phase.report_intermediate(1)
        except KeyboardInterrupt:
            print("cut short")
        print(phase.report_intermediate(-1), phase.stopped)
        phase.report_final(2)
    """
    late = []

    def on_intermediate(message):
        if message["value"] == 1:
            late.append(bench.judge(message))
            os.kill(bench.heard[0]["pid"], signal.SIGINT)
            return b""
        return late.pop() + bench.judge(message)

    bench.on["intermediate"] = on_intermediate
    assert bench.python(code) == 0, bench.log()
    assert bench.log() == "cut short\nTrue True\n"


@pytest.mark.parametrize("is_recorded", [True, False])
@pytest.mark.parametrize("value", [1, -1])
def test_a_manager_dies_while_its_verdict_is_awaited(bench, is_recorded, value):
    code = f"""
        import mpx
        phase = next(mpx.phases())
        print(phase.report_intermediate(0), phase.report_intermediate({value}))
        phase.report_final(2)
    """

    def on_intermediate(message):
        if message["value"] == 0:
            return bench.judge(message)
        bench.on["intermediate"] = bench.judge
        if is_recorded:
            bench.record()
        return bench.die(until=bench.is_orphaned)

    bench.on["intermediate"] = on_intermediate
    assert bench.python(code) == 0, bench.log()
    assert bench.log().endswith(f"\nFalse {value < 0}\n")
    assert said(bench) == ["0?", f"{value}?", "= 2"]
    assert len(bench.lost) == (not is_recorded)


def test_a_trial_that_waits_in_vain_leaves_its_phase_as_it_is(bench):
    code = """
        import mpx
        for phase in mpx.phases(on_error="continue"):
            with phase:
                phase.report_intermediate(1)
    """
    bench.orphan_timeout = 0.05
    bench.on["intermediate"] = lambda message: bench.die()
    assert bench.python(code) == 1, bench.log()
    assert bench.log().count("mpx.errors.ProtocolError: the manager is gone") == 1
    assert [message["type"] for message in bench.unsent()] == ["intermediate"]


def test_the_oldest_python_of_a_trial_is_told_too(bench):
    code = """
        import mpx
        for phase in mpx.phases(on_stop="raise"):
            with phase:
                phase.report_intermediate(-1)
    """
    assert bench.python(code, interpreter(7)) == 0, bench.log()
    assert said(bench) == ["-1?", STOPPED] * 3
