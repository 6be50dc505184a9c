"""`import nni` in a trial: what NNI v1's trials and tuners import, and what a trial's calls do."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import mpx
from mpx.adapted_tuner import AdaptedTuner
from mpx.assessor import AssessResult
from tests.bench import Bench, interpreter

PACKAGE = Path(mpx.__file__).resolve().parent
MULTI_PHASE = "MULTI_PHASE=true"


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def sdk(tmp_path):
    """What every experiment has: links to the two packages."""
    directory = tmp_path / "sdk"
    directory.mkdir()
    (directory / "mpx").symlink_to(PACKAGE)
    (directory / "nni").symlink_to(PACKAGE / "compat" / "nni")
    return directory


@pytest.fixture
def run_alone(sdk):
    """Run code with no manager, and return what it printed on stdout."""

    def run(code, **environment):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MPX_", "NNI_"))}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={**clean, "PYTHONPATH": str(sdk), "PYTHONDONTWRITEBYTECODE": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def run_managed(bench, sdk, code, python=sys.executable, variables=MULTI_PHASE):
    """Run a trial under the bench's manager, as an experiment runs it."""
    bench.script(code)
    return bench.run(f"PYTHONPATH='{sdk}' {variables} '{python}' trial.py")


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("nni", "NoMoreTrialError ClassArgsValidator utils trial smartparam training_update"),
        ("nni.tuner", "Tuner"),
        ("nni.multi_phase", "MultiPhaseTuner"),
        ("nni.multi_phase.multi_phase_tuner", "MultiPhaseTuner"),
        ("nni.multi_phase.multi_phase_dispatcher", "MultiPhaseMsgDispatcher"),
        ("nni.assessor", "Assessor AssessResult"),
        ("nni.recoverable", "Recoverable"),
        ("nni.msg_dispatcher_base", "MsgDispatcherBase"),
        ("nni.msg_dispatcher", "MsgDispatcher _pack_parameter"),
        ("nni.protocol", "CommandType send receive _in_file _out_file"),
        ("nni.common", "init_logger enable_multi_thread multi_phase_enabled"),
        ("nni.env_vars", "trial_env_vars dispatcher_env_vars"),
        ("nni.platform", "get_next_parameter get_trial_id get_sequence_id send_metric"),
        ("nni.platform.test", "init_params get_last_metric"),
    ],
)
def test_nnis_names_are_there(module, names):
    found = importlib.import_module("mpx.compat." + module)
    assert [name for name in names.split() if not hasattr(found, name)] == []
    assert [name for name in getattr(found, "__all__", ()) if not hasattr(found, name)] == []


def test_what_is_not_there_is_an_attribute_error():
    nni = importlib.import_module("mpx.compat.nni")
    assert set(nni.__all__) < set(dir(nni))
    with pytest.raises(AttributeError, match="has no attribute 'get_parameters'"):
        nni.get_parameters  # noqa: B018


def test_the_base_classes_are_mpxs_with_nnis_ways():
    tuner, old, assessor, recoverable = (
        importlib.import_module("mpx.compat.nni." + name)
        for name in ("tuner", "multi_phase", "assessor", "recoverable")
    )
    assert issubclass(tuner.Tuner, (mpx.Tuner, recoverable.Recoverable))
    assert issubclass(old.MultiPhaseTuner, mpx.MultiPhaseTuner)
    assert issubclass(old.MultiPhaseTuner, recoverable.Recoverable)
    assert not issubclass(old.MultiPhaseTuner, tuner.Tuner)
    assert not tuner.Tuner.first_phase_names_trial
    assert not old.MultiPhaseTuner.first_phase_names_trial
    assert assessor.Assessor.history == "trial"
    assert assessor.AssessResult is AssessResult
    # A tuner that has only the base's checkpoints cannot save its state: mpx tells by identity.
    assert tuner.Tuner.save_checkpoint is old.MultiPhaseTuner.save_checkpoint
    assert tuner.Tuner.save_checkpoint is mpx.Tuner.save_checkpoint


def test_a_tuner_says_what_it_accepts():
    tuner = importlib.import_module("mpx.compat.nni.tuner").Tuner()
    accepted = [tuner._accept_customized]
    tuner._accept_customized_trials()
    accepted.append(tuner._accept_customized)
    tuner.accept_customized_trials(False)
    accepted.append(tuner._accept_customized)
    assert accepted == [False, True, False]
    assert tuner.extract_scalar_reward({"default": 0.5, "loss": 2}, "loss") == 2


@pytest.mark.parametrize("name", ["tuner.Tuner", "multi_phase.MultiPhaseTuner"])
def test_a_tuner_need_not_care_for_customized_results(name):
    module, _, name = name.partition(".")
    base = getattr(importlib.import_module("mpx.compat.nni." + module), name)
    told = []

    class OneThatCares(base):
        def receive_customized_trial_result(self, parameter_id, parameters, value, trial_job_id):
            told.append((parameter_id, parameters, value, trial_job_id))

    class OneThatDoesNot(base):
        def receive_trial_result(self, parameter_id, parameters, value, **kwargs):
            told.append("the result of a customized trial")

    for kind in (OneThatCares, OneThatDoesNot):
        kind.generate_parameters = lambda self, parameter_id, **kwargs: {}
        AdaptedTuner(kind()).receive(0, {"n": 1}, 0.5, "aTrial", True)
    assert told == [(0, {"n": 1}, 0.5, "aTrial")]
    assert base().receive_customized_trial_result(0, {"n": 1}, 0.5, "aTrial") is None


# -- under a manager ------------------------------------------------------------------------------


def test_a_phase_takes_one_result_and_drops_another_with_a_line(bench, sdk):
    code = run_managed(
        bench,
        sdk,
        """
        import nni
        assert nni.get_current_parameter() is None
        while True:
            parameters = nni.get_next_parameter()
            assert nni.get_current_parameter() == parameters
            if parameters is None:
                break
            assert nni.get_current_parameter("n") == parameters["n"]
            assert nni.report_intermediate_result({"default": 0.5}) is None
            nni.report_final_result(parameters["n"])
            nni.report_final_result("another")
            nni.report_intermediate_result("another")
        nni.report_final_result("after the last")
        assert (nni.get_experiment_id(), nni.get_trial_id()) == ("anExp", "aTrial")
        assert nni.get_sequence_id() == 3
        try:
            nni.get_current_parameter() or nni.get_current_parameter("n")
        except KeyError:
            raise SystemExit("there are no parameters, so it is no wrong name")
        """,
    )
    assert code == 0, bench.log()
    assert bench.values("intermediate") == [{"default": 0.5}, {"default": 0.5}]
    assert bench.values() == [0, 1]
    dropped = [line for line in bench.log().splitlines() if line.startswith("nni: dropped: ")]
    assert len(dropped) == 5
    assert dropped[0].startswith("nni: dropped: a result was reported, but no phase is open")


def test_wrong_names_and_values_are_errors(bench, sdk):
    code = run_managed(
        bench,
        sdk,
        """
        import nni, mpx
        nni.get_next_parameter()
        for call, argument, wanted in (
            (nni.get_current_parameter, "momentum", KeyError),
            (nni.report_final_result, object(), mpx.ProtocolError),
        ):
            try:
                call(argument)
            except wanted:
                print("raised", wanted.__name__)
        nni.report_final_result(1)
        """,
    )
    assert (code, bench.values()) == (0, [1]), bench.log()
    assert bench.log() == "raised KeyError\nraised ProtocolError\n"


@pytest.mark.parametrize(
    ("code", "variables"),
    [
        ("nni.report_final_result(1)", MULTI_PHASE),
        ("nni.report_intermediate_result(1)", MULTI_PHASE),
        # NNI forgets the first parameters as well when there are no second ones.
        (
            "nni.get_next_parameter(); nni.get_next_parameter(); nni.report_final_result(1)",
            "MULTI_PHASE=false",
        ),
    ],
)
def test_a_report_without_parameters_is_an_assertion_error(tmp_path, sdk, code, variables):
    bench = Bench(tmp_path, [{"n": 0}])
    assert run_managed(bench, sdk, "import nni; " + code, variables=variables) == 1
    assert "\nAssertionError: a result was reported before" in bench.log()
    assert bench.values() == bench.values("intermediate") == []


def test_another_process_of_the_trial_drops_its_reports(bench, sdk):
    code = run_managed(
        bench,
        sdk,
        """
        import subprocess, sys, nni
        nni.get_next_parameter()
        subprocess.check_call([sys.executable, "-c", "import nni; nni.report_final_result('rank 1')"])
        nni.report_final_result("rank 0")
        """,
    )
    assert (code, bench.values()) == (0, ["rank 0"]), bench.log()
    assert "mpx: a final result from process" in bench.log()


@pytest.mark.parametrize("minor", [7, 8, 9, 10, 11, 12, 13, 14])
def test_every_module_and_a_trial_in_old_and_new_interpreters(bench, sdk, minor):
    code = run_managed(
        bench,
        sdk,
        """
        import importlib, pkgutil, sys, nni
        for module in pkgutil.walk_packages(nni.__path__, "nni."):
            importlib.import_module(module.name)
        from nni import *
        from nni.multi_phase.multi_phase_tuner import MultiPhaseTuner
        nni.tuner.Tuner(), MultiPhaseTuner(), nni.assessor.Assessor()
        nni.msg_dispatcher.MsgDispatcher(MultiPhaseTuner())
        while True:
            parameters = nni.get_next_parameter()
            if parameters is None:
                break
            nni.report_intermediate_result({1j})
            nni.report_final_result([nni.uniform(0, 1, name="n")] * 300)
        print(sys.version_info[1], nni.env_vars.trial_env_vars.MULTI_PHASE)
        """,
        interpreter(minor),
    )
    assert code == 0, bench.log()
    assert bench.values("intermediate") == [{"__set__": [{"__complex__": [0.0, 1.0]}]}] * 2
    assert bench.values() == [[0] * 300, [1] * 300]
    assert bench.log() == f"{minor} true\n"


# -- without a manager ----------------------------------------------------------------------------


def test_alone_a_loop_over_phases_ends_and_results_are_logged(run_alone):
    said = run_alone(
        """
        import nni
        nni.report_intermediate_result(float("nan"))
        asked = 0
        while nni.get_next_parameter() is not None:
            assert nni.get_current_parameter() == {}
            nni.report_intermediate_result(asked)
            asked += 1
        nni.report_final_result({"default": 0.5})
        nni.report_final_result([1, 2])
        print(asked, nni.get_experiment_id(), nni.get_trial_id(), nni.get_sequence_id())
        """
    ).splitlines()
    assert [line.partition(" WARNING (nni) ")[2][:60] for line in said if "WARNING" in line] == [
        "get_next_parameter() was called with no manager: it returns "
    ]
    logged = [line.partition(" INFO (nni) ")[2] for line in said if "INFO" in line]
    assert logged == [
        "Intermediate result: NaN  (Index 0)",
        *[f"Intermediate result: {n}  (Index {n + 1})" for n in range(10)],
        'Final result: {"default":0.5}',
        "Final result: [1,2]",
    ]
    assert said[-1] == "10 STANDALONE STANDALONE 0"


def test_alone_the_parameters_may_be_given(run_alone):
    said = run_alone("import nni; print(nni.get_next_parameter())", MPX_PARAMETERS='{"lr": 0.1}')
    assert said.endswith("\n{'lr': 0.1}\n")


def test_a_unit_test_gives_the_parameters_and_sees_the_reports(run_alone):
    run_alone(
        """
        import nni
        from nni.platform import test
        try:
            nni.report_final_result(1)
        except AssertionError:
            print("too early")
        given = {"msg": "hi", "x": 123}
        test.init_params({"parameter_id": "p", "parameters": given})
        given["x"] = 124
        assert nni.get_next_parameter() == {"msg": "hi", "x": 123}
        assert nni.get_current_parameter("x") == 123
        for sequence in range(2):
            nni.report_intermediate_result({2, 1})
            assert test.get_last_metric() == {
                "parameter_id": "p",
                "trial_job_id": "t",
                "type": "PERIODICAL",
                "sequence": sequence,
                "value": {"__set__": [1, 2]},
            }
        nni.report_final_result(0.5)
        assert test.get_last_metric()["type"] == "FINAL"
        assert test.get_last_metric()["value"] == 0.5
        assert nni.get_experiment_id() == "fakeidex"
        assert (nni.get_trial_id(), nni.get_sequence_id()) == ("fakeidtr", 0)
        """,
        NNI_PLATFORM="unittest",
        NNI_TRIAL_JOB_ID="t",
        MPX_TRIAL_DIR="/nowhere",
    )
