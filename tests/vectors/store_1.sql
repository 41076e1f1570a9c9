-- SPDX-License-Identifier: MIT
-- A store of version 1, as the first release made it. Never change it.
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE functions (id INTEGER NOT NULL, pending INTEGER NOT NULL, external_id TEXT, name TEXT, description TEXT, owner TEXT, metadata TEXT, env TEXT, cpu REAL, memory_gb REAL, runtime TEXT, file_id INTEGER, entry TEXT, timeout_ms INTEGER, memory_limit INTEGER, created_ms INTEGER, updated_ms INTEGER, last_called_ms INTEGER, status INTEGER NOT NULL, error_message TEXT, error_trace TEXT, version_id INTEGER, version INTEGER, code_hash TEXT, code_size INTEGER, PRIMARY KEY (id, pending)) WITHOUT ROWID;
CREATE UNIQUE INDEX functions_external_id ON functions (external_id) WHERE pending = 0;
CREATE TABLE versions (id INTEGER PRIMARY KEY, function_id INTEGER NOT NULL, number INTEGER NOT NULL, code_hash TEXT NOT NULL, code_size INTEGER, entry TEXT, env TEXT, timeout_ms INTEGER, memory_limit INTEGER, created_ms INTEGER);
CREATE UNIQUE INDEX versions_function ON versions (function_id, number);
CREATE TABLE calls (id INTEGER PRIMARY KEY, function_id INTEGER NOT NULL, version_id INTEGER, version INTEGER, schedule_id INTEGER, scheduled_ms INTEGER, timeout_ms INTEGER, async INTEGER NOT NULL, state INTEGER NOT NULL, attempt INTEGER, created_ms INTEGER, start_ms INTEGER, end_ms INTEGER, code TEXT, error_message TEXT, error_trace TEXT, input INTEGER, status INTEGER, content_type TEXT, headers TEXT, cpu_us INTEGER, memory_peak INTEGER, meta TEXT, request BLOB, response BLOB);
CREATE INDEX calls_function ON calls (function_id, id);
CREATE INDEX calls_open ON calls (id) WHERE state < 2;
CREATE INDEX calls_schedule ON calls (schedule_id, id) WHERE schedule_id > 0;
CREATE TABLE bodies (call_id INTEGER PRIMARY KEY, meta TEXT, request BLOB, response BLOB);
CREATE TABLE logs (call_id INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, lines BLOB NOT NULL, PRIMARY KEY (call_id, first)) WITHOUT ROWID;
CREATE TABLE doomed (function_id INTEGER PRIMARY KEY);
CREATE TABLE files (id INTEGER PRIMARY KEY, external_id TEXT UNIQUE, name TEXT, mime_type TEXT, uploaded INTEGER NOT NULL, hash TEXT, size INTEGER, created_ms INTEGER, updated_ms INTEGER, uploaded_ms INTEGER);
CREATE TABLE sessions (id INTEGER PRIMARY KEY, type TEXT, status TEXT, nonce_hash TEXT UNIQUE, client_id TEXT, created_ms INTEGER, expires_ms INTEGER);
PRAGMA user_version = 1;
INSERT INTO meta VALUES ('kept', 'yes');
INSERT INTO functions (id, pending, external_id, name, description, owner, metadata, env, cpu, memory_gb, runtime,
    file_id, entry, timeout_ms, memory_limit, created_ms, updated_ms, last_called_ms, status, version_id, version,
    code_hash, code_size)
VALUES (11, 0, 'greet', 'Greet', 'says hello', 'ann', '{"k":"v"}', '{"E":"1"}', 0.5, 1.5, 'lua54', 14, 'handler.lua',
    60000, 1048576, 1000, 2000, 3000, 2, 12, 3, 'c0de', 321);
INSERT INTO versions VALUES (12, 11, 3, 'c0de', 321, 'handler.lua', '{"E":"1"}', 60000, 1048576, 2000);
INSERT INTO calls (id, function_id, version_id, version, timeout_ms, async, state, attempt, created_ms, start_ms, end_ms,
    input, status, content_type, headers, cpu_us, memory_peak, meta, request, response)
VALUES (21, 11, 12, 3, 60000, 0, 2, 1, 4000, 4001, 4002, 0, 201, 'text/plain', '{"a":"b"}', 7, 9, '{"m":1}',
    CAST('in' AS BLOB), CAST('out' AS BLOB));
INSERT INTO calls (id, function_id, version_id, version, timeout_ms, async, state, attempt, created_ms)
VALUES (22, 11, 12, 3, 60000, 1, 0, 1, 5000);
INSERT INTO bodies VALUES (22, NULL, CAST('later' AS BLOB), NULL);
INSERT INTO logs VALUES (21, 0, 1, x'00');
INSERT INTO files VALUES (14, 'source', 'greet.zip', 'application/zip', 1, 'c0de', 321, 900, 901, 902);
INSERT INTO sessions VALUES (31, 'ONESHOT_TOKEN_EXCHANGE', 'READY', 'abcd', 'me', 6000, 7000);
