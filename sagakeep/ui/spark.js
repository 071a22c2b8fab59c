// Spark: a small chart of what happened in the last minutes, drawn as SVG.

import { html } from "./html.js";

const [WIDTH, HEIGHT] = [300, 64];

// `lines` are {name, tone, values}, all of one length, the newest value last. The scale is common, and said.
export function Spark({ lines, format, label, height = HEIGHT, slots = 0 }) {
  const length = Math.max(slots, ...lines.map((line) => line.values.length));
  const most = Math.max(0, ...lines.flatMap((line) => line.values));
  const top = niceAbove(most);
  const told = lines.map((line) => `${line.name} ${format(line.values.at(-1) ?? 0)}`).join(", ");
  return html`<figure class="spark">
    <svg viewBox="0 0 ${WIDTH} ${height}" preserveAspectRatio="none" role="img" aria-label="${label}: now ${told}; at most ${format(most)}">
      <line class="grid" x1="0" x2=${WIDTH} y1="0.5" y2="0.5" /><line class="grid" x1="0" x2=${WIDTH} y1=${height / 2} y2=${height / 2} />
      <line class="base" x1="0" x2=${WIDTH} y1=${height - 0.5} y2=${height - 0.5} />
      ${lines.map((line) => html`<${Line} key=${line.name} line=${line} length=${length} top=${top} height=${height} />`)}
    </svg>
    <span class="spark-top num" aria-hidden="true">${format(top)}</span>
  </figure>`;
}

function Line({ line, length, top, height }) {
  const { values, tone } = line;
  if (values.length < 2) return null;
  const step = WIDTH / Math.max(1, length - 1);
  const x = (at) => WIDTH - (values.length - 1 - at) * step;
  const y = (value) => height - 1 - (value / top) * (height - 3);
  const points = values.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  return html`<g class=${tone}>
    <polygon points="${x(0).toFixed(1)},${height} ${points} ${WIDTH},${height}" />
    <polyline points=${points} vector-effect="non-scaling-stroke" />
  </g>`;
}

// The next of 1, 2, 5, 10, 20, 50 ... that is not below.
export function niceAbove(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const factor = [1, 2, 5, 10].find((one) => one * power >= value * 0.999);
  return factor * power;
}

export function Legend({ lines, format }) {
  return html`<ul class="legend">
    ${lines.map((line) => html`<li key=${line.name} class=${line.tone}><i aria-hidden="true"></i>${line.name} <b class="num">${format(line.values.at(-1) ?? 0)}</b></li>`)}
  </ul>`;
}
