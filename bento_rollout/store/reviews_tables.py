"""The tables of the people's queue in SQLite, and how they came to be; PostgreSQL's are the same."""

from __future__ import annotations

__all__ = ["APPLICATION_ID", "MIGRATIONS", "SCHEMA"]

APPLICATION_ID = 0x42525256  # "BRRV"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # `asked`: what is asked, as the case has it, and no payload. `stage`: who is wanted, `review` or
        # `adjudicate`; NULL: nobody. `settle`: when `on_timeout` acts. `pending`: when the next answer that
        # may still be taken back is final. `part`: whose answer decided.
        """CREATE TABLE tasks (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, prediction_id TEXT NOT NULL,
            endpoint TEXT NOT NULL, revision INTEGER NOT NULL, degree INTEGER NOT NULL,
            selection TEXT NOT NULL, probability REAL NOT NULL, held INTEGER NOT NULL, asked TEXT NOT NULL,
            reviewers INTEGER NOT NULL, adjudicate INTEGER NOT NULL, priority INTEGER NOT NULL,
            created REAL NOT NULL, due REAL NOT NULL, stage TEXT, escalated INTEGER NOT NULL DEFAULT 0,
            status TEXT NOT NULL, settle REAL, pending REAL, decided REAL,
            decided_by TEXT NOT NULL DEFAULT '', part TEXT, choice TEXT, secret TEXT NOT NULL,
            key_hash TEXT, decisions_for REAL NOT NULL,
            labels_until REAL NOT NULL, expires REAL NOT NULL DEFAULT 0
        )""",
        """CREATE INDEX tasks_wanted ON tasks (stage, due, priority DESC, seq) WHERE stage IS NOT NULL""",
        """CREATE INDEX tasks_wanted_of ON tasks (endpoint, stage, due, priority DESC, seq)
        WHERE stage IS NOT NULL""",
        "CREATE INDEX tasks_settle ON tasks (settle) WHERE settle IS NOT NULL",
        "CREATE INDEX tasks_pending ON tasks (pending) WHERE pending IS NOT NULL",
        "CREATE INDEX tasks_by_prediction ON tasks (prediction_id)",
        "CREATE INDEX tasks_by_key ON tasks (key_hash) WHERE key_hash IS NOT NULL",
        "CREATE INDEX tasks_by_age ON tasks (labels_until)",
        "CREATE INDEX tasks_ended ON tasks (endpoint, decided) WHERE decided IS NOT NULL",
        """CREATE TABLE inputs (
            task INTEGER PRIMARY KEY, until REAL NOT NULL, sealed INTEGER NOT NULL, content BLOB NOT NULL
        )""",
        "CREATE INDEX inputs_by_age ON inputs (until)",
        # Apart from the tasks: no query for a reviewer can bring one along by mistake.
        """CREATE TABLE suggestions (
            task INTEGER PRIMARY KEY, output TEXT, choice TEXT, score REAL, variant TEXT NOT NULL,
            digest TEXT NOT NULL, at REAL NOT NULL
        )""",
        # What one person has to do with one task. `first`: what was answered before the suggestion was shown.
        # `turn`: the order of answers, whatever the clock says.
        """CREATE TABLE parts (
            task INTEGER NOT NULL, reviewer TEXT NOT NULL, adjudicates INTEGER NOT NULL, state TEXT NOT NULL,
            token BLOB NOT NULL, claimed REAL NOT NULL, leased REAL NOT NULL, until REAL NOT NULL,
            lease REAL NOT NULL, sees TEXT NOT NULL, first TEXT, choice TEXT, comment TEXT,
            answered REAL, turn INTEGER, final_at REAL, final INTEGER NOT NULL DEFAULT 0, seconds REAL,
            reason TEXT, media_type TEXT, body BLOB
        )""",
        "CREATE UNIQUE INDEX parts_by_task ON parts (task, reviewer)",
        "CREATE INDEX parts_revealed ON parts (until) WHERE state = 'revealed'",
        "CREATE INDEX parts_held ON parts (until) WHERE state = 'held'",
        """CREATE TABLE decisions (
            task INTEGER PRIMARY KEY, until REAL NOT NULL, media_type TEXT NOT NULL, body BLOB NOT NULL
        )""",
        "CREATE INDEX decisions_by_age ON decisions (until)",
        """CREATE TABLE opened (endpoint TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID""",
        """CREATE TRIGGER tasks_open AFTER INSERT ON tasks WHEN NEW.status = 'open' BEGIN
            INSERT INTO opened VALUES (NEW.endpoint, 1)
            ON CONFLICT (endpoint) DO UPDATE SET number = number + 1;
        END""",
        """CREATE TRIGGER tasks_end AFTER UPDATE OF status ON tasks
        WHEN OLD.status = 'open' AND NEW.status <> 'open' BEGIN
            UPDATE opened SET number = number - 1 WHERE endpoint = OLD.endpoint;
        END""",
        """CREATE TRIGGER tasks_stay_ended BEFORE UPDATE OF status ON tasks
        WHEN OLD.status <> 'open' BEGIN SELECT RAISE(ABORT, 'a case ends once'); END""",
        """CREATE TRIGGER tasks_end_first BEFORE DELETE ON tasks
        WHEN OLD.status = 'open' BEGIN SELECT RAISE(ABORT, 'an open case is not deleted'); END""",
        """CREATE TABLE tests (
            endpoint TEXT NOT NULL, digest TEXT NOT NULL, label TEXT NOT NULL, test TEXT NOT NULL,
            PRIMARY KEY (endpoint, digest, label)
        ) WITHOUT ROWID""",
        """CREATE TABLE trail (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
            task TEXT NOT NULL, facts TEXT NOT NULL, hash BLOB NOT NULL
        )""",
        """CREATE TRIGGER trail_stays BEFORE UPDATE ON trail
        BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END""",
        """CREATE TRIGGER trail_remains BEFORE DELETE ON trail
        BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END""",
        "CREATE INDEX trail_by_task ON trail (task) WHERE task <> ''",
    ),
    (
        # Decisions of people that the ledger has not heard of as labels (`feedback.py`).
        "CREATE TABLE owed (task INTEGER PRIMARY KEY)",
        """CREATE TRIGGER tasks_owe AFTER UPDATE OF status ON tasks WHEN NEW.status = 'answered' BEGIN
            INSERT OR IGNORE INTO owed VALUES (NEW.seq);
        END""",
        """CREATE TRIGGER tasks_owe_no_more AFTER DELETE ON tasks BEGIN
            DELETE FROM owed WHERE task = OLD.seq;
        END""",
        "INSERT INTO owed SELECT seq FROM tasks WHERE status = 'answered'",
    ),
    (
        # Endpoints whose webhook is told of cases (`letters.py`). `told_full`: when it was last told that too
        # many are open. `degree`: the one that it knows of, by which revision of when.
        """CREATE TABLE told (
            endpoint TEXT PRIMARY KEY, waiting INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0,
            told_full REAL, degree INTEGER, revision INTEGER, since REAL
        ) WITHOUT ROWID""",
        # What it is still to be told. `first`, `tried`: when it was tried first and last. Nothing of the case
        # itself: what a letter says is read when it is sent.
        """CREATE TABLE letters (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, endpoint TEXT NOT NULL,
            task INTEGER, kind TEXT NOT NULL, at REAL NOT NULL, facts TEXT NOT NULL,
            tries INTEGER NOT NULL DEFAULT 0, first REAL, tried REAL NOT NULL DEFAULT 0, due REAL NOT NULL
        )""",
        "CREATE INDEX letters_by_turn ON letters (endpoint, due, seq)",
        "CREATE INDEX letters_by_task ON letters (task) WHERE task IS NOT NULL",
        """CREATE TRIGGER letters_wait AFTER INSERT ON letters BEGIN
            UPDATE told SET waiting = waiting + 1 WHERE endpoint = NEW.endpoint;
        END""",
        """CREATE TRIGGER letters_wait_no_more AFTER DELETE ON letters BEGIN
            UPDATE told SET waiting = waiting - 1 WHERE endpoint = OLD.endpoint;
        END""",
        """CREATE TRIGGER tasks_told_no_more AFTER DELETE ON tasks BEGIN
            DELETE FROM letters WHERE task = OLD.seq;
        END""",
    ),
    (
        # What statements look at has columns of its own; in `asked` it is not read any more.
        "ALTER TABLE tasks ADD COLUMN visibility TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE tasks ADD COLUMN on_timeout TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE tasks ADD COLUMN segment TEXT",
        """UPDATE tasks SET visibility = json_extract(asked, '$.visibility'),
            on_timeout = json_extract(asked, '$.on_timeout'), segment = json_extract(asked, '$.segment')
        WHERE json_valid(asked)""",
        # The highest number that an entry of the trail ever had.
        "CREATE TABLE trail_given (seq INTEGER NOT NULL)",
        """INSERT INTO trail_given SELECT max(
            coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'trail'), 0),
            coalesce((SELECT max(seq) FROM trail), 0)
        )""",
        """CREATE TRIGGER trail_counts AFTER INSERT ON trail BEGIN
            UPDATE trail_given SET seq = NEW.seq WHERE seq < NEW.seq;
        END""",
    ),
)
SCHEMA = len(MIGRATIONS)
