// Analytics: what the newest sagas have in common. How they end, which calls are slow, and what fails where.

import { useAsk } from "../api.js";
import { count, duration, percent, plural, words } from "../format.js";
import { html } from "../html.js";
import { Answer, Empty, Panel, useTitle } from "../parts.js";
import { changeQuery, listHref, useRoute } from "../route.js";

const SINCE = { "1h": [3600, "last hour"], "24h": [86400, "last day"], "7d": [7 * 86400, "last 7 days"], "30d": [30 * 86400, "last 30 days"] };
const MINUTE_MS = 60000;

export function Analytics() {
  useTitle("Analytics");
  const { query } = useRoute();
  const [name, since] = [query.get("name") ?? "", query.get("since") ?? ""];
  const asked = new URLSearchParams();
  if (name) asked.set("name", name);
  if (SINCE[since]) asked.set("since", new Date(Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - SINCE[since][0] * 1000).toISOString());
  const found = useAsk(`/api/analytics${asked.size ? `?${asked}` : ""}`, { every: 15000 });
  const change = (field) => (event) => changeQuery({ [field]: event.target.value });
  return html`<header class="page-head"><h1>Analytics</h1>${found.body && html`<p class="faint num">${found.body.isWhole ? `all ${plural(found.body.sagas, "saga")} of these` : `the newest ${plural(found.body.sagas, "saga")} of these`}</p>`}</header>
    <form class="filters" onSubmit=${(event) => event.preventDefault()}>
      <label><span>Name</span><input key=${name} defaultValue=${name} placeholder="any" onChange=${change("name")} spellcheck=${false} /></label>
      <label><span>Created</span><select value=${since} onChange=${change("since")}><option value="">any time</option>${Object.entries(SINCE).map(([one, [, text]]) => html`<option key=${one} value=${one}>${text}</option>`)}</select></label>
    </form>
    <${Answer} of=${found} what="What sagas have in common could not be read">${(said) => said.sagas === 0
      ? html`<${Panel}><${Empty} title="No saga is like that"><p class="faint">Wait for some, or ask for others above.</p><//><//>`
      : html`<div class="stack"><${Names} of=${said} /><${Steps} of=${said} /><${Failures} of=${said} /></div>`}<//>`;
}

const time = (seconds) => (seconds === null ? html`<span class="faint">–</span>` : duration(seconds));
const more = (number) => number > 0 && `${count(number)} more are left out`;

function Names({ of }) {
  return html`<${Panel} title="How they end" aside=${more(of.leftOut.names)} flush=${true}>
    <div class="scroll-x" tabindex="0" role="region" aria-label="How sagas end, by name"><table><thead><tr><th>Name</th><th class="right">Sagas</th><th>Of those that stand still</th><th class="right">Undone</th><th class="right">Half take</th><th class="right">9 of 10</th><th class="right">99 of 100</th></tr></thead>
    <tbody>${of.names.map((one) => html`<tr key=${one.name}><td><a href=${listHref({ name: one.name })}>${one.name}</a></td><td class="right">${count(one.sagas)}</td><td><${Shares} of=${one} /></td>
      <td class="right">${one.undoRate === null ? "–" : percent(one.undoRate)}</td><td class="right nowrap">${time(one.durations.p50)}</td><td class="right nowrap">${time(one.durations.p90)}</td><td class="right nowrap">${time(one.durations.p99)}</td></tr>`)}</tbody></table></div>
  <//>`;
}

function Shares({ of }) {
  const parts = [["ok", "completed", of.completed], ["undo", "undone", of.compensated], ["bad", "wait for a person", of.held]].filter(([, , number]) => number);
  if (!parts.length) return html`<span class="faint">none does</span>`;
  const text = parts.map(([, what, number]) => `${count(number)} ${what}`).join(", ");
  return html`<span class="shares"><span class="shares-bar" aria-hidden="true">${parts.map(([tone, , number]) => html`<i key=${tone} class=${tone} style=${{ flexGrow: number }}></i>`)}</span><span class="faint">${text}</span></span>`;
}

function Steps({ of }) {
  const most = Math.max(...of.steps.map((one) => one.durations.p99 ?? 0), 0);
  return html`<${Panel} title="Slowest calls" aside=${more(of.leftOut.steps)} flush=${true}>
    ${of.steps.length === 0 ? html`<${Empty} title="No call has ended yet" />` : html`<div class="scroll-x" tabindex="0" role="region" aria-label="Slowest calls, as a table"><table><thead><tr><th>Step</th><th>Call</th><th class="right">Calls</th><th class="right">Attempts each</th><th class="right">Half take</th><th class="right">99 of 100</th><th><span class="hidden">Compared</span></th></tr></thead>
    <tbody>${of.steps.map((one) => html`<tr key=${`${one.name} ${one.stepID} ${one.phase}`}><td><b>${one.stepID}</b> <span class="faint">${one.name}</span></td><td class="mono ${one.phase === "compensation" ? "undo-text" : ""}">${one.phase === "compensation" ? "↩ " : ""}${one.service}.${one.action}</td>
      <td class="right">${count(one.calls)}</td><td class="right">${one.attemptsMean.toFixed(one.attemptsMean >= 9.95 ? 0 : 1)}</td><td class="right nowrap">${time(one.durations.p50)}</td><td class="right nowrap">${time(one.durations.p99)}</td>
      <td class="bar-cell"><span class="meter ${one.phase === "compensation" ? "undo" : "run"}" aria-hidden="true"><i style=${{ width: `${most ? (100 * (one.durations.p99 ?? 0)) / most : 0}%` }}></i></span></td></tr>`)}</tbody></table></div>`}
  <//>`;
}

// A row for each call, a column for each kind of error; the number says what the shade says.
function Failures({ of }) {
  if (!of.failures.length) return html`<${Panel} title="What fails" flush=${true}><${Empty} title="No call was given up" /><//>`;
  const keyOf = (one) => `${one.name}\n${one.stepID}\n${one.phase}`;
  const rows = [...new Map(of.failures.map((one) => [keyOf(one), one])).values()];
  const errors = [...new Set(of.failures.map((one) => one.error))];
  const counts = new Map(of.failures.map((one) => [`${keyOf(one)}\n${one.error}`, one.sagas]));
  const most = Math.max(...counts.values());
  return html`<${Panel} title="What fails" aside=${more(of.leftOut.failures) || "sagas that gave up a call, by what was answered"} flush=${true}>
    <div class="scroll-x" tabindex="0" role="region" aria-label="What fails, by step and error"><table class="heat"><thead><tr><th>Step</th>${errors.map((error) => html`<th key=${error} class="right">${words(error)}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${keyOf(row)}><th scope="row"><b>${row.phase === "compensation" ? "↩ " : ""}${row.stepID}</b> <span class="faint">${row.name}</span></th>
      ${errors.map((error) => {
        const number = counts.get(`${keyOf(row)}\n${error}`);
        const shade = number ? { backgroundColor: `color-mix(in srgb, var(--bad) ${Math.round(6 + 22 * (number / most))}%, transparent)` } : {};
        return html`<td key=${error} class="right" style=${shade}>${number ? count(number) : html`<span class="faint">·</span>`}</td>`;
      })}</tr>`)}</tbody></table></div>
  <//>`;
}
