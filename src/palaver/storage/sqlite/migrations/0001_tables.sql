-- One row per task. While a task runs, its segments alone know its head: an append then writes
-- one row, not two. ``head`` is right where the segments are gone.
CREATE TABLE tasks (
    key INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL UNIQUE,
    head INTEGER NOT NULL,
    finished_at REAL,
    pruned INTEGER NOT NULL DEFAULT 0,
    worker TEXT -- who holds the lease; '' once it was released
) STRICT;

CREATE INDEX tasks_by_end ON tasks (finished_at, task_id) WHERE finished_at IS NOT NULL;
CREATE INDEX tasks_by_worker ON tasks (worker) WHERE worker IS NOT NULL;

-- One row per append: a JSON array of events. With rowids, as new rows then stand together at the
-- end: 64 tasks that grow at once wrote 66,000 rows a second, and 11,000 WITHOUT ROWID.
CREATE TABLE segments (
    task INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (task, last_seq)
) STRICT;

CREATE TABLE snapshots (
    task_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (task_id, version)
) STRICT;

CREATE TABLE claims (
    key TEXT PRIMARY KEY,
    task_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    expires_at REAL NOT NULL
) STRICT;

CREATE INDEX claims_by_end ON claims (expires_at);
CREATE INDEX claims_by_task ON claims (task_id);

CREATE TABLE workers (
    worker TEXT PRIMARY KEY,
    alive_until REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    task_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    subscriber TEXT NOT NULL,
    body BLOB NOT NULL,
    due_at REAL NOT NULL,
    attempts INTEGER NOT NULL
) STRICT;

CREATE INDEX deliveries_by_time ON deliveries (due_at, number);

CREATE TABLE credentials (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
