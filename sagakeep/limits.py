"""Every bound of sagakeep, with its unit and its reason; nothing in the product grows without one of these.

The names end in unit and bound. What a deployment may change is a field of `sagakeep.settings.config.Limits`,
whose defaults are these.
"""

from __future__ import annotations

from typing import Final

# A definition (specification, section 2).
NAME_PATTERN: Final = (
    r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"  # safe in URLs, file names, headers, keys
)
RESERVED_IDS: Final = frozenset(
    {"stats", "health", "metrics", "batch", "bulk", "events"}
)  # words of the routes
STEPS_MAX: Final = 200  # a graph that a person can still read
TIMEOUT_S_MAX: Final = 30 * 24 * 3600.0  # 30 days: longer is a schedule, not a timeout
RETRIES_MAX: Final = 100
TAGS_MAX: Final = 32
TAG_CHARS_MAX: Final = 256  # of a key and of a value
JSON_DEPTH_MAX: Final = 64  # far below the interpreter's recursion limit
BODY_BYTES_MAX: Final = 1 << 20
BATCH_BYTES_MAX: Final = 32 << 20
BODIES_BYTES_MAX: Final = 128 << 20  # of all requests that are being read or served: four batches
BATCH_SAGAS_MAX: Final = 10_000
ACTOR_PATTERN: Final = (
    r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$"  # who a client says that it is: a name, an address
)
REASON_CHARS_MAX: Final = 1_000  # what an operator may say about a move
IDEMPOTENCY_KEY_CHARS_MAX: Final = 256
IDEMPOTENCY_KEY_PATTERN: Final = rf"^[\x20-\x7e]{{1,{IDEMPOTENCY_KEY_CHARS_MAX}}}$"

# Defaults of a definition.
TIMEOUT_S: Final = 30.0  # one attempt
SAGA_TIMEOUT_S: Final = 300.0
RETRIES: Final = 3  # after the first attempt, and operators' retries of a saga
COMPENSATION_RETRIES: Final = 10  # an undo is worth more patience than a deed
RETRY_INITIAL_S: Final = 1.0
RETRY_MULTIPLIER: Final = 2.0
RETRY_INTERVAL_S_MAX: Final = 60.0
RETRY_MULTIPLIER_MAX: Final = 100.0

# Calls.
REPLY_BYTES_MAX: Final = 1 << 20  # a longer reply is broken: its outcome is unknown
ERROR_CHARS_MAX: Final = 1_000  # of a service's error that is kept in the history
PAYLOAD_BYTES_MAX: Final = 1 << 20  # of a payload after its references were filled in
SERVICE_CONCURRENCY: Final = 64  # attempts in flight at one service
SERVICE_QUEUE_MAX: Final = 1_000_000  # attempts that wait at one gateway; each live step can be one
SERVICE_QUEUE_CROWDED: Final = 900_000  # the rest is for sagas that are live already
QUEUE_AHEAD: Final = 256  # of one saga name: whoever is behind them may sleep while it waits
QUEUE_AWAKE_MAX: Final = 10_000  # at a service that takes what it can; at one that is held back any
BREAKER_FAILURES: Final = 10  # in a row, of more than one saga: then a service counts as down
BREAKER_OPEN_S: Final = 5.0  # between two probes of a service that is down
RAMP_CALLS_PER_S: Final = 50.0  # at a service that is back; doubled every RAMP_DOUBLES_EVERY_S
RAMP_DOUBLES_EVERY_S: Final = 2.0
RAMP_CALLS_PER_S_MAX: Final = 10_000.0  # where a ramp ends that no rate limit ends
HOLD_OFF_S_MAX: Final = 60.0  # one answer of a service cannot keep all sagas from it for longer
LATE_REPLY_S: Final = 60.0  # an answer after its timeout is still recorded for so long
RETRY_AFTER_S_MAX: Final = 3600.0  # a service cannot park a saga for longer than an hour at a time

# Actors.
MAILBOX_MAX: Final = 1_024  # messages that wait in one saga's mailbox, control messages not counted
REGISTRY_MAILBOX_MAX: Final = 100_000  # wishes that wait for the registry: ten full batches
LIVE_SAGAS_MAX: Final = 1_000_000  # admission stops here, with 503, before memory does
MEMORY_BYTES_MAX: Final = (
    4 << 30
)  # resident; a million sagas that wait take less. Admission stops here
MEMORY_SHARE_MAX: Final = 0.9  # of what the machine or its container has: then here
ASLEEP_S_MIN: Final = 2.0  # a saga that waits longer than this is put to sleep
AWAKE_SAGAS: Final = 200_000  # beyond it those that sleep are woken more slowly
TURNS_QUEUED: Final = 1_000  # the same
AWAKE_AT_REST: Final = 1_000  # so few may be awake while the garbage collector has its turn: 50 ms
RESTARTS_MAX: Final = 3  # of one saga's actor within RESTART_PERIOD_S; then it is held
RESTART_PERIOD_S: Final = 60.0
RECOVERED_CALLS_PER_S: Final = 500.0  # for each service after a start: no stampede

# Journal.
FRAME_BYTES_MAX: Final = 256 << 20  # one group commit; bounds what a damaged length can claim
COMMIT_BYTES_TARGET: Final = 1 << 20  # a group commit stops collecting here
PENDING_BYTES_MAX: Final = 64 << 20  # waits for its group commit; appenders beyond it wait
SEGMENT_BYTES: Final = 16 << 20
SNAPSHOT_EVERY_BYTES: Final = 64 << 20  # of journal between two snapshots
ARCHIVE_BEHIND_BYTES: Final = (
    16 << 20
)  # below the oldest snapshot what is younger is not compressed: it is asked for most
ERASE_AFTER_S: Final = 24 * 3600.0  # a deletion that is so old has its part of the journal archived
ERASE_SAGAS_AT_ONCE: Final = (
    10_000  # of one pass over archives: the places of their records are in memory
)
DISK_RESERVE_BYTES: Final = 64 << 20  # new sagas are refused when less is free

# Metrics: what is told apart by a label; the rest is counted as "other".
METRIC_NAMES_MAX: Final = 100  # names of sagas, which clients choose: each has some 20 lines
METRIC_ACTIONS_MAX: Final = 50  # actions of one service, undos and probes among them

# Analytics.
ANALYTICS_SAGAS_MAX: Final = 50_000  # that are looked at, the newest: a second of a thread
ANALYTICS_NAMES_MAX: Final = 100  # that are listed, and so on
ANALYTICS_CALLS_MAX: Final = 200
ANALYTICS_FAILURES_MAX: Final = 200

# Webhooks.
WEBHOOKS_MAX: Final = 20
OUTBOX_EVENTS_MAX: Final = 2_000  # of one webhook in memory; what is older is read in the journal
WEBHOOK_ALERTS_MAX: Final = 1_000  # that wait for one receiver; beyond it the newest are dropped
WEBHOOK_SAGA_S_MAX: Final = 3 * 24 * 3600.0  # three days: a receiver that is down over a weekend
WEBHOOK_ALERT_S_MAX: Final = 3600.0  # an alert is for now
WEBHOOK_REFUSALS_MAX: Final = (
    8  # of one event (4xx), some two minutes: it holds up what is behind it
)
WEBHOOK_ATTEMPTS_MAX: Final = 1_500  # of one event; more than three days have room for

# The HTTP edge (specification, section 9).
HEADERS_BYTES_MAX: Final = 16 << 10
HEADERS_S_MAX: Final = 5.0
BODY_S_MAX: Final = 30.0
CONNECTIONS_MAX: Final = 10_000
CONNECTIONS_PER_CLIENT_MAX: Final = 1_000
WRITE_STALL_S_MAX: Final = 30.0  # a client that does not read is cut
GRACE_S: Final = 30.0  # for running attempts at SIGTERM
WAIT_S_MAX: Final = 60.0  # of Prefer: wait
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 500
STORY_EVENTS_MAX: Final = 200  # an explanation tells the last ones; all are in the events
STREAM_BUFFER_EVENTS_MAX: Final = (
    1_000  # of one event-stream client; beyond it, it is told to resume
)
BULKS_MAX: Final = 4  # that run at the same time
BULK_IDS_MAX: Final = 10_000  # that one names; a filter has no bound
BULK_SAMPLE: Final = 10  # ids that a plan shows
BULK_PLAN_S_MAX: Final = 900.0  # after which a plan is to be looked at again
PAUSES_BYTES_MAX: Final = 1 << 20  # of the note of paused services
FEED_READERS_MAX: Final = 64  # that follow all sagas at the same time
FEED_BUFFER_EVENTS_MAX: Final = (
    10_000  # that wait for one of them, 200 bytes each; beyond it: a gap
)
FEED_RESUME_BYTES_MAX: Final = 4 << 20  # of journal that is read again for one that comes back
FEED_RESUME_EVENTS_MAX: Final = 10_000  # the same, in events
FEED_RESUME_SAGAS_MAX: Final = 1_000  # whose histories are read for it
