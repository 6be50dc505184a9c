"""The protocol: one table for two sides, and bytes that come in any pieces, from any writer."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpx.errors import LocalProtocolError, MessageError, RemoteProtocolError
from mpx.protocol import (
    ASKED,
    CONVERSATION,
    FROM_MANAGER,
    FROM_TRIAL,
    IDLE,
    OPEN,
    Given,
    ManagerConnection,
    TrialConnection,
)
from mpx.wire import TAG, TaggedLines, decode, encode, in_pieces, too_long

SEND_FROM_TRIAL = {
    "hello": lambda trial: trial.hello("test", 1, "a new session"),
    "request": lambda trial: trial.request(),
    "intermediate": lambda trial: trial.intermediate(0.5),
    "checkpoint": lambda trial: trial.checkpoint("/w.json"),
    "final": lambda trial: trial.final({"default": 1}),
    "failed": lambda trial: trial.failed("ValueError", "bad", "Traceback …"),
}
SEND_FROM_MANAGER = {
    "welcome": lambda manager: manager.welcome(),
    "parameters": lambda manager: manager.parameters([Given(7, 3, '{"lr":0.1}')]),
    "no_more": lambda manager: manager.no_more("the tuner has no more parameters"),
    "ack": lambda manager: manager.ack(),
    "verdict": lambda manager: manager.verdict("the assessor stopped it at its 3rd result"),
    "error": lambda manager: manager.error("the parameters are too long"),
}
TRIAL_CASES = [(state, kind) for state in CONVERSATION for kind in sorted(FROM_TRIAL)]
MANAGER_CASES = [(state, kind) for state in CONVERSATION for kind in sorted(FROM_MANAGER)]


def written(trial):
    """Return the writes that wait, and let them wait no longer."""
    writes = [data for _, message in trial.to_write for data in message]
    trial.to_write.clear()
    return writes


def say(send, *values):
    """Return the writes of one more message of a trial, given its sending method."""
    send(*values)
    return written(send.__self__)


def heard(manager, *writes):
    """Return what the manager's side makes of the trial's writes."""
    return [event for data in writes for event in manager.receive(data)]


def pair_in(state, batch=None, **limits):
    """Return both sides of a conversation that has come to `state`, asking for a batch of so many."""
    trial, manager = TrialConnection(**limits), ManagerConnection(trial_limit(limits))
    heard(manager, *say(trial.hello, "test", 1, "s"))
    trial.receive(manager.welcome())
    if state is not IDLE:
        heard(manager, *say(trial.request, batch))
    if state is OPEN:
        given = [Given(number, number, "{}") for number in range(batch or 1)]
        trial.receive(manager.parameters(given, batch is not None))
    assert trial.state is manager.state is state
    return trial, manager


def trial_limit(limits):
    return limits.get("max_line", 10_000)


def tagged(**message):
    return b"@mpx " + json.dumps(message).encode() + b"\n"


def joined(events):
    """Return the events with adjoining text put together and errors as their text."""
    found = []
    for event in events:
        if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += event
        else:
            found.append(("error", str(event)) if isinstance(event, Exception) else event)
    return found


def cut(stream, places):
    ends = sorted({place % (len(stream) + 1) for place in places})
    return [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True)]


# -- the table, back to back ----------------------------------------------------------------------


@pytest.mark.parametrize(("state", "kind"), TRIAL_CASES)
def test_what_a_trial_sends_moves_both_sides_alike_or_neither(state, kind):
    trial, manager = pair_in(state)
    seq = trial.seq
    after = CONVERSATION[state].get(kind)
    if after is None:
        with pytest.raises(LocalProtocolError, match=f"'{kind}' cannot be sent now: {state}"):
            SEND_FROM_TRIAL[kind](trial)
        assert (trial.state, trial.seq) == (state, seq)
        (refused,) = heard(manager, tagged(type=kind, seq=seq + 1, value=1, path="/w"))
        assert isinstance(refused, RemoteProtocolError)
        assert str(refused) == f"'{kind}' is not allowed now: {state}"
        assert refused.seq == seq + 1
        assert manager.state is state
    else:
        SEND_FROM_TRIAL[kind](trial)
        (message,) = heard(manager, *written(trial))
        assert message["type"] == kind
        assert trial.state is manager.state is after
        assert manager.last_seq == trial.seq


@pytest.mark.parametrize(("state", "kind"), MANAGER_CASES)
def test_what_the_manager_sends_moves_both_sides_alike_or_neither(state, kind):
    trial, manager = pair_in(state)
    after = CONVERSATION[state].get(kind)
    if after is None:
        with pytest.raises(LocalProtocolError, match=f"'{kind}' cannot be sent now: {state}"):
            SEND_FROM_MANAGER[kind](manager)
        # To the trial it is an answer that another manager repeats.
        assert trial.receive(b'{"type":"%s","seq":%d}\n' % (kind.encode(), trial.seq)) == []
        assert trial.state is manager.state is state
    else:
        (message,) = trial.receive(SEND_FROM_MANAGER[kind](manager))
        assert message["type"] == kind
        assert message["seq"] == trial.seq
        assert trial.state is manager.state is after


PHASES = st.none() | st.integers(0, 7)
MOVES = st.lists(
    st.tuples(st.just("request"), st.none() | st.integers(1, 4))
    | st.tuples(st.just("parameters"), st.integers(1, 4))
    | st.tuples(st.sampled_from(["intermediate", "checkpoint", "final", "final", "failed"]), PHASES)
    | st.tuples(st.sampled_from(["no_more", "error", "ack", "verdict", "hello"]), st.none()),
    max_size=25,
)


@given(moves=MOVES)
def test_both_sides_agree_on_what_is_open_whatever_is_said_and_refused(moves):
    """Against a model of one line: what is open, or None while the trial waits for parameters."""
    trial, manager = pair_in(IDLE)
    still_open, asked, begun = set(), False, 0
    for kind, which in moves:
        if kind in FROM_TRIAL:
            named = which if which is not None else [*still_open, None][0]
            is_legal = {"hello": True, "request": not asked}.get(
                kind, named in still_open and (which is not None or len(still_open) == 1)
            )
            check_a_move_of_the_trial(trial, manager, kind, which, is_legal)
            if kind in ("request", "hello") and is_legal:
                still_open, asked = set(), kind == "request"
            elif kind in ("final", "failed") and is_legal:
                still_open.discard(named)
        elif kind == "parameters" and asked:
            given = [Given(n, n, "[]") for n in range(begun, begun + which)]
            (answer,) = trial.receive(manager.parameters(given, is_batch=True))
            assert [phase["phase_index"] for phase in answer["phases"]] == [n for n, *_ in given]
            still_open, asked, begun = {n for n, *_ in given}, False, begun + which
        elif asked or kind in ("ack", "verdict"):
            trial.receive(SEND_FROM_MANAGER[kind](manager))
            asked = asked and kind not in ("no_more", "error")
        state = ASKED if asked else OPEN if still_open else IDLE
        assert (trial.state, trial.open_phases) == (state, still_open)
        assert (manager.state, manager.open_phases) == (state, still_open)


def check_a_move_of_the_trial(trial, manager, kind, phase_index, is_legal):
    """It is taken in with the phase it is about, or refused by both sides with the same words."""
    about = {"phase_index": phase_index} if kind not in ("hello", "request") else {}
    send = {
        "hello": lambda: trial.hello("test", 1, "another"),
        "request": lambda: trial.request(phase_index),
        "failed": lambda: trial.failed("E", "bad", "", **about),
    }.get(kind, lambda: getattr(trial, kind)("/x", **about))
    if is_legal:
        only = manager.only_open()
        send()
        (message,) = heard(manager, *written(trial))
        assert manager.last_seq == trial.seq
        if kind == "hello":
            trial.receive(manager.welcome())
        elif kind != "request":
            assert manager.about == (only if phase_index is None else phase_index)
            assert message.get("phase_index") == phase_index
    else:
        with pytest.raises(LocalProtocolError) as refused_here:
            send()
        named = {name: value for name, value in about.items() if value is not None}
        raw = tagged(type=kind, seq=trial.seq + 1, value=1, path="/w", **named)
        (refused_there,) = heard(manager, raw)
        assert refused_there.seq == trial.seq + 1
        assert [str(refused_here.value).partition(": ")[2]] == [
            str(refused_there).partition(": ")[2]
        ]


def test_a_whole_conversation_carries_its_values():
    trial, manager = TrialConnection(), ManagerConnection()
    (hello,) = heard(manager, *say(trial.hello, "mpx-python", 42, "token"))
    assert (hello["sdk"], hello["pid"], hello["session"]) == ("mpx-python", 42, "token")
    assert manager.greeted
    assert trial.receive(manager.welcome())[0]["session"] == "token"
    heard(manager, *say(trial.request))
    (given_parameters,) = trial.receive(manager.parameters([Given(7, 3, '{"lr":0.1}')]))
    assert given_parameters["parameters"] == {"lr": 0.1}
    assert (given_parameters["parameter_id"], given_parameters["phase_index"]) == (7, 3)
    (intermediate,) = heard(manager, *say(trial.intermediate, [0.1, 0.2]))
    assert intermediate["value"] == [0.1, 0.2]
    (final,) = heard(manager, *say(trial.final, 0.9))
    assert final["value"] == 0.9
    heard(manager, *say(trial.request))
    (refused,) = trial.receive(manager.no_more("maxPhaseNum (1) is reached"))
    assert refused["reason"] == "maxPhaseNum (1) is reached"


def test_the_least_trial_needs_no_hello_and_no_numbers():
    manager = ManagerConnection()
    (request,) = heard(manager, b'@mpx {"type":"request"}\n')
    assert request == {"type": "request"}
    assert manager.parameters([Given(0, 0, "{}")]).startswith(b'{"type":"parameters","seq":0,')
    heard(manager, tagged(type="final", value=1))
    heard(manager, tagged(type="request"))
    assert manager.state is ASKED
    assert not manager.greeted


@pytest.mark.parametrize("batch", [None, 3])
def test_a_manager_can_close_phases_from_its_side(batch):
    trial, manager = pair_in(OPEN, batch)
    manager.close_phases()
    (refused,) = heard(manager, *say(trial.final, 1, batch and 0))
    assert str(refused) == f"'final' is not allowed now: {IDLE}"
    heard(manager, *say(trial.request))
    assert trial.state is manager.state is ASKED


# -- numbers, sessions, stale replies -------------------------------------------------------------


def test_a_message_that_is_sent_again_is_taken_in_once():
    trial, manager = pair_in(OPEN)
    writes = say(trial.final, 1)
    assert len(heard(manager, *writes, *writes)) == 1
    assert heard(manager, tagged(type="request", seq=1)) == []
    assert manager.state is IDLE


def test_hello_starts_a_new_sequence_and_finds_no_phase_open():
    _, manager = pair_in(OPEN)
    second = TrialConnection()
    (hello,) = heard(manager, *say(second.hello, "test", 2, "t"))
    assert hello["seq"] == manager.last_seq == 1
    assert manager.session == "t"
    heard(manager, *say(second.request))
    assert manager.state is ASKED


def test_a_second_process_hears_nothing_that_was_meant_for_the_first():
    first, manager = pair_in(IDLE)
    left_unread = b'0.1}}\n{"type":"par'  # the ends of replies, read in part by the dead process
    heard(manager, *say(first.hello, "test", 1, "the first's second life"))
    left_unread += manager.welcome()
    heard(manager, *say(first.request))
    left_unread += manager.parameters([Given(0, 0, '{"of":"the first"}')])
    left_unread += manager.ack()
    left_unread += manager.violation(RemoteProtocolError("yours", 1))
    second = TrialConnection()
    heard(manager, *say(second.hello, "test", 2, "t"))
    (welcome,) = second.receive(left_unread + manager.welcome())
    assert welcome["session"] == "t"
    heard(manager, *say(second.request))
    (reply,) = second.receive(manager.parameters([Given(1, 1, '{"of":"the second"}')]))
    assert reply["parameters"] == {"of": "the second"}


def test_a_reply_to_an_earlier_message_is_dropped():
    trial, _ = pair_in(ASKED)
    stale = b'{"type":"parameters","seq":%d,"parameter_id":0,"phase_index":0,"parameters":{}}\n'
    assert trial.receive(stale % (trial.seq - 1)) == []
    assert trial.receive(b'{"type":"error","seq":%d,"message":"old"}\n' % (trial.seq - 1)) == []
    assert trial.state is ASKED


def test_an_error_about_an_unreadable_line_ends_no_request():
    trial, manager = pair_in(ASKED)
    (error,) = heard(manager, b"@mpx what a child printed\n")
    assert error.seq is None
    assert trial.receive(manager.violation(error)) == []
    assert trial.state is manager.state is ASKED


def test_an_error_about_an_unreadable_line_reaches_a_trial_that_may_have_sent_it():
    trial, manager = pair_in(OPEN)
    trial.final(1)
    (error,) = heard(manager, b'@mpx {"type":"final","seq":3,"value":tru\n')
    (told,) = trial.receive(manager.violation(error))
    assert told["type"] == "error"
    assert told["seq"] is None
    assert told["message"].startswith("not a JSON object with a `type`: ")


def test_the_limit_of_the_welcome_is_the_trials_from_then_on():
    trial, manager = TrialConnection(), ManagerConnection(5000)
    heard(manager, *say(trial.hello, "test", 1, "s"))
    trial.receive(manager.welcome())
    assert trial.max_line == 5000


def test_half_a_line_of_a_manager_that_died_is_dropped():
    trial, manager = pair_in(ASKED)
    whole = manager.parameters([Given(0, 0, '{"a":1}')])
    assert trial.receive(whole[:20]) == []
    (welcome,) = trial.receive(manager.welcome())  # it begins with a newline
    assert welcome["type"] == "welcome"
    assert trial.receive(whole[:20]) == []
    trial.forget_rest()
    assert trial.receive(whole)[0]["parameters"] == {"a": 1}


def test_a_message_of_a_newer_manager_is_dropped():
    trial, _ = pair_in(OPEN)
    assert trial.receive(b'{"type":"weather","seq":9}\n[1]\n"x"\n') == []
    assert trial.state is OPEN


# -- what a trial holds until it is on record -----------------------------------------------------


def test_what_is_sent_waits_to_be_written_and_is_held_until_it_is_answered():
    trial, manager = pair_in(OPEN, atomic=64)
    trial.intermediate("x" * 100)
    trial.final(1)
    assert [seq for seq, _ in trial.to_write] == [3, 4]
    writes = written(trial)
    assert len(writes) > 2
    assert trial.unsettled() == b"".join(writes)
    assert trial.held >= 100
    heard(manager, *writes)
    trial.receive(manager.ack())
    assert (trial.unsettled(), trial.held) == (b"", 0)


@pytest.mark.parametrize(
    ("state", "kind"),
    [(IDLE, "welcome"), (ASKED, "parameters"), (ASKED, "no_more"), (IDLE, "ack")],
)
def test_an_answer_settles_all_up_to_its_number(state, kind):
    trial, manager = pair_in(state)
    if kind == "welcome":
        heard(manager, *say(trial.hello, "test", 2, "s"))
    elif kind == "ack":
        heard(manager, *say(trial.request))
        trial.receive(manager.parameters([Given(0, 0, "{}")]))
        heard(manager, *say(trial.intermediate, 1), *say(trial.final, 2))
    assert trial.unsettled()
    trial.receive(SEND_FROM_MANAGER[kind](manager))
    assert (trial.unsettled(), trial.held) == (b"", 0)


def test_an_error_settles_nothing():
    trial, manager = pair_in(ASKED)
    (error,) = heard(manager, tagged(type="request", seq=3))
    trial.receive(manager.violation(error))
    assert b'"request"' in trial.unsettled()


def test_an_ack_settles_nothing_behind_its_message():
    trial, manager = pair_in(OPEN)
    heard(manager, *say(trial.intermediate, "first"))
    ack = manager.ack()
    behind = say(trial.intermediate, "second")
    trial.receive(ack)
    assert trial.unsettled() == b"".join(behind)


@pytest.mark.parametrize(("count", "size"), [(1000, 1), (2, 2**19)])
def test_a_trial_that_holds_much_should_ask_for_an_ack(count, size):
    trial, manager = pair_in(OPEN, max_line=10_000_000)
    for number in range(count):
        assert not trial.holds_much, number
        trial.intermediate("x" * size)
    trial.intermediate(1)
    assert trial.holds_much
    (*_, last) = heard(manager, *written(trial), *say(trial.intermediate, 2, None, True))
    assert last["ack"] is True
    trial.receive(manager.ack())
    assert not trial.holds_much


def test_a_hello_promises_to_send_again_and_what_was_said_before_it_is_forgotten():
    trial, manager = pair_in(OPEN)
    trial.intermediate(1)
    (hello,) = heard(manager, *say(trial.hello, "test", 1, "t"))
    assert hello["resend"] is True
    assert manager.resends
    assert trial.unsettled().count(TAG) == 1
    assert trial.held == 0


@pytest.mark.parametrize("promise", [{}, {"resend": False}, {"resend": 1}, {"resend": "true"}])
def test_a_hello_that_promises_nothing_takes_an_earlier_promise_back(promise):
    _, manager = pair_in(IDLE)
    heard(manager, tagged(type="hello", seq=1, session="t", **promise))
    assert not manager.resends


# -- what is no message ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"hello", "not a JSON object with a `type`: hello"),
        (b"", "not a JSON object with a `type`: "),
        (b"[1,2]", "not a JSON object with a `type`: [1,2]"),
        (b'"request"', 'not a JSON object with a `type`: "request"'),
        (b"null", "not a JSON object with a `type`: null"),
        (b"17", "not a JSON object with a `type`: 17"),
        (b"{}", "not a JSON object with a `type`: {}"),
        (b'{"type":["request"]}', "not a JSON object with a `type`: "),
        (b'{"type":"request"} x', "not a JSON object with a `type`: "),
        (b'{"type":"request"', "not a JSON object with a `type`: "),
        (b"\xff\xfe", "not a JSON object with a `type`: \\xff\\xfe"),
        (b"x" * 100, "not a JSON object with a `type`: " + "x" * 80 + "…"),
        (
            b'{"type":"parameters"}',
            "unknown message type 'parameters' (known: checkpoint, failed, ",
        ),
        (b'{"type":7}', "unknown message type 7 (known: "),
        (b'{"type":"' + b"x" * 500 + b'"}', "unknown message type '" + "x" * 79 + " (known: "),
        (b'{"type":"request","seq":"1"}', "`seq` numbers a trial's messages from 1; found '1'"),
        (b'{"type":"request","seq":1.5}', "`seq` numbers a trial's messages from 1; found 1.5"),
        (b'{"type":"request","seq":true}', "`seq` numbers a trial's messages from 1; found True"),
        (b'{"type":"request","seq":null}', "`seq` numbers a trial's messages from 1; found None"),
        (b'{"type":"request","seq":-1}', "`seq` numbers a trial's messages from 1; found -1"),
        (b'{"type":"request","seq":%d}' % 2**64, "`seq` numbers a trial's messages from 1; found"),
        (b'{"type":"request","count":0}', "the `count` of 'request' is from 1 to 10000; found 0"),
        (b'{"type":"request","count":10001}', "the `count` of 'request' is from 1 to 10000; found"),
        (
            b'{"type":"request","count":"3"}',
            "the `count` of 'request' is from 1 to 10000; found '3",
        ),
        (
            b'{"type":"request","count":null}',
            "the `count` of 'request' is from 1 to 10000; found N",
        ),
        (
            b'{"type":"final","value":1,"phase_index":"0"}',
            "the `phase_index` of 'final' is a whole ",
        ),
        (b'{"type":"failed","phase_index":0.0}', "the `phase_index` of 'failed' is a whole number"),
        (
            b'{"type":"checkpoint","path":"/w","phase_index":false}',
            "the `phase_index` of 'checkpoint'",
        ),
        (b'{"type":"checkpoint"}', "the `path` of 'checkpoint' is not an absolute"),
        (b'{"type":"checkpoint","path":{}}', "the `path` of 'checkpoint' is not an absolute"),
        (b'{"type":"checkpoint","path":"w"}', "the `path` of 'checkpoint' is not an absolute"),
        (
            b'{"type":"checkpoint","path":"/a\\u0000"}',
            "the `path` of 'checkpoint' is not an absolute",
        ),
        (
            b'{"type":"checkpoint","path":"/\\udcff"}',
            "the `path` of 'checkpoint' is not an absolute",
        ),
        (b'{"type":"final"}', "'final' has no `value`"),
        (b'{"type":"intermediate","vaule":1}', "'intermediate' has no `value`"),
        (b'{"type":"failed","error":"boom"}', "the `error` of 'failed' is not an object"),
        (b'{"type":"hello","session":{}}', "the `session` of 'hello' is not a string of ASCII"),
        (b'{"type":"hello","session":"\\ud800"}', "the `session` of 'hello' is not a string of"),
        (b'{"type":"final","value":' + b"[" * 200_000, "nested too deeply: "),
        (b'{"type":"final","value":' + b"9" * 5000 + b"}", "not a JSON object with a `type`: "),
    ],
)
def test_a_bad_line_is_described_and_the_conversation_goes_on(line, said):
    trial, manager = pair_in(OPEN, max_line=1_000_000)
    greeted, session = manager.greeted, manager.session
    (error,) = heard(manager, b"@mpx " + line + b"\n")
    assert isinstance(error, RemoteProtocolError)
    assert str(error).startswith(said)
    assert len(str(error)) < 250
    assert (manager.greeted, manager.session) == (greeted, session)
    (final,) = heard(manager, *say(trial.final, 1))
    assert final["value"] == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "12 phases are open: name one by its `phase_index` (0, 1, 2, 3, 4, 5, 6, 7 …)"),
        ({"phase_index": 12}, "phase 12 is not open (open: 0, 1, 2, 3, 4, 5, 6, 7 …)"),
        ({"phase_index": -1}, "phase -1 is not open (open: 0, 1, 2, 3, 4, 5, 6, 7 …)"),
        ({"phase_index": "0"}, "the `phase_index` of 'final' is a whole number; found '0'"),
    ],
)
def test_a_report_in_a_batch_that_names_no_open_phase_changes_nothing(fields, said):
    trial, manager = pair_in(OPEN, 12)
    (error,) = heard(manager, tagged(type="final", seq=3, value=1, **fields))
    assert str(error).replace("'final' is not allowed now: ", "") == said
    assert (error.seq, manager.last_seq) == (3, 2)
    (told,) = trial.receive(manager.violation(error)) or [None]
    assert told is None  # it did not send that
    assert manager.open_phases == trial.open_phases == {*range(12)}


@pytest.mark.parametrize(("state", "answers"), [(IDLE, True), (ASKED, False), (OPEN, True)])
def test_a_request_that_cannot_be_read_is_answered_unless_another_one_waits(state, answers):
    _, manager = pair_in(state)
    (error,) = heard(manager, b'@mpx {"type":"request","count":0}\n')
    assert (error.answers, error.seq, manager.state) == (answers, 0, state)


def test_a_message_with_a_flaw_does_not_hold_up_those_behind_it():
    manager = ManagerConnection.adopted(10_000, OPEN, 3, "s", True, [0])
    flawed, good = tagged(type="final", seq=4), tagged(type="final", seq=5, value=1)
    error, final = heard(manager, b"\n" + flawed + good)
    assert (error.seq, final["seq"]) == (4, 5)
    assert heard(manager, flawed) == []  # what is sent again is taken in, or refused, once


def test_an_answer_too_deep_for_the_trials_stack_is_an_error_and_ends_the_request():
    trial, manager = pair_in(ASKED)
    with pytest.raises(RemoteProtocolError, match="nested too deeply"):
        trial.receive(manager.parameters([Given(0, 0, "[" * 200_000 + "]" * 200_000)]))
    assert trial.state is IDLE


def test_while_an_event_is_handled_what_stands_behind_it_is_not_taken_in():
    trial, manager = pair_in(OPEN)
    trial.intermediate(1)
    _, after_that = [*written(trial), *say(trial.request)]
    events = manager.receive(b"@mpx " + b"x" * 20_000 + b"\n" + after_that)
    assert isinstance(next(events), RemoteProtocolError)
    assert manager.state is OPEN
    manager.close_phases()
    assert next(events)["type"] == "request"
    assert manager.last_seq == trial.seq


# -- text and tags --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"@mp\n",
        b"@mpx\n",
        b"@mpxyz\n",
        b"@mpx{}\n",
        b"@mpx\t{}\n",
        b" @mpx {}\n",
        b"x @mpx {}\n",
        b"\r@mpx {}\n",
        b"@MPX {}\n",
        b"@@mpx {}\n",
        b"\n\n@mpxyz\n",
        b"@mpx: a child prints this\n",
        b"@mpx:a/b c\n",
        b"@mpx:1/b c\n",
        b"@mpx:a/1 c\n",
        b"@mpx:1 of 3\n",
        b"\0\xff@mpx \n",
    ],
)
def test_text_that_resembles_a_tag_is_text(text):
    manager = ManagerConnection()
    assert joined(heard(manager, text, b"after\n")) == [text + b"after\n"]


@pytest.mark.parametrize("text", [b"no newline", b"@mpxyz", b"@mpx", b"@", b"progress 3%\r"])
def test_text_without_newline_before_a_message_of_the_sdk_is_a_line(text):
    trial, manager = pair_in(IDLE)
    text_event, message = joined(heard(manager, text, *say(trial.request)))
    assert text_event == text + b"\n"
    assert message["type"] == "request"


def test_the_newline_before_an_sdk_message_is_no_text():
    trial, manager = pair_in(OPEN)
    stream = b"".join(
        [b"a\n", *say(trial.intermediate, 1), *say(trial.intermediate, 2), b"\n\nb\n"]
    )
    events = joined(heard(manager, stream))
    assert [event for event in events if isinstance(event, bytes)] == [b"a\n", b"\n\nb\n"]
    assert [event["value"] for event in events if isinstance(event, dict)] == [1, 2]


def test_an_incomplete_line_of_text_passes_at_once():
    lines = TaggedLines(1000)
    assert lines.feed(b"loading") == [(False, b"loading")]
    assert lines.feed(b" 1%") == [(False, b" 1%")]
    assert lines.feed(b" done\n@mpxy") == [(False, b" done\n"), (False, b"@mpxy")]


@pytest.mark.parametrize(
    ("held", "event"),
    [
        (b"\n", b"\n"),
        (b"@mp", b"@mp"),
        (b"\n@mpx", b"\n@mpx"),
        (b'@mpx {"type":"request"}', {"type": "request"}),
        (b'\n@mpx:1/1 {"type":"request"}', {"type": "request"}),
    ],
)
def test_what_is_held_back_is_whole_when_the_output_ends(held, event):
    manager = ManagerConnection()
    assert heard(manager, held) == []
    assert list(manager.end_of_output()) == [event]
    assert list(manager.end_of_output()) == []


FRAGMENTS = st.sampled_from(
    [b"\n", b"@", b"@mp", b"@mpx", b"@mpx ", b"@mpx:", b" ", b"x", b"{}", b"\xc3\xa9", b"a\nb"]
)
STREAMS = st.lists(FRAGMENTS, max_size=30).map(b"".join)
PLACES = st.lists(st.integers(0, 10_000), max_size=12)


def parted(stream, limit):
    """Say simply what `TaggedLines` is to find in a whole stream."""
    *lines, rest = stream.split(b"\n")
    found = []
    for line, end in [*((line, b"\n") for line in lines), (rest, b"")]:
        if line.startswith((b"@mpx ", b"@mpx:")):
            if found and found[-1] == (False, b"\n"):
                found.pop()
            found.append((True, line if len(line) <= limit + len(b"@mpx ") else b""))
        elif line + end:
            found.append((False, line + end))
    return found


def with_text_joined(pairs):
    found = []
    for is_tagged, data in pairs:
        if not is_tagged and found and not found[-1][0]:
            found[-1] = (False, found[-1][1] + data)
        else:
            found.append((is_tagged, data))
    return found


@given(stream=STREAMS, places=PLACES)
def test_any_cutting_of_a_stream_parts_it_the_same_way(stream, places):
    lines = TaggedLines(12)
    pairs = [pair for data in cut(stream, places) for pair in lines.feed(data)]
    assert with_text_joined([*pairs, *lines.finish()]) == with_text_joined(parted(stream, 12))


@given(stream=STREAMS)
def test_a_stream_that_comes_byte_by_byte_is_parted_the_same_way(stream):
    lines = TaggedLines(6)
    pairs = [pair for byte in stream for pair in lines.feed(bytes([byte]))]
    assert with_text_joined([*pairs, *lines.finish()]) == with_text_joined(parted(stream, 6))


# -- messages in pieces ---------------------------------------------------------------------------

TEXTS = st.sampled_from([b"", b"a line\n", b"no newline", b"@mp", b"\n", b"x @mpx {}\n", b"\n\n"])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**300), 10**300)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=[]), max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


@given(value=JSON, texts=st.lists(TEXTS, min_size=1, max_size=5), places=PLACES)
def test_pieces_survive_other_writers_and_any_cutting(value, texts, places):
    trial, manager = pair_in(OPEN, 2, atomic=60)
    writes = [*say(trial.intermediate, value, 1), *say(trial.final, value, 0)]
    stream = b"".join(texts[i % len(texts)] + data for i, data in enumerate(writes))
    whole = joined(heard(manager, stream))
    messages = [m for m in whole if isinstance(m, dict)]
    assert [(m["value"], m["phase_index"]) for m in messages] == [(value, 1), (value, 0)]
    assert manager.open_phases == {1}
    _, again = pair_in(OPEN, 2)
    assert joined(heard(again, *cut(stream, places))) == whole


@given(payload=st.binary(min_size=1, max_size=3000).filter(lambda p: b"\n" not in p))
def test_no_piece_is_longer_than_what_the_system_writes_whole(payload):
    pieces = in_pieces(payload, 64)
    assert all(len(piece) <= 64 for piece in pieces)
    assert all(piece.startswith(b"\n@mpx:") and piece.endswith(b"\n") for piece in pieces)
    assert b"".join(piece[1:-1].partition(b" ")[2] for piece in pieces) == payload


def test_no_write_of_a_trial_is_longer_than_what_the_system_writes_whole():
    for length in range(400, 600):
        trial, manager = pair_in(OPEN, atomic=512)
        writes = say(trial.final, "x" * length)
        assert all(len(data) <= 512 for data in writes)
        assert heard(manager, *writes)[0]["value"] == "x" * length


@pytest.mark.parametrize("missing", [0, 1, 5])
def test_a_message_that_lacks_a_piece_is_dropped_and_the_next_one_arrives(missing):
    trial, manager = pair_in(OPEN, atomic=64)
    writes = say(trial.intermediate, "x" * 400)
    del writes[missing]
    assert heard(manager, *writes) == []
    (message,) = heard(manager, *say(trial.intermediate, "y" * 400))
    assert message["value"] == "y" * 400


def test_pieces_whose_head_was_never_seen_are_dropped():
    manager = ManagerConnection()
    assert heard(manager, b'@mpx:2/2 {"type":"request"}\n') == []
    assert heard(manager, tagged(type="request")) == [{"type": "request"}]


@pytest.mark.parametrize("order", [(1, 3, 2, 3), (1, 1, 3), (1, 2, 2, 3), (2, 1, 3)])
def test_pieces_out_of_order_are_dropped(order):
    manager = ManagerConnection()
    pieces = in_pieces(b'{"type":"request"}', 28)
    assert len(pieces) == 3
    assert heard(manager, *(pieces[number - 1] for number in order)) == []
    assert heard(manager, *pieces) == [{"type": "request"}]


def test_pieces_of_two_messages_are_not_mixed():
    manager = ManagerConnection()
    short, long = b'@mpx:2/2 "request"}\n', b'@mpx:1/3 {"type":\n'
    assert heard(manager, long, short) == []


def test_pieces_of_a_process_that_died_do_not_disturb_the_next_one():
    first, manager = pair_in(OPEN, atomic=64)
    assert heard(manager, *say(first.intermediate, "x" * 400)[:3]) == []
    second = TrialConnection(atomic=64)
    assert heard(manager, *say(second.hello, "a long name " * 20, 2, "t"))[0]["type"] == "hello"


# -- lines over the limit -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [20, 64, 5000])
def test_a_tagged_line_over_the_limit_is_one_error_however_it_comes(size):
    line = b"@mpx " + b"x" * 1001 + b"\n"
    manager = ManagerConnection(1000)
    events = heard(manager, *[line[i : i + size] for i in range(0, len(line), size)])
    assert joined([*events, *heard(manager, tagged(type="request"))]) == [
        ("error", too_long(1000)),
        {"type": "request"},
    ]


def test_a_message_of_exactly_the_limit_passes_whole_or_in_pieces():
    for atomic in (64, 4096):
        trial, manager = pair_in(OPEN, max_line=1000, atomic=atomic)
        head = len('{"type":"final","seq":3,"value":""}')
        (message,) = heard(manager, *say(trial.final, "x" * (1000 - head)))
        assert message["type"] == "final"


def test_pieces_over_the_limit_are_one_error():
    manager = ManagerConnection(1000)
    pieces = in_pieces(b'{"type":"final","value":"' + b"x" * 1500 + b'"}', 100)
    (error,) = heard(manager, *pieces)
    assert str(error).startswith("a line of over 1000 bytes")
    assert heard(manager, tagged(type="request")) == [{"type": "request"}]


def test_text_has_no_limit():
    manager = ManagerConnection(1000)
    assert joined(heard(manager, b"x" * 5000, b"y" * 5000, b"\n")) == [
        b"x" * 5000 + b"y" * 5000 + b"\n"
    ]


def test_a_trial_refuses_to_send_what_is_over_the_limit_and_its_phase_stays_open():
    trial, manager = pair_in(OPEN, max_line=1000)
    with pytest.raises(MessageError, match="a line of over 1000 bytes"):
        trial.final("x" * 1000)
    assert trial.state is OPEN
    (final,) = heard(manager, *say(trial.final, "x"))
    assert final["value"] == "x"


@pytest.mark.parametrize("character", ["x", "\n", "\U0001f600", "\ud800"])
def test_a_failure_can_always_be_sent(character):
    trial, manager = pair_in(OPEN, max_line=4096)
    text = character * 10_000
    (failed,) = heard(manager, *say(trial.failed, text, text, "the beginning" + text + "the end"))
    assert failed["error"]["traceback"].endswith("the end")
    assert failed["error"]["message"].startswith(character)


# -- values ---------------------------------------------------------------------------------------


@given(JSON)
def test_what_json_can_say_comes_back_equal_in_one_line_of_ascii(value):
    text = encode(value)
    assert text.isascii()
    assert "\n" not in text
    assert decode(text) == value


def test_nan_and_the_infinities_come_back():
    trial, manager = pair_in(OPEN)
    (message,) = heard(manager, *say(trial.final, [math.nan, math.inf, -math.inf]))
    nan, *infinities = message["value"]
    assert math.isnan(nan)
    assert infinities == [math.inf, -math.inf]


def test_sets_and_complex_numbers_have_nnis_form():
    assert encode({"b", "a"}) == '{"__set__":["a","b"]}'
    assert decode(encode(frozenset([1, "x"])))["__set__"] in ([1, "x"], ["x", 1])
    assert encode(1 + 2j) == '{"__complex__":[1.0,2.0]}'


def test_numpy_scalars_are_numbers_and_arrays_have_nnis_form():
    np = pytest.importorskip("numpy")
    scalars = [np.float32(0.5), np.int64(3), np.bool_(True), np.float64("nan"), np.array(7)]
    assert encode(scalars) == "[0.5,3,true,NaN,7]"
    assert encode([np.str_("x"), np.complex64(1j)]) == '["x",{"__complex__":[0.0,1.0]}]'
    assert decode(encode(np.array([[1, 2], [3, 4]], dtype=np.int32))) == {
        "__ndarray__": [[1, 2], [3, 4]],
        "dtype": "int32",
        "shape": [2, 2],
    }
    assert encode(np.zeros((0, 2))) == '{"__ndarray__":[],"dtype":"float64","shape":[0,2]}'


def circular():
    value = []
    value.append(value)
    return value


def deep():
    value = []
    for _ in range(200_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "JSON cannot say this: object is not something JSON can say"),
        ({"a": [b"bytes"]}, "JSON cannot say this: bytes is not something JSON can say"),
        ({(1, 2): 3}, "JSON cannot say this: keys must be str"),
        (circular(), "JSON cannot say this: Circular reference"),
        (deep(), "JSON cannot say this: "),
        (lambda: None, "JSON cannot say this: function is not something JSON can say"),
    ],
    ids=["object", "bytes", "keys", "circular", "deep", "function"],
)
def test_what_json_cannot_say_is_refused_and_the_phase_stays_open(value, said):
    trial, _ = pair_in(OPEN)
    with pytest.raises(MessageError) as refused:
        trial.final(value)
    assert str(refused.value).startswith(said)
    assert trial.state is OPEN


def test_a_whole_number_too_long_to_print_is_refused():
    with pytest.raises(MessageError, match="JSON cannot say this"):
        encode(10**5000)


def test_text_that_is_no_json_is_a_value_error():
    for text in ("", "{", "[" * 200_000, "tru"):
        with pytest.raises(ValueError, match=r"."):
            decode(text)


@given(places=PLACES)
def test_any_cutting_of_what_the_manager_writes_gives_the_same_messages(places):
    def conversation(*, by):
        trial, manager = TrialConnection(), ManagerConnection()
        heard(manager, *say(trial.hello, "test", 1, "s"))
        stream = manager.welcome()
        heard(manager, *say(trial.request, 2))
        given = [Given(0, 0, '{"a":"é"}'), Given(1, 1, "[]", 0, "w")]
        stream += manager.parameters(given, is_batch=True)
        heard(manager, tagged(type="final", seq=3, value=1, phase_index=1))
        stream += manager.ack() + manager.violation(RemoteProtocolError("odd", 3))
        return [message for data in by(stream) for message in trial.receive(data)]

    whole = conversation(by=lambda stream: [stream])
    assert [message["type"] for message in whole] == ["welcome", "parameters", "ack"]
    assert whole[1]["phases"] == [
        {"parameter_id": 0, "phase_index": 0, "parameters": {"a": "é"}},
        {"parameter_id": 1, "phase_index": 1, "parent": 0, "checkpoint": "w", "parameters": []},
    ]
    assert conversation(by=lambda stream: cut(stream, places)) == whole
