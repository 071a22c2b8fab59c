// Rates: what a counter did in the last minutes, kept by the browser; the server keeps none of it.

import { ask, Problem, session } from "./api.js";
import { store } from "./store.js";

const EVERY_MS = 2000;
export const POINTS_MAX = 150; // five minutes

// `points` are {atMs, begun, completed, undone, services: {name: attempts}}; the newest last.
export const rates = store({ points: [], stats: null, services: null, problem: null });

export function keepRates() {
  let timer = 0;
  const look = async () => {
    clearTimeout(timer);
    if (!document.hidden && session.get().who) await sample();
    timer = setTimeout(look, EVERY_MS);
  };
  session.hear(({ who }) => who && !rates.get().stats && look());
  look();
}

async function sample() {
  try {
    const [stats, services] = await Promise.all([ask("/api/sagas/stats"), ask("/api/services")]);
    rates.set((old) => ({ points: withPoint(old.points, stats.body, services.body.services), stats: stats.body, services: services.body.services, problem: null }));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    rates.set({ problem });
  }
}

function withPoint(points, stats, services) {
  const point = {
    atMs: Date.now(),
    begun: stats.totalSagas,
    completed: stats.byStatus.completed,
    undone: stats.byStatus.compensated,
    services: Object.fromEntries(services.map((one) => [one.name, one.attempts])),
  };
  const last = points.at(-1);
  const isGap = last && point.atMs - last.atMs > 5 * EVERY_MS;
  return [...(isGap ? [] : points), point].slice(-POINTS_MAX - 1);
}

// How much a counter grew in each second, point by point; one that was set back (a restart, a deletion) grew by nothing.
export function perSecond(points, read) {
  const found = [];
  for (let at = 1; at < points.length; at += 1) {
    const grown = (read(points[at]) ?? 0) - (read(points[at - 1]) ?? 0);
    found.push(Math.max(0, grown) / Math.max(0.001, (points[at].atMs - points[at - 1].atMs) / 1000));
  }
  return smooth(found);
}

// Over three points: a glance is for the trend.
function smooth(values) {
  return values.map((_, at) => {
    const near = values.slice(Math.max(0, at - 2), at + 1);
    return near.reduce((sum, value) => sum + value, 0) / near.length;
  });
}
