// Plan: what an undo would call, in order, and what it would leave.

import { sentence } from "./format.js";
import { html } from "./html.js";
import { Code, Empty, Glyph, Status } from "./parts.js";

export function UndoPlan({ undo }) {
  if (undo.refusal && !undo.calls.length) return html`<${Empty} title="Nothing would be undone"><p>${sentence(undo.refusal)}.</p><//>`;
  return html`<div class="pad">
    ${undo.unlessDone && html`<p class="note"><${Glyph} of="info" />Unless step ${undo.unlessDone}, the point of no return, turns out to be done: then nothing is undone.</p>`}
    ${undo.settlesFirst.length > 0 && html`<p>Attempts in flight end first: ${undo.settlesFirst.join(", ")}.</p>`}
    ${undo.calls.length === 0 ? html`<p class="faint">No service would be called.</p>` : html`<ol class="plan">${undo.calls.map((call) => html`<li key=${call.stepID} value=${call.stage}>
      <p><b class="mono">${call.service}.${call.action}</b> <span class="faint">undoes ${call.stepID}${call.onlyIfHappened ? ", if that turns out to have happened" : ""}</span></p>
      ${call.payloadKnown ? html`<details><summary>Payload and key</summary><${Code} label="Call that undoes ${call.stepID}" text=${`Idempotency-Key: ${call.key}\n${JSON.stringify(call.payload, null, 2)}`} /></details>` : html`<p class="faint">Its payload refers to results that are not there yet.</p>`}
    </li>`)}</ol>`}
    ${undo.remains.length > 0 && html`<h3>What stays</h3><ul class="plain">${undo.remains.map((one) => html`<li key=${one.stepID}><b>${one.stepID}</b> <span class="faint">${one.why}</span></li>`)}</ul>`}
    ${undo.endsAs && html`<p>Then it is <${Status} of=${undo.endsAs} />.</p>`}
    ${undo.stopsAt && html`<p class="note"><${Glyph} of="warning" />It stops at ${undo.stopsAt}.</p>`}
  </div>`;
}
