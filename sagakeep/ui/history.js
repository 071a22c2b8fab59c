// History: the events of a saga, each with its sentence; what is behind it opens below.

import { plural } from "./format.js";
import { html, useState } from "./html.js";
import { Clock, Empty, Glyph, Json } from "./parts.js";

const toneOf = { success: "success", retry: "retry", error: "error", info: "info" };

// `story` are the sentences of an explanation by seq; events after `at` are told, but have not happened yet.
export function History({ events, story, at, onPick, hasMore, onMore }) {
  const [open, setOpen] = useState(new Set());
  const toggle = (seq) => setOpen((old) => {
    const next = new Set(old);
    if (!next.delete(seq)) next.add(seq);
    return next;
  });
  if (!events.length) return html`<${Empty} title="No events yet" />`;
  return html`<div class="scroll-x" tabindex="0" role="region" aria-label="Events"><table class="history">
    <thead><tr><th class="right">#</th><th>Time</th><th class="right since">After</th><th>What happened</th><th><span class="hidden">More</span></th></tr></thead>
    <tbody>${events.map((event, index) => html`<${Row} key=${event.seq} event=${event} before=${events[index - 1]} told=${story.get(event.seq)}
      isLater=${at !== null && event.seq > at} isHere=${at === event.seq} isOpen=${open.has(event.seq)} onToggle=${() => toggle(event.seq)} onPick=${onPick} />`)}</tbody>
  </table></div>
  ${hasMore && html`<p class="more"><button onClick=${onMore}>Read on</button></p>`}`;
}

function Row({ event, before, told, isLater, isHere, isOpen, onToggle, onPick }) {
  const sincePrevious = before ? (Date.parse(event.timestamp) - Date.parse(before.timestamp)) / 1000 : 0;
  return html`<tr class="${isLater ? "later" : ""} ${isHere ? "here" : ""}" aria-current=${isHere ? "step" : null}>
      <td class="right"><button class="link num" onClick=${() => onPick(event.seq)} aria-label="Show the saga as it was after event ${event.seq}" title="Show the saga as it was then">${event.seq}</button></td>
      <td class="nowrap"><${Clock} at=${event.timestamp} /></td><td class="right since num">${sincePrevious >= 0.0005 && short(sincePrevious)}</td>
      <td class="what"><${Glyph} of=${toneOf[event.status] ?? "info"} /><span>${told?.text ?? `${event.type.replaceAll("_", " ")}${event.stepID ? `: ${event.stepID}` : ""}${event.error ? ` (${event.error})` : ""}`}</span></td>
      <td class="right"><button class="quiet small" aria-expanded=${isOpen} aria-label="Details of event ${event.seq}" onClick=${onToggle}>${isOpen ? "Less" : "More"}</button></td>
    </tr>
    ${isOpen && html`<tr class="detail"><td></td><td colspan="4">
      ${told?.because && html`<p>Taken for <b>${told.outcome?.replaceAll("_", " ")}</b>: ${told.because}.</p>`}
      <p class="faint"><code>${event.type}</code>${event.stepID && html` of step <code>${event.stepID}</code>`}</p>
      <${Json} value=${event.payload} label="Payload of event ${event.seq}" />
    </td></tr>`}`;
}

const short = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : seconds < 100 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`);

// The scrubber: a saga as it was after any of its events.
export function Scrubber({ last, at, event, onAt }) {
  const value = at ?? last;
  return html`<div class="scrubber">
    <button class="small" aria-label="One event back" disabled=${value <= 1} onClick=${() => onAt(value - 1)}>‹</button>
    <input type="range" min="1" max=${Math.max(1, last)} value=${value} aria-label="The saga as it was after event" aria-valuetext="event ${value} of ${last}${event ? `, ${event.type.replaceAll("_", " ")}` : ""}"
      onInput=${(change) => onAt(Number(change.target.value) >= last ? null : Number(change.target.value))} />
    <button class="small" aria-label="One event on" disabled=${value >= last} onClick=${() => onAt(value + 1 >= last ? null : value + 1)}>›</button>
    <span class="scrubber-at num">${at === null ? plural(last, "event") : html`${value} of ${last}`}</span>
    ${at !== null && html`<button class="small primary" onClick=${() => onAt(null)}>Now</button>`}
  </div>`;
}
