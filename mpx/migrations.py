"""The store's tables, as an ordered list of changes. A database says how many it has had.

Never edit a change that was released: add one.
"""

from __future__ import annotations

import sqlite3

from mpx.errors import StoreError

MIGRATIONS = (
    """
    CREATE TABLE experiment (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        status TEXT NOT NULL,
        reason TEXT,
        created_at REAL NOT NULL,
        started_at REAL,
        ended_at REAL,
        duration REAL NOT NULL DEFAULT 0,  -- seconds, of the resumes before the current one
        running_since REAL,                -- when the current one began; NULL when none runs
        multi_phase INTEGER NOT NULL,
        trial_concurrency INTEGER NOT NULL,
        max_trial_num INTEGER,
        max_phase_num INTEGER,
        optimize_mode TEXT NOT NULL,
        seed INTEGER,
        best_phase INTEGER,                -- phases.id
        error_type TEXT,
        error_message TEXT,
        error_traceback TEXT
    );
    CREATE TABLE trials (
        sequence_id INTEGER PRIMARY KEY,
        trial_id TEXT NOT NULL UNIQUE,
        status TEXT NOT NULL,
        reason TEXT,
        created_at REAL NOT NULL,
        started_at REAL,
        ended_at REAL,
        exit_status INTEGER,
        pid INTEGER,
        process_start TEXT,                -- with pid: the identity that no other process shares
        session TEXT                       -- of the trial's last hello
    );
    CREATE INDEX trials_by_status ON trials(status);
    CREATE TABLE phases (
        id INTEGER PRIMARY KEY,            -- in the order of asking
        sequence_id INTEGER NOT NULL REFERENCES trials,
        phase_index INTEGER NOT NULL,
        parameter_id INTEGER NOT NULL,
        status TEXT NOT NULL,
        reason TEXT,
        traceback TEXT,
        parameters TEXT,                   -- JSON
        value TEXT,                        -- JSON
        score REAL,
        request_seq INTEGER,               -- of the trial's messages, to know them when re-sent
        final_seq INTEGER,
        asked INTEGER,                     -- number of the tuner call that chose it, and of the one
        told INTEGER,                      --   that took its result: the order of a replay
        requested_at REAL NOT NULL,
        started_at REAL,
        ended_at REAL,
        UNIQUE (sequence_id, phase_index)
    );
    CREATE TABLE intermediates (
        phase INTEGER NOT NULL REFERENCES phases,
        number INTEGER NOT NULL,           -- in its phase, from 0
        value TEXT NOT NULL,               -- JSON
        seq INTEGER,
        reported_at REAL NOT NULL,
        PRIMARY KEY (phase, number)
    );
    CREATE TABLE phase_counts (            -- so that no reader has to count
        sequence_id INTEGER PRIMARY KEY,   -- -1: the whole experiment
        waiting INTEGER NOT NULL,
        running INTEGER NOT NULL,
        succeeded INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        early_stopped INTEGER NOT NULL,
        abandoned INTEGER NOT NULL,
        lost INTEGER NOT NULL
    );
    """,
    """
    ALTER TABLE experiment ADD COLUMN warning TEXT;
    ALTER TABLE experiment ADD COLUMN checkpoint INTEGER;  -- number of the last tuner call that is in it
    ALTER TABLE trials ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;  -- of trial.retries
    ALTER TABLE trials ADD COLUMN counts INTEGER NOT NULL DEFAULT 1;   -- 0: no limit counts it
    ALTER TABLE trials ADD COLUMN resends INTEGER NOT NULL DEFAULT 0;  -- its hello promised to
    ALTER TABLE trials ADD COLUMN session_start INTEGER NOT NULL DEFAULT 0;  -- first phase_index of it
    ALTER TABLE trials ADD COLUMN seq INTEGER;   -- of its last message that no phase records
    ALTER TABLE trials ADD COLUMN told INTEGER;  -- number of the tuner call that told of its end
    ALTER TABLE phases ADD COLUMN counts INTEGER NOT NULL DEFAULT 1;   -- 0: it is offered again
    CREATE TABLE unanswered (              -- asks for which the tuner had no parameters
        asked INTEGER NOT NULL,            -- number of the tuner call
        parameter_id INTEGER NOT NULL,
        trial_id TEXT NOT NULL,
        first INTEGER NOT NULL,            -- for the first phase of a trial
        PRIMARY KEY (asked, parameter_id)
    );
    """,
    """
    ALTER TABLE trials ADD COLUMN gpus TEXT;         -- JSON: the indices of those it was given
    ALTER TABLE trials ADD COLUMN assessed INTEGER;  -- number of the assessor call that told of its end
    ALTER TABLE phases ADD COLUMN assessed INTEGER;  -- the same
    ALTER TABLE phases ADD COLUMN stopped TEXT;      -- why the assessor stopped it
    ALTER TABLE phases ADD COLUMN customized INTEGER NOT NULL DEFAULT 0;  -- the user chose its parameters
    ALTER TABLE intermediates ADD COLUMN assessed INTEGER;  -- number of the assessor call that judged it
    ALTER TABLE intermediates ADD COLUMN is_awaited INTEGER NOT NULL DEFAULT 0;  -- its verdict is
    CREATE TABLE offered (                 -- parameters that wait for a phase, and belong to none yet
        parameter_id INTEGER PRIMARY KEY,
        parameters TEXT NOT NULL,          -- JSON
        customized INTEGER NOT NULL        -- 1: the user chose them; 0: the tuner, in no call that asked
    );
    CREATE TABLE inbox (                   -- letters from the user: results and parameters
        name TEXT PRIMARY KEY,
        told INTEGER,                      -- number of the tuner call that told of results
        data TEXT NOT NULL,                -- JSON
        received_at REAL NOT NULL
    );
    """,
    """
    ALTER TABLE trials ADD COLUMN batch INTEGER;    -- phases its last request asked for, if it said
    ALTER TABLE phases ADD COLUMN parent INTEGER;   -- parameter_id of the phase that it goes on from
    ALTER TABLE phases ADD COLUMN checkpoint TEXT;  -- path of what it has saved
    """,
    """
    ALTER TABLE phases ADD COLUMN checkpoint_size INTEGER;  -- bytes, if its trial said so
    ALTER TABLE phases ADD COLUMN checkpoint_removed INTEGER NOT NULL DEFAULT 0;  -- nobody needs it
    CREATE INDEX saved_phases ON phases (checkpoint_removed, checkpoint_size)
        WHERE checkpoint IS NOT NULL;
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to this version of mpx; each change and its number commit together."""
    (done,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(MIGRATIONS[done:], done + 1):
        connection.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")


def check_version(connection: sqlite3.Connection) -> None:
    """Raise StoreError if the database was written by a newer mpx."""
    (done,) = connection.execute("PRAGMA user_version").fetchone()
    if done > len(MIGRATIONS):
        raise StoreError(
            f"the experiment was written by a newer mpx (store version {done}, this mpx knows"
            f" {len(MIGRATIONS)}): upgrade mpx"
        )
