"""Several phases open at a time, in real processes: loops, threads, forks, failures and stops."""

from __future__ import annotations

import pytest

from mpx import trial
from mpx.errors import UsageError
from tests.bench import Bench


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, [{"n": n} for n in range(5)])


def counts(bench):
    return [m.get("count") for m in bench.heard if m["type"] == "request"]


def test_batches_come_until_there_are_no_more_and_may_be_reported_in_any_order(bench):
    code = bench.python(
        """
        import mpx
        for batch in mpx.batches(3):
            print(len(batch), batch[-1].parameters, [phase.parameter_id for phase in batch[:2]], batch)
            for phase in reversed(batch):
                with phase:
                    phase.report_intermediate(phase.parameters["n"] / 10)
                    if phase.index != 1:
                        phase.report_final(phase.parameters["n"])
            if len(batch) == 3:
                mpx.report_final_result("the one that is still open")
        print(mpx.get_next_parameters(1))
        """
    )
    assert code == 0, bench.log()
    assert counts(bench) == [3, 3, 3, 1]
    assert bench.of_phases("intermediate") == [(n, n / 10) for n in (2, 1, 0, 4, 3)]
    finals = [(2, 2), (0, 0), (1, "the one that is still open"), (4, 4), (3, 3)]
    assert bench.of_phases() == finals
    first, second, last = bench.log().splitlines()
    phases = ", ".join(f"Phase(index={n}, parameters={{'n': {n}}})" for n in range(3))
    assert first == f"3 {{'n': 2}} [10, 11] Batch([{phases}])"
    assert second.startswith("2 {'n': 4} [13, 14] Batch([")
    assert last == "Batch([])"


def test_phases_of_a_batch_fail_or_are_stopped_each_by_itself(bench):
    bench.connection.has_assessor = True
    bench.stops = lambda value: "it is bad" if value < 0 else None
    code = bench.python(
        """
        import mpx
        for batch in mpx.batches(5, on_error="continue", on_stop="raise"):
            for phase in batch:
                with phase:
                    phase.report_intermediate([1, -1, 1, 1, -1][phase.index])
                    if phase.index == 2:
                        raise ValueError("by hand")
                    phase.report_final("good")
            print([phase.stopped for phase in batch])
        """
    )
    assert code == 0, bench.log()
    ends = [(0, "good"), (1, "PhaseStopped"), (2, "ValueError"), (3, "good"), (4, "PhaseStopped")]
    assert bench.of_phases("final", "failed") == ends
    assert "ValueError: by hand\n" in bench.log()
    assert "PhaseStopped" not in bench.log()
    assert bench.log().endswith("[False, True, False, False, True]\n")


def test_an_exception_in_a_batch_goes_on_up_and_ends_its_own_phase_alone(bench):
    code = bench.python(
        """
        import mpx
        for batch in mpx.batches(3):
            with batch[1]:
                raise KeyError("no such layer")
        """
    )
    assert code == 1
    assert bench.of_phases("failed") == [(1, "KeyError")]
    assert bench.connection.open_phases == {0, 2}


def test_threads_train_a_batch_and_each_hears_the_verdict_on_its_own_phase(bench):
    bench.parameters = list(range(8))
    bench.connection.has_assessor = True
    bench.stops = lambda value: "odd ones are bad" if value[0] % 2 and value[1] == 9 else None
    code = bench.python(
        """
        import threading, mpx
        for batch in mpx.batches(8):
            def train(phase):
                with phase:
                    told = [phase.report_intermediate([phase.parameters, i]) for i in range(10)]
                    assert told == [False] * 9 + [phase.index % 2 == 1], told
                    if not phase.stopped:
                        phase.report_final(phase.parameters)
            threads = [threading.Thread(target=train, args=[phase]) for phase in batch]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
        """
    )
    assert (code, bench.log()) == (0, "")
    for n in range(8):
        said = [value for phase, value in bench.of_phases("intermediate") if phase == n]
        assert said == [[n, i] for i in range(10)]
    ends = sorted(bench.of_phases("final", "failed"))
    assert ends == [(n, "PhaseStopped" if n % 2 else n) for n in range(8)]


def test_results_reported_together_wait_once_and_go_to_what_is_open_in_order(bench):
    bench.on["final"] = lambda message: b"" if message["value"] == 2 else bench.acknowledge()
    code = bench.python(
        """
        import mpx
        batch = mpx.get_next_parameters(4)
        def attempt(values):
            try:
                batch.report_final(values)
            except mpx.MpxError as error:
                print(type(error).__name__, error)
        batch[1].report_final(1)
        attempt([0, 2])
        attempt([0, 1, 2, 3])
        attempt(iter([0, object(), 3]))
        attempt({0: 1, 2: 3, 4: 5})
        attempt("abc")
        attempt(3)
        attempt((0, 2, 3))
        attempt([])
        mpx.get_next_parameters(1)
        attempt([4])
        """
    )
    assert code == 0, bench.log()
    assert bench.of_phases() == [(1, 1), (0, 0), (2, 2), (3, 3)]
    assert bench.log().splitlines() == [
        "UsageError 2 results for 3 open phases of this batch",
        "UsageError 4 results for 3 open phases of this batch",
        "MessageError result 2 of 3: JSON cannot say this: object is not something JSON can say",
        *(
            f"UsageError the results of a batch are in a {kind}; allowed: a list with one for each open"
            " phase, in their order"
            for kind in ("dict", "str", "int")
        ),
        "UsageError 1 results for 0 open phases of this batch",
    ]


def test_a_large_batch_is_reported_together_while_neither_side_holds_the_other_up(bench):
    """More than the pipes hold, of results one way and of acknowledgements the other."""
    bench.parameters = list(range(4000))
    code = bench.python(
        """
        import mpx
        batch = mpx.get_next_parameters(10_000)
        batch.report_final(phase.parameters for phase in batch)
        """
    )
    assert code == 0, bench.log()
    assert bench.of_phases() == [(n, n) for n in range(4000)]


def test_a_value_that_json_cannot_say_waits_for_no_answer_if_nothing_was_sent(bench):
    code = bench.python(
        """
        import mpx
        from mpx import trial
        batch = mpx.get_next_parameters(2)
        # Ctrl-C came before this was written.
        trial._session()._connection.intermediate("cut short", 0)
        try:
            batch.report_final([object(), 1])
        except mpx.ProtocolError:
            batch.report_final([0, 1])
        """
    )
    assert code == 0, bench.log()
    assert bench.of_phases("intermediate", "final") == [(0, "cut short"), (0, 0), (1, 1)]


def test_the_functions_that_name_no_phase_say_so_while_several_are_open(bench):
    code = bench.python(
        """
        import mpx, mpx.compat.nni as nni
        nni.get_next_parameter()
        batch = mpx.get_next_parameters(2)
        for call in (mpx.report_final_result, mpx.report_intermediate_result):
            try:
                call(1)
            except mpx.ProtocolError as error:
                print(error)
        nni.report_intermediate_result(1)
        nni.report_final_result(1)
        try:
            mpx.get_current_parameter()
        except mpx.ProtocolError as error:
            print(error)
        batch[0].report_final("by its own")
        mpx.report_intermediate_result("alone now")
        nni.report_final_result("alone now")
        mpx.get_next_parameters(1)
        print(mpx.get_current_parameter("n"))
        """
    )
    assert code == 0, bench.log()
    several = (
        "a result was reported, but 2 phases are open: report it by the methods of its own phase"
    )
    assert bench.log().splitlines() == [
        *[several] * 2,
        *[f"nni: dropped: {several}"] * 2,
        "2 phases were asked for together: each has its own `parameters`",
        "3",
    ]
    assert bench.values() == ["by its own", "alone now"]
    assert bench.values("intermediate") == ["alone now"]


def test_asking_again_leaves_what_is_open_behind(bench):
    code = bench.python(
        """
        import mpx
        first = mpx.get_next_parameters(2)
        first[0].report_final("in time")
        second = mpx.get_next_parameters(2)
        for late in (*first, mpx.get_next_parameter() and second[0]):
            for report in (late.report_intermediate, late.report_final, late.save_checkpoint):
                try:
                    report(__file__)
                except mpx.ProtocolError as error:
                    print(error)
        """
    )
    assert code == 0, bench.log()
    assert bench.types() == ["hello", "request", "final", "request", "request"]
    assert counts(bench) == [2, 2, None]
    over = "phase {} is over: it has its result, or a later phase was asked for"
    assert bench.log().splitlines() == [over.format(n) for n in (0, 0, 0, 1, 1, 1, 2, 2, 2)]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_another_process_reports_nothing_of_a_batch(bench, start):
    code = bench.python(
        f"""
        import multiprocessing, mpx
        def in_a_child(batch):
            batch.report_final([1, 2])
            batch[0].report_final(1)
            batch[0].save_checkpoint("nothing is there")
            mpx.report_intermediate_result(1)
            mpx.report_final_result(1)
            try:
                mpx.get_next_parameters(2)
            except mpx.ProtocolError as error:
                print(error, flush=True)
        if __name__ == "__main__":
            batch = mpx.get_next_parameters(2)
            child = multiprocessing.get_context("{start}").Process(target=in_a_child, args=[batch])
            child.start()
            child.join()
            batch.report_final(["the parent's"] * 2 if child.exitcode == 0 else [])
        """
    )
    assert code == 0, bench.log()
    assert bench.of_phases() == [(0, "the parent's"), (1, "the parent's")]
    dropped, refused = bench.log().splitlines()
    assert dropped.startswith("mpx: a final result from process ")
    assert dropped.endswith(" is dropped: it did not ask for parameters")
    assert "cannot ask for parameters: another process of this trial does" in refused


def test_a_failure_that_comes_late_is_not_the_next_phases(bench):
    """A thread's body fails while another thread asks for the next parameters."""
    code = bench.python(
        """
        import mpx
        from mpx import trial
        phase = next(mpx.phases())
        session, lock = trial._session(), trial._session()._lock
        class Lock:
            def __enter__(self):
                session._lock = lock
                mpx.get_next_parameter()
                lock.acquire()
            def __exit__(self, *error):
                lock.release()
        try:
            with phase:
                session._lock = Lock()
                raise ValueError
        except ValueError:
            mpx.report_final_result("the next one's")
        """
    )
    assert code == 0, bench.log()
    assert bench.types() == ["hello", "request", "request", "final"]
    assert "the failure of phase 0 could not be reported: phase 0 is over" in bench.log()


@pytest.mark.parametrize("n", [0, -1, 10_001, 2.0, True, "3", None])
def test_how_many_phases_a_batch_may_have(n):
    for ask in (trial.get_next_parameters, lambda n: next(trial.batches(n))):
        with pytest.raises(UsageError, match=f"a batch has from 1 to 10000 phases; found {n!r}"):
            ask(n)


@pytest.mark.parametrize("wish", ["on_error", "on_stop"])
def test_what_is_to_be_done_with_failed_and_stopped_phases_is_checked(wish):
    with pytest.raises(UsageError, match=f"{wish} is 'ignore'; it may be '"):
        next(trial.batches(2, **{wish: "ignore"}))


def test_by_hand_a_batch_is_asked_for_ten_times(capsys, monkeypatch):
    monkeypatch.delenv("MPX_TRIAL_DIR", raising=False)
    monkeypatch.setenv("MPX_PARAMETERS", '{"lr": 1}')
    monkeypatch.setattr(trial, "_the_session", None)
    for batch in trial.batches(3, on_error="continue"):
        with batch[1]:
            raise ValueError("by hand")
        with pytest.raises(trial.LocalProtocolError, match="2 phases are open"):
            trial.report_final_result(1)
        with pytest.raises(UsageError, match="3 results for 2 open phases of this batch"):
            batch.report_final([1, 2, 3])
        with pytest.raises(FileNotFoundError):
            batch[0].save_checkpoint("nothing is there")
        batch[0].save_checkpoint(__file__)
        batch.report_final(phase.parameters["lr"] + phase.index for phase in batch[::2])
    said = capsys.readouterr().err
    assert batch[2].index == 29
    assert "mpx: phase 28: failed: ValueError: by hand\n" in said
    assert f"mpx: phase 27: checkpoint: {__file__}\n" in said
    assert "mpx: phase 27: final result: 28\nmpx: phase 29: final result: 30\n" in said


def test_one_thread_asks_and_another_may_when_that_one_has_nothing_open(bench):
    bench.parameters = [*range(6)]
    code = bench.python(
        """
        import threading
        import mpx
        def ask():
            try:
                found.append(mpx.get_next_parameters(2))
            except mpx.ProtocolError as error:
                print(error)
        def in_thread():
            thread = threading.Thread(target=ask, name="T")
            thread.start()
            thread.join()
        found = []
        in_thread()  # 0 and 1
        ask()  # that thread is gone: 2 and 3
        in_thread()  # refused
        found[-1].report_final([2, 3])
        in_thread()  # 4 and 5
        found[-1].report_final([4, 5])
        """
    )
    assert code == 0, bench.log()
    assert bench.of_phases() == [(2, 2), (3, 3), (4, 4), (5, 5)]
    assert bench.log() == (
        "thread 'T' asked for parameters while thread 'MainThread', which asked before, has phase 2, 3"
        " open: one thread asks. Several models are trained at the same time in `mpx.batches(n)`\n"
    )
