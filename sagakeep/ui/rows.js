// Rows: the list of sagas as far as it was read, newest first, and what has become of it since. Kept small: ten thousand
// rows are ten thousand little objects, and only those in sight are in the page.

import { ask, Problem } from "./api.js";
import { store } from "./store.js";

const PAGE = 200;

const rowOf = (saga) => ({
  id: saga.id,
  name: saga.name,
  status: saga.status,
  done: saga.completedSteps.length,
  total: saga.steps.length,
  step: saga.currentStep,
  error: saga.error,
  createdAt: saga.createdAt,
  updatedAt: saga.updatedAt,
});

// `filters` are those of GET /api/sagas. The value is {rows, cursor, isReading, problem, isRead}.
export function openRows(filters) {
  const list = store({ rows: [], cursor: "", isReading: false, problem: null, isRead: false });
  const aborter = new AbortController();
  const known = new Map();

  const read = async (limit, cursor) => {
    const query = new URLSearchParams({ ...filters, limit, ...(cursor ? { cursor } : {}) });
    const { body } = await ask(`/api/sagas?${query}`, { signal: aborter.signal });
    return { rows: body.sagas.map(rowOf), cursor: body.nextCursor };
  };
  let isMoreWished = false;
  const guarded = async (deed) => {
    if (list.get().isReading) {
      isMoreWished ||= deed === readMore;
      return;
    }
    list.set({ isReading: true });
    try {
      list.set({ ...(await deed()), problem: null, isRead: true, isReading: false });
    } catch (problem) {
      if (problem.name === "AbortError") return;
      if (!(problem instanceof Problem)) throw problem;
      list.set({ problem, isReading: false, isRead: true });
    }
    if (isMoreWished) {
      isMoreWished = false;
      if (list.get().cursor) guarded(readMore);
    }
  };
  const readMore = async () => {
    const page = await read(PAGE, list.get().cursor);
    const fresh = page.rows.filter((row) => !known.has(row.id));
    for (const row of fresh) known.set(row.id, row);
    return { rows: [...list.get().rows, ...fresh], cursor: page.cursor };
  };
  const more = () => guarded(readMore);
  // Look at the newest again: new ones come, changed ones change, those that left the filter leave.
  const refresh = () => guarded(async () => {
    const { rows, cursor } = list.get();
    const page = await read(Math.min(PAGE, Math.max(50, rows.length)), "");
    const merged = mergedRows(rows, page);
    known.clear();
    for (const row of merged) known.set(row.id, row);
    return { rows: merged, cursor: merged.length > page.rows.length ? cursor : page.cursor };
  });
  // News of sagas, by id; true when one of them is new to this list.
  const note = (changes) => {
    const { rows } = list.get();
    const next = rows.map((row) => (changes.has(row.id) ? { ...row, ...changes.get(row.id) } : row));
    const kept = next.filter((row) => !row.isGone && (!filters.status || row.status === filters.status));
    for (const row of next) known.set(row.id, row);
    if (kept.some((row, at) => row !== rows[at]) || kept.length !== rows.length) list.set({ rows: kept });
    const fits = (one) => !one.isGone && (!filters.status || one.status === filters.status) && (!filters.name || one.name === filters.name);
    return [...changes].some(([id, one]) => fits(one) && !known.has(id));
  };
  return { list, more, refresh, note, end: () => aborter.abort() };
}

export function mergedRows(rows, page) {
  const seen = new Set(page.rows.map((row) => row.id));
  const oldest = page.rows.at(-1);
  if (!oldest || !page.cursor) return page.rows; // that was all of it
  const at = rows.findIndex((row) => row.id === oldest.id);
  const older = at >= 0 ? rows.slice(at + 1) : rows.filter((row) => row.createdAt < oldest.createdAt);
  return [...page.rows, ...older.filter((row) => !seen.has(row.id))];
}
