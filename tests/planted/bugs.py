"""The table of planted bugs. Each is one replacement; the old text must stand exactly once in its file."""

from __future__ import annotations

from .drill import Bug

_J = "sagakeep/runtime/"
_A = "sagakeep/actors/"

JOURNAL = (
    Bug(
        "acknowledged-before-fsync",
        f"{_J}journal_files.py",
        "            self._file.pwrite(data, self._end)\n            self._file.fdatasync()",
        "            self._file.pwrite(data, self._end)",
    ),
    Bug(
        "failed-fsync-tried-again",
        f"{_J}journal_files.py",
        (
            "            self._file.pwrite(data, self._end)\n"
            "            self._file.fdatasync()\n"
            "        except OSError as error:\n"
            "            raise self._broken(error) from error"
        ),
        (
            "            self._file.pwrite(data, self._end)\n"
            "            self._file.fdatasync()\n"
            "        except OSError:\n"
            "            self._file.fdatasync()"
        ),
    ),
    Bug(
        "segment-header-not-synced",
        f"{_J}segment.py",
        "        file.pwrite(segment.encode(), 0)\n        file.fsync()",
        "        file.pwrite(segment.encode(), 0)",
    ),
    Bug(
        "segment-name-not-synced",
        f"{_J}segment.py",
        "        file.fsync()\n        disk.sync_directory(paths.wal)",
        "        file.fsync()",
    ),
    Bug(
        "head-not-synced",
        f"{_J}journal_directory.py",
        "        file.pwrite(data, 0)\n        file.fsync()",
        "        file.pwrite(data, 0)",
    ),
    Bug(
        "head-name-not-synced",
        f"{_J}segment.py",
        '    disk.rename(f"{paths.head}.tmp", paths.head)\n    disk.sync_directory(paths.root)',
        '    disk.rename(f"{paths.head}.tmp", paths.head)',
    ),
    Bug(
        "torn-tail-left-in-place",
        f"{_J}journal_recovery.py",
        "last.data[: last.end])",
        "last.data)",
    ),
    Bug(
        "tail-not-written-anew",
        f"{_J}journal_recovery.py",
        "    replace_file(disk, last.path, last.data[: last.end])\n",
        "",
    ),
    Bug(
        "unsalted-frame-headers",
        f"{_J}frame.py",
        "    return zlib.crc32(salt)",
        "    return 0",
        "corruption/torn writes",
    ),
    Bug(
        "wrong-crc-taken-for-torn",
        f"{_J}journal_tail.py",
        "        lambda s: True,\n        CORRUPT,",
        "        lambda s: True,\n        TORN,",
        "corruption/flipped bits",
    ),
    Bug(
        "body-crc-not-checked",
        f"{_J}frame.py",
        "    if end > len(data) or zlib.crc32(memoryview(data)[first:end]) != header.body_crc:",
        "    if end > len(data):",
        "corruption/flipped bits",
    ),
    Bug(
        "search-for-later-frames-misses-half",
        f"{_J}frame.py",
        "        if at % ALIGN == 0:",
        "        if at % (2 * ALIGN) == 0:",
        "corruption/zeroed sectors",
    ),
    Bug(
        "segments-not-matched-with-the-next",
        f"{_J}journal_check.py",
        "        _match_next(path, checked.end_position, previous_crc, this, layout.segments[index + 1])",
        "        assert layout.segments[index + 1]",
        "corruption/cut files",
    ),
    Bug(
        "missing-newest-segment-unnoticed",
        f"{_J}journal_check.py",
        "    _match_numbers(paths, segments, head)\n",
        "",
        "corruption/moved files",
    ),
    Bug(
        "older-head-believed",
        f"{_J}journal_check.py",
        "    if any(read_file(disk, path)[segment.HEADER_BYTES :]):",
        "    if False:",
        "corruption/older files",
    ),
    Bug(
        "snapshot-of-another-journal-used",
        f"{_J}snapshot_file.py",
        "    if data[:HEADER_BYTES] != _header(uuid, position):",
        "    if not data[:HEADER_BYTES]:",
        "corruption/moved files",
    ),
    Bug(
        "snapshot-ahead-of-the-journal-used",
        f"{_A}recovery.py",
        "    if snapshot is not None and snapshot.position > files.end_found:",
        "    if snapshot is not None and snapshot.position > 1 << 62:",
        "corruption/cut files",
    ),
    Bug(
        "wrong-record-count-in-a-frame",
        "sagakeep/offline/audit.py",
        "        if len(records) != frame.count:",
        "        if len(records) == frame.count:",
        "corruption/longer files",
    ),
)

RECOVERY = (
    Bug(
        "snapshot-of-what-moves-on",
        f"{_A}snapshots.py",
        "committed.live.cut(), committed",
        "committed.live, committed",
    ),
    Bug(
        "tail-begins-a-frame-late",
        f"{_A}recovery.py",
        "        start = snapshot.position\n",
        "        start = snapshot.position + 1\n",
    ),
    Bug(
        "counters-not-restored",
        f"{_A}recovery.py",
        "Counters(snapshot.statistics)",
        "Counters()",
    ),
    Bug(
        "rows-behind-the-snapshot-trusted",
        f"{_A}recovery.py",
        "    use = snapshot is not None and snapshot.position <= read_model.applied_through",
        "    use = snapshot is not None",
    ),
    Bug(
        "recovered-sagas-not-taken-up",
        f"{_A}saga.py",
        "        self._is_taking_up = state is not None",
        "        self._is_taking_up = False",
    ),
    Bug(
        "two-actors-for-a-saga",
        f"{_A}engine.py",
        "            self.registry.adopt(*known)",
        "            self.registry.adopt(*known)\n            self.registry.adopt(*known)",
    ),
    Bug(
        "time-runs-back-over-a-restart",
        "sagakeep/runtime/clock.py",
        "max(0.0, utc_s - self.now_utc_s())",
        "0.0 * utc_s",
    ),
)

ACTORS = (
    Bug(
        "a-rate-limit-forgets-what-it-owes",
        f"{_A}rate_limit.py",
        "max(self._full_at_s, now_s) + 1.0 / self.per_s",
        "now_s + 1.0 / self.per_s",
    ),
    Bug(
        "a-rate-limit-that-a-probe-passes",
        f"{_A}throttle.py",
        "            at_s = max(at_s, self._limit.ready_at_s)",
        "            at_s = max(at_s, self._limit.ready_at_s) if self.breaker == 'open' else at_s",
    ),
    Bug(
        "nobody-wakes-who-sleeps-in-a-queue",
        f"{_A}fair_queue.py",
        "                self._wake(place.saga_id)",
        "                pass",
    ),
    Bug(
        "no-timer-beside-an-attempt",
        f"{_A}saga.py",
        "        if at_utc_s:\n            due_s",
        "        if at_utc_s and not self._jobs:\n            due_s",
    ),
    Bug(
        "acted-upon-before-durable",
        f"{_A}saga.py",
        "        self._pending = state\n",
        ("        self._pending = state\n        self.state = state\n        self.reconcile()\n"),
    ),
    Bug(
        "answered-before-durable",
        f"{_A}saga.py",
        "        self._world.journal.append(data, note, self)",
        (
            "        _ = envelope and before and envelope.reply(state)\n"
            "        self._world.journal.append(data, note, self)"
        ),
    ),
    Bug(
        "visible-before-durable",
        f"{_A}journal.py",
        "        self._queued_bytes -= size\n        return records\n",
        (
            "        self._queued_bytes -= size\n"
            "        self._committed(self._batch[0].note, Position(self.files.position, 0))\n"
            "        return records\n"
        ),
    ),
    Bug(
        "full-disk-acknowledged",
        f"{_A}journal.py",
        "            self.full = str(error)\n            return None",
        "            self.full = str(error)\n            return self.files.position",
        "faults/rolling",
    ),
    Bug(
        "idempotency-key-not-looked-up",
        f"{_A}registry.py",
        "        if wish.idempotency_key:\n            row = await",
        "        if not wish.idempotency_key:\n            row = await",
    ),
    Bug(
        "same-key-not-taken-in-turn",
        f"{_A}registry.py",
        "            for turn in ahead:",
        "            for turn in ahead[:0]:",
        "exhaustive/same",
    ),
    Bug(
        "repeated-attempt-not-marked",
        f"{_A}saga.py",
        "        repeated = self._may_repeat or is_repeat",
        "        repeated = False",
    ),
    Bug(
        "timeout-taken-for-not-done",
        f"{_A}worker.py",
        "        result = AttemptResult(Outcome.UNKNOWN, error=error, latency_s=timeout_s, rule=NO_REPLY)",
        "        result = AttemptResult(Outcome.NOT_DONE, error=error, latency_s=timeout_s, rule=NO_REPLY)",
    ),
    Bug(
        "no-timeout-of-an-attempt",
        f"{_A}worker.py",
        "self._alarm.set_at(began_s + call.timeout_s)",
        "self._alarm.set_at(began_s + call.timeout_s * 1e6)",
    ),
)

MACHINE = (
    Bug(
        "doubt-forgotten-by-a-later-refusal",
        "sagakeep/changes.py",
        "    return UNKNOWN if UNKNOWN in (outcome, call.outcome) else outcome",
        "    return outcome",
    ),
    Bug(
        "step-in-doubt-not-undone",
        "sagakeep/state.py",
        "    return step.action.outcome is not None and step.action.outcome is not NOT_DONE",
        "    return step.action.outcome is DONE",
    ),
    Bug(
        "repeated-refusal-believed",
        "sagakeep/machine.py",
        "    return UNKNOWN if news.repeated and outcome is NOT_DONE else outcome",
        "    return outcome",
    ),
    Bug(
        "late-reply-applied",
        "sagakeep/machine.py",
        "    if news.late or not _is_awaited(state, news):",
        "    if state is None:",
    ),
    Bug(
        "probe-that-failed-is-not-done",
        "sagakeep/machine.py",
        "        return UNKNOWN, None, result.error",
        "        return NOT_DONE, None, result.error",
    ),
    Bug(
        "refused-for-good-and-tried-again",
        "sagakeep/machine.py",
        "    return result.permanent and result.outcome is NOT_DONE",
        "    return False",
    ),
    Bug(
        "one-attempt-too-many",
        "sagakeep/backoff.py",
        "attempts > retries_max:",
        "attempts > retries_max + 1:",
    ),
    Bug(
        "retry-after-ignored",
        "sagakeep/backoff.py",
        "        delay_s = max(delay_s, min(retry_after_s, limits.RETRY_AFTER_S_MAX))",
        "        delay_s = min(delay_s, min(retry_after_s, limits.RETRY_AFTER_S_MAX))",
    ),
    Bug(
        "backoff-not-waited-for",
        "sagakeep/course.py",
        "step.action.retry_at_utc_s <= now_utc_s:",
        "step.action.retry_at_utc_s <= now_utc_s + 5:",
    ),
    Bug(
        "undo-without-a-last-attempt",
        "sagakeep/machine.py",
        "            retries_max=spec.compensation_retries_max,",
        "            retries_max=None,",
    ),
    Bug(
        "step-begun-before-what-it-needs",
        "sagakeep/course.py",
        "            if done.issuperset(dependencies[step_id]):",
        "            if dependencies:",
    ),
    Bug(
        "last-step-skipped",
        "sagakeep/course.py",
        "    if len(state.completed) == len(state.steps):",
        "    if len(state.completed) >= len(state.steps) - 1:",
    ),
    Bug(
        "undone-step-kept-as-done",
        "sagakeep/changes.py",
        "tuple([name for name in state.completed if name != event.step_id])",
        "state.completed",
    ),
    Bug(
        "undo-in-any-order",
        "sagakeep/state.py",
        "    todo = [name for step_id in left for name in dependencies[step_id]]",
        "    todo: list[str] = []",
    ),
    Bug(
        "undo-overtakes-action",
        "sagakeep/course.py",
        "    if unsettled(state):\n        return ()\n    if pivot_is_done",
        "    if pivot_is_done",
    ),
    Bug(
        "undone-past-the-pivot",
        "sagakeep/course.py",
        "    if pivot_is_done(state):\n        return (e.SagaStarted(state.deadline_utc_s),)\n",
        "",
    ),
    Bug(
        "deadline-not-kept",
        "sagakeep/course.py",
        "    return state.deadline_utc_s <= now_utc_s and not pivot_is_done(state)",
        "    return False",
    ),
    Bug(
        "planned-attempt-made-though-it-stops",
        "sagakeep/course.py",
        "        or some_failed(state)\n",
        "",
    ),
    Bug(
        "no-key-of-its-own-for-an-undo",
        "sagakeep/effects.py",
        '    kind = "compensation" if effect.phase == "compensation" else "action"',
        '    kind = "action"',
    ),
    Bug(
        "new-key-for-each-attempt",
        "sagakeep/effects.py",
        "    return _key(saga_id, effect.step_id, kind, effect.epoch)",
        "    return _key(saga_id, effect.step_id, kind, effect.epoch + effect.attempt)",
    ),
    Bug(
        "old-key-for-a-new-effect",
        "sagakeep/interventions.py",
        "            action=CallState(epoch=step.action.epoch + 1),",
        "            action=CallState(epoch=step.action.epoch),",
    ),
    Bug(
        "new-key-while-in-doubt",
        "sagakeep/interventions.py",
        "    if call.outcome is NOT_DONE:\n        return CallState",
        "    if call.outcome is not DONE:\n        return CallState",
    ),
    Bug(
        "old-budget-after-an-operators-retry",
        "sagakeep/interventions.py",
        "        attempts_base=call.attempt,\n",
        "        attempt=0,\n",
    ),
    Bug(
        "hold-on-failure-ignored",
        "sagakeep/course.py",
        "        state.definition.on_failure is OnFailure.HOLD\n",
        "        state.definition.on_failure is None\n",
    ),
    Bug(
        "doubt-not-held-for-the-operator",
        "sagakeep/state.py",
        "        and state.step(step_id).in_doubt is InDoubt.HOLD",
        "        and state.step(step_id).in_doubt is None",
    ),
    Bug(
        "retried-more-often-than-allowed",
        "sagakeep/steering.py",
        "    if state.retry_count >= state.definition.retries_max:\n        why",
        "    if state.retry_count > state.definition.retries_max:\n        why",
    ),
    Bug(
        "deleted-while-it-runs",
        "sagakeep/steering.py",
        '    if state.status not in FINAL | HELD:\n        raise _refuse(state, "delete"',
        '    if not state.status:\n        raise _refuse(state, "delete"',
    ),
    Bug(
        "whole-saga-undone-for-one-step",
        "sagakeep/state.py",
        "    if not state.scope:",
        "    if state is not None:",
    ),
    Bug(
        "undone-though-the-pivot-is-done-on-request",
        "sagakeep/steering.py",
        '    if pivot_is_done(state):\n        raise _refuse(state, "compensate"',
        '    if not state:\n        raise _refuse(state, "compensate"',
    ),
    Bug(
        "a-pause-that-closes-nothing",
        f"{_A}gateway.py",
        "        self.paused = pause\n",
        "        self.paused = None\n",
    ),
    Bug(
        "a-start-forgets-the-pauses",
        f"{_A}service_pauses.py",
        "            if name in self._gateways:",
        "            if name not in self._gateways:",
    ),
    Bug(
        "begun-while-it-is-paused",
        f"{_A}saga.py",
        "        if self.state.paused is not None:",
        "        if self.state is None:",
    ),
    Bug(
        "decided-while-it-is-paused",
        "sagakeep/course.py",
        "    if state.paused is not None:\n        return ()",
        "    if state is None:\n        return ()",
    ),
    Bug(
        "made-again-after-a-pause-and-believed",
        f"{_A}saga.py",
        "outstanding(before) if before is not None and before.paused else ()",
        "()",
    ),
    Bug(
        "forced-end-takes-what-is-out-for-not-done",
        "sagakeep/steering.py",
        "yield e.StepFailed(step_id, action.attempt, doubt_of(state, step_id), _FORCED)",
        "yield e.StepFailed(step_id, action.attempt, NOT_DONE, _FORCED)",
    ),
    Bug(
        "another-payload-under-the-old-key",
        "sagakeep/interventions.py",
        "        action = replace(renewed(step.action), filled=payload)",
        "        action = replace(step.action, filled=payload, retry_at_utc_s=0.0)",
    ),
    Bug(
        "undone-below-the-step",
        "sagakeep/state.py",
        "    if state.down_to:\n        return",
        "    if state is None:\n        return",
    ),
)

ERASURE = (
    Bug(
        "erased-without-the-first-record",
        f"{_A}eraser.py",
        "            if not (link.is_erased or link.is_deletion):",
        "            if not (link.is_erased or link.is_deletion) and link.previous:",
    ),
    Bug(
        "deletions-not-hurried",
        f"{_A}eraser.py",
        "            await self._hurry(oldest.frame)",
        "            oldest.frame.bit_length()",
    ),
    Bug(
        "neighbours-erased-too",
        "sagakeep/erasure.py",
        "        if seen.offset in missing:",
        "        if missing:",
    ),
    Bug(
        "erased-archive-without-its-crcs",
        f"{_J}archiving.py",
        "                amended[found.offset] = Amended(found.header.records, crc)",
        "                amended[found.offset] = Amended(found.header.records, crc ^ 1)",
    ),
)

BUGS = (*JOURNAL, *RECOVERY, *ACTORS, *MACHINE, *ERASURE)
