// Gantt: the attempts of a saga's calls over time. Long waits in which nothing is in flight are cut short, and said.

import { duration } from "./format.js";
import { html, useMemo } from "./html.js";
import { Empty, useNow } from "./parts.js";

const BEGINS = { step_started: "action", compensation_started: "undo" };
const ENDS = {
  ...{ step_completed: ["action", "ok"], step_retry: ["action", "wait"], step_failed: ["action", "bad"] },
  ...{ step_compensated: ["undo", "ok"], compensation_retry: ["undo", "wait"], compensation_failed: ["undo", "bad"] },
  compensation_exhausted: ["undo", "bad"],
};
const LEGEND = [["ok", "done"], ["wait", "tried again later"], ["bad", "failed for good"], ["run", "in flight"]];
const GAP_SHARE = 0.04; // of the width, for a wait that is cut short

// One bar for each attempt: {stepID, phase, attempt, fromMs, toMs, tone, error}; toMs is 0 while it is in flight.
export function attemptsOf(events) {
  const [bars, open] = [[], new Map()];
  for (const event of events) {
    const atMs = Date.parse(event.timestamp);
    const phase = BEGINS[event.type];
    if (phase) {
      const bar = { stepID: event.stepID, phase, attempt: event.payload.attempt, fromMs: atMs, toMs: 0, tone: "run", error: "" };
      open.set(`${phase} ${event.stepID}`, bar);
      bars.push(bar);
    }
    const [ended, tone] = ENDS[event.type] ?? [];
    const bar = open.get(`${ended} ${event.stepID}`);
    if (bar) {
      Object.assign(bar, { toMs: atMs, tone, error: event.error });
      open.delete(`${ended} ${event.stepID}`);
    }
  }
  return bars;
}

// From time to a share of the width: stretches in which something is in flight are to scale, long waits are not.
export function scaleOf(bars, endMs) {
  const busy = merged(bars.map((bar) => [bar.fromMs, bar.toMs || endMs]));
  if (!busy.length) return { at: () => 0, cuts: [] };
  const pieces = [];
  busy.forEach(([fromMs, toMs], index) => {
    if (index) pieces.push({ fromMs: busy[index - 1][1], toMs: fromMs, isWait: true });
    pieces.push({ fromMs, toMs, isWait: false });
  });
  const busyMs = Math.max(1, busy.reduce((sum, [fromMs, toMs]) => sum + toMs - fromMs, 0));
  const width = (piece) => (piece.isWait && piece.toMs - piece.fromMs > busyMs * 0.3 ? null : piece.toMs - piece.fromMs);
  const cutCount = pieces.filter((piece) => width(piece) === null).length;
  const scaledMs = Math.max(1, pieces.reduce((sum, piece) => sum + (width(piece) ?? 0), 0));
  const perCut = Math.min(GAP_SHARE, 0.4 / Math.max(1, cutCount));
  let x = 0;
  for (const piece of pieces) {
    piece.x = x;
    piece.isCut = width(piece) === null;
    piece.width = piece.isCut ? perCut : (width(piece) / scaledMs) * (1 - cutCount * perCut);
    x += piece.width;
  }
  const at = (timeMs) => {
    const piece = pieces.find((one) => timeMs <= one.toMs) ?? pieces.at(-1);
    const share = piece.toMs > piece.fromMs ? (timeMs - piece.fromMs) / (piece.toMs - piece.fromMs) : 0;
    return piece.x + Math.max(0, Math.min(1, share)) * piece.width;
  };
  return { at, cuts: pieces.filter((piece) => piece.isCut) };
}

function merged(spans) {
  const found = [];
  for (const [fromMs, toMs] of spans.toSorted((a, b) => a[0] - b[0])) {
    const last = found.at(-1);
    if (last && fromMs <= last[1]) last[1] = Math.max(last[1], toMs);
    else found.push([fromMs, toMs]);
  }
  return found;
}

export function Gantt({ steps, events, isOver }) {
  const nowMs = useNow();
  const bars = useMemo(() => attemptsOf(events), [events]);
  if (!bars.length) return html`<${Empty} title="No call has been made yet" />`;
  const lastMs = Math.max(...events.map((event) => Date.parse(event.timestamp)));
  const endMs = isOver || !bars.some((bar) => !bar.toMs) ? lastMs : Math.max(lastMs, nowMs);
  const scale = scaleOf(bars, endMs);
  const lanes = steps.flatMap((step) => ["action", "undo"].map((phase) => ({ step, phase, bars: bars.filter((bar) => bar.stepID === step.id && bar.phase === phase) }))).filter((lane) => lane.bars.length);
  const tones = new Set(bars.map((bar) => bar.tone));
  const total = (endMs - bars[0].fromMs) / 1000;
  return html`<div class="gantt" role="img" aria-label="Timeline of ${bars.length} attempts over ${duration(total)}; the events say the same">
    ${lanes.map(({ step, phase, bars: own }) => html`<div class="gantt-lane" key=${`${step.id} ${phase}`}>
      <span class="gantt-name ${phase}"><b>${step.id}</b> <span class="mono">${phase === "undo" ? `↩ ${step.compensation}` : step.action}</span></span>
      <span class="gantt-track">
        ${scale.cuts.map((cut) => html`<s key=${cut.fromMs} style=${{ left: `${100 * cut.x}%`, width: `${100 * cut.width}%` }}></s>`)}
        ${own.map((bar) => html`<${Bar} key=${`${bar.fromMs} ${bar.attempt}`} bar=${bar} scale=${scale} endMs=${endMs} />`)}
      </span>
    </div>`)}
    <div class="gantt-lane gantt-axis"><span class="gantt-name faint">${duration(total)} in all</span>
      <span class="gantt-track"><span class="num">0</span>
        ${scale.cuts.map((cut) => html`<em class="num" key=${cut.fromMs} style=${{ left: `${100 * (cut.x + cut.width / 2)}%` }}>${duration((cut.toMs - cut.fromMs) / 1000)}</em>`)}
      </span></div>
    <p class="legend">${LEGEND.filter(([tone]) => tones.has(tone)).map(([tone, name]) => html`<span key=${tone} class=${tone}><i></i>${name}</span>`)}${bars.some((bar) => bar.phase === "undo") && html`<span class="undo"><i class="outline"></i>an undo</span>`}${scale.cuts.length > 0 && html`<span><i class="cut"></i>a wait, cut short</span>`}</p>
  </div>`;
}

function Bar({ bar, scale, endMs }) {
  const toMs = bar.toMs || endMs;
  const left = scale.at(bar.fromMs);
  const took = duration((toMs - bar.fromMs) / 1000);
  const title = `${bar.phase === "undo" ? "undo of " : ""}${bar.stepID}, attempt ${bar.attempt}: ${bar.toMs ? took : `in flight for ${took}`}${bar.error ? `\n${bar.error}` : ""}`;
  return html`<i class="bar ${bar.tone} ${bar.phase}" title=${title} style=${{ left: `${100 * left}%`, width: `max(4px, ${100 * (scale.at(toMs) - left)}%)` }}></i>`;
}
