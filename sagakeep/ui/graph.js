// Graph: a saga's steps from left to right, and below them the way back, from right to left.

import { plural } from "./format.js";
import { html, useMemo } from "./html.js";
import { layoutOf } from "./layout.js";
import { Glyph, statusName, toneOf } from "./parts.js";

const [NODE_WIDTH, NODE_HEIGHT, UNDO_HEIGHT] = [166, 60, 40];
const [GAP_X, GAP_Y, LANE_GAP, EDGE] = [38, 14, 40, 6];

// How the way forward of a step stands, when its undo has begun: as it was when the saga turned.
function forwardStatus(step) {
  const isBack = ["compensating", "compensated", "compensation_failed"].includes(step.status);
  if (!isBack) return step.status ?? "pending";
  return step.outcome === "done" ? "completed" : "failed";
}

// How the undo of a step stands: its status, "planned" as the nth, or "" when nothing is to be undone.
function undoStatus(step, plan) {
  if (["compensating", "compensated", "compensation_failed"].includes(step.status)) return step.status;
  return plan?.has(step.id) ? "planned" : "";
}

// `undo` is the plan of an explanation; `selected` the id of a step, `onSelect` takes one.
export function Graph({ steps, undo, selected, onSelect, label }) {
  const shape = steps.map((step) => `${step.id}<${step.dependsOn ?? ""}`).join();
  const layout = useMemo(() => layoutOf(steps), [shape]);
  const stages = useMemo(() => new Map((undo?.calls ?? []).map((call) => [call.stepID, call.stage])), [undo]);
  const hasLane = steps.some((step) => step.compensation);
  const laneTop = layout.rows * (NODE_HEIGHT + GAP_Y) - GAP_Y + LANE_GAP;
  const height = (hasLane ? laneTop + layout.rows * (UNDO_HEIGHT + GAP_Y) - GAP_Y : laneTop - LANE_GAP) + 2 * EDGE;
  const width = layout.columns * (NODE_WIDTH + GAP_X) - GAP_X + 2 * EDGE;
  const left = (id) => EDGE + layout.places.get(id).column * (NODE_WIDTH + GAP_X);
  const top = (id) => EDGE + layout.places.get(id).row * (NODE_HEIGHT + GAP_Y);
  const undoTop = (id) => EDGE + laneTop + layout.places.get(id).row * (UNDO_HEIGHT + GAP_Y);
  const middle = ({ row }) => EDGE + row * (NODE_HEIGHT + GAP_Y) + NODE_HEIGHT / 2;
  const undoMiddle = ({ row }) => EDGE + laneTop + row * (UNDO_HEIGHT + GAP_Y) + UNDO_HEIGHT / 2;
  const byId = new Map(steps.map((step) => [step.id, step]));
  return html`<div class="graph" role="group" aria-label=${label} tabindex="0">
    <div class="graph-canvas" style=${{ width: `${width}px`, height: `${height}px` }}>
      <svg width=${width} height=${height} aria-hidden="true">
        <defs>${["idle", "ok", "undo"].map((tone) => html`<marker key=${tone} id="arrow-${tone}" class=${tone} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path d="M1 1 7 4 1 7" /></marker>`)}</defs>
        ${layout.edges.map(({ from, to, by }) => html`<${Line} key=${`${from}>${to}`} tone=${forwardStatus(byId.get(from)) === "completed" ? "ok" : "idle"}
          path=${wayOf([[left(from) + NODE_WIDTH, middle(layout.places.get(from))], ...through(by, middle), [left(to) - 2, middle(layout.places.get(to))]])} />`)}
        ${hasLane && html`<line class="lane" x1="0" x2=${width} y1=${EDGE + laneTop - LANE_GAP / 2 + 2} y2=${EDGE + laneTop - LANE_GAP / 2 + 2} />`}
        ${hasLane && layout.edges.filter(({ from, to }) => byId.get(from).compensation && byId.get(to).compensation).map(({ from, to, by }) => html`<${Line} key=${`${to}>${from}`} isBack=${true} tone=${undoStatus(byId.get(to), stages) || undoStatus(byId.get(from), stages) ? "undo" : "idle"}
          path=${wayOf([[left(to), undoMiddle(layout.places.get(to))], ...through(by, undoMiddle).toReversed(), [left(from) + NODE_WIDTH + 2, undoMiddle(layout.places.get(from))]])} />`)}
      </svg>
      ${hasLane && html`<span class="lane-name" style=${{ top: `${EDGE + laneTop - LANE_GAP / 2 - 7}px` }}>the way back</span>`}
      ${steps.map((step) => html`<${Node} key=${step.id} step=${step} x=${left(step.id)} y=${top(step.id)} isSelected=${selected === step.id} onSelect=${onSelect} />`)}
      ${hasLane && steps.map((step) => html`<${Undo} key=${`undo ${step.id}`} step=${step} status=${undoStatus(step, stages)} stage=${stages.get(step.id)} x=${left(step.id)} y=${undoTop(step.id)} />`)}
    </div>
  </div>`;
}

// The points at which a line enters and leaves the columns that it passes.
function through(by, middleOf) {
  return by.flatMap((place) => {
    const x = EDGE + place.column * (NODE_WIDTH + GAP_X);
    return [[x, middleOf(place)], [x + NODE_WIDTH, middleOf(place)]];
  });
}

// A smooth line through points: level at each of them.
function wayOf(points) {
  const [[x, y], ...rest] = points;
  let [lastX, lastY, path] = [x, y, `M${x} ${y}`];
  for (const [nextX, nextY] of rest) {
    const half = (lastX + nextX) / 2;
    path += `C${half} ${lastY} ${half} ${nextY} ${nextX} ${nextY}`;
    [lastX, lastY] = [nextX, nextY];
  }
  return path;
}

const Line = ({ path, tone, isBack = false }) => html`<path class="edge ${isBack ? "back" : ""} ${tone}" d=${path} marker-end="url(#arrow-${tone})" />`;

const KINDS = { pivot: "point of no return", retriable: "retried until done", readOnly: "reads only" };

function Node({ step, x, y, isSelected, onSelect }) {
  const status = forwardStatus(step);
  const isInDoubt = step.outcome === "unknown";
  const retries = step.retryCount && !["compensating", "compensated", "compensation_failed"].includes(step.status) ? plural(step.retryCount, "retry", "retries") : "";
  const notes = [KINDS[step.kind], retries, isInDoubt && "in doubt", step.isSkipped && "skipped", step.isEdited && "edited"].filter(Boolean).join(" · ");
  const place = { left: `${x}px`, top: `${y}px`, width: `${NODE_WIDTH}px`, height: `${NODE_HEIGHT}px` };
  return html`<button class="node ${toneOf(status)} ${step.kind === "pivot" ? "pivot" : ""}" style=${place} aria-pressed=${isSelected} onClick=${() => onSelect?.(step.id)}
      title="${step.id}: ${step.service}.${step.action}${step.error ? `\n${step.error}` : ""}">
    <span class="node-name"><${Glyph} of=${status} />${step.id}</span>
    <span class="node-call mono">${step.service}.${step.action}</span>
    <span class="node-note">${isInDoubt ? "" : statusName(status)}${notes && !isInDoubt ? ` · ${notes}` : notes}</span>
  </button>`;
}

function Undo({ step, status, stage, x, y }) {
  const place = { left: `${x}px`, top: `${y}px`, width: `${NODE_WIDTH}px`, height: `${UNDO_HEIGHT}px` };
  if (!step.compensation) return html`<div class="back-node none" style=${place}><span class="node-note">${step.kind === "readOnly" ? "nothing to undo" : "no undo"}</span></div>`;
  const words = { "": "not called for", planned: `would be call ${stage} back` }[status] ?? statusName(status);
  return html`<div class="back-node ${status ? (status === "planned" ? "planned" : toneOf(status)) : "idle"}" style=${place} title="${step.service}.${step.compensation}${step.error && status === "compensation_failed" ? `\n${step.error}` : ""}">
    <span class="node-call mono">${step.service}.${step.compensation}</span>
    <span class="node-note">${status && status !== "planned" && html`<${Glyph} of=${status} size=${13} />`}${words}</span>
  </div>`;
}
