// Overview: what a person should know now, then how many, how fast, and where.

import { session, useAsk } from "../api.js";
import { count, duration, percent, plural, rate, sentence, words } from "../format.js";
import { html, useMemo } from "../html.js";
import { Ago, Answer, Empty, Failure, Glyph, Meter, Panel, SagaLink, Status, statusName, toneOf, useTitle } from "../parts.js";
import { listHref, pageHref } from "../route.js";
import { perSecond, POINTS_MAX, rates } from "../rates.js";
import { Legend, Spark } from "../spark.js";
import { useStore } from "../store.js";

export const UNDER_WAY = ["created", "running", "retrying", "compensating"];
export const HELD = ["failed", "compensation_failed"];

export function Overview() {
  useTitle("Overview");
  const { stats, problem } = useStore(rates);
  const alerts = useAsk("/api/alerts", { every: 4000 });
  return html`
    <header class="page-head"><h1>Overview</h1><p class="faint">The last five minutes, as this page saw them</p></header>
    <${Failure} problem=${problem} what="What you see is old" />
    <${Alerts} alerts=${alerts.body?.alerts} problem=${alerts.problem} isCalm=${stats && HELD.every((status) => !stats.byStatus[status])} />
    ${stats && stats.totalSagas === 0 ? html`<${First} />` : html`<${Counts} stats=${stats} />`}
    <${Charts} />
    <div class="columns">
      <${ServicesPanel} />
      <${HeldPanel} stats=${stats} />
      <${LatestPanel} />
    </div>`;
}

export function Alerts({ alerts, problem, isCalm }) {
  if (!alerts) return html`<${Failure} problem=${problem} what="The alerts could not be read" />`;
  if (!alerts.length) return isCalm ? html`<p class="calm"><${Glyph} of="ok" />Nothing is wrong: no alert, and no saga waits for a person.</p>` : null;
  return html`<ul class="alerts" aria-label="Alerts">
    ${alerts.map((alert) => html`<li key=${alert.rule + alert.subject} class=${toneOf(alert.severity)}>
      <${Glyph} of=${alert.severity} size=${20} />
      <div>
        <p><strong>${sentence(alert.summary)}</strong> <span class="faint nowrap">${alert.severity}, since <${Ago} at=${alert.since} /></span></p>
        <p>${sentence(alert.advice)}</p>
        ${alert.sagas.length > 0 && html`<p class="alert-sagas">${alert.sagas.slice(0, 4).map((id) => html`<${SagaLink} key=${id} id=${id} />`)}${alert.count > 4 && html`<span class="faint">${plural(alert.count, "saga")} in all</span>`}</p>`}
      </div>
    </li>`)}
  </ul>`;
}

function First() {
  return html`<${Panel} title="No saga has been begun yet"><${Empty} title="Begin the first one">
    <p><a class="button primary" href=${pageHref("new")}>New saga</a></p>
    <p class="faint">Or post one: <code>curl ${location.origin}/api/sagas -H 'Content-Type: application/json' -d @order.json</code></p>
  <//><//>`;
}

const sum = (stats, statuses) => statuses.reduce((total, status) => total + stats.byStatus[status], 0);

function Counts({ stats }) {
  const groups = [
    { name: "Under way", of: UNDER_WAY, tone: "run" },
    { name: "Wait for a person", of: HELD, tone: "bad" },
    { name: "Completed", of: ["completed"], tone: "ok", note: stats && `${percent(stats.successRate)} of those that ended; ${duration(stats.averageDuration)} on average` },
    { name: "Undone", of: ["compensated"], tone: "undo", note: "everything that was done is undone", also: "abandoned" },
  ];
  return html`<ul class="counts">${groups.map(({ name, of, tone, note, also }) => {
    const total = stats ? sum(stats, of) : null;
    return html`<li key=${name} class="count ${total ? tone : "idle"}">
      <h2>${name}</h2>
      <p class="big num">${total === null ? "–" : of.length === 1 ? html`<a href=${listHref({ status: of[0] })}>${count(total)}</a>` : count(total)}</p>
      ${of.length > 1 && html`<p class="parts">${of.map((status) => html`<a key=${status} href=${listHref({ status })} class=${stats?.byStatus[status] ? "" : "none"}><${Glyph} of=${status} size=${14} />${statusName(status)} <b class="num">${stats ? count(stats.byStatus[status]) : "–"}</b></a>`)}</p>`}
      ${note && html`<p class="faint">${note}</p>`}
      ${also && stats?.byStatus[also] > 0 && html`<p class="parts"><a href=${listHref({ status: also })}><${Glyph} of=${also} size=${14} />${statusName(also)} <b class="num">${count(stats.byStatus[also])}</b></a></p>`}
    </li>`;
  })}</ul>`;
}

function Charts() {
  const { points, services } = useStore(rates);
  const lines = useMemo(() => ({
    begun: [{ name: "begun", tone: "run", values: perSecond(points, (one) => one.begun) }],
    ended: [
      { name: "completed", tone: "ok", values: perSecond(points, (one) => one.completed) },
      { name: "undone", tone: "undo", values: perSecond(points, (one) => one.undone) },
    ],
    attempts: [{ name: "attempts", tone: "wait", values: perSecond(points, (one) => Object.values(one.services).reduce((total, value) => total + value, 0)) }],
  }), [points]);
  return html`<div class="charts">
    <${Chart} title="Begun each second" lines=${lines.begun} />
    <${Chart} title="Ended each second" lines=${lines.ended} />
    <${Chart} title="Calls each second" lines=${lines.attempts} note=${services && plural(services.length, "service")} />
  </div>`;
}

function Chart({ title, lines, note }) {
  return html`<section class="panel chart" aria-label=${title}><header><h2>${title}</h2>${note && html`<div class="aside">${note}</div>`}</header>
    <${Spark} lines=${lines} format=${rate} label=${title} slots=${POINTS_MAX} />
    <${Legend} lines=${lines} format=${rate} />
  </section>`;
}

function ServicesPanel() {
  const { services } = useStore(rates);
  return html`<${Panel} title="Services" aside=${html`<a href=${pageHref("services")}>All about them</a>`} flush=${true}>
    ${!services ? null : services.length === 0
      ? html`<${Empty} title="No service is configured"><p>Every saga is refused. Name one in the configuration, or start with <code>--demo</code>.</p><//>`
      : html`<table><thead><tr><th>Service</th><th>Breaker</th><th class="right">In flight</th><th class="right">Waiting</th></tr></thead>
        <tbody>${services.map((one) => html`<tr key=${one.name}><td><b>${one.name}</b></td><td><${Status} of=${one.paused ? "paused" : one.breaker.state} /></td>
          <td class="right num nowrap">${count(one.inFlight)} <${Meter} value=${one.inFlight} max=${Math.min(one.maxConcurrency, 256)} /></td><td class="right num">${count(one.queued)}</td></tr>`)}</tbody></table>`}
  <//>`;
}

function HeldPanel({ stats }) {
  const total = stats ? sum(stats, HELD) : 0;
  const undoFailed = useAsk(stats?.byStatus.compensation_failed ? "/api/sagas?status=compensation_failed&limit=6" : "", { every: 5000 });
  const failed = useAsk(stats?.byStatus.failed ? "/api/sagas?status=failed&limit=6" : "", { every: 5000 });
  const sagas = [...(undoFailed.body?.sagas ?? []), ...(failed.body?.sagas ?? [])].slice(0, 6);
  return html`<${Panel} title="Wait for a person" aside=${total > 0 && html`<a href=${listHref({ status: stats.byStatus.compensation_failed ? "compensation_failed" : "failed" })}>${count(total)} in all</a>`} flush=${true}>
    ${total === 0 ? html`<${Empty} title="None does" />` : html`<ul class="lines">${sagas.map((saga) => html`<li key=${saga.id}>
      <p><${Status} of=${saga.status} /> <${SagaLink} id=${saga.id} /></p><p class="faint clip" title=${saga.error}>${saga.error}</p></li>`)}</ul>`}
  <//>`;
}

function LatestPanel() {
  const latest = useAsk("/api/sagas?limit=8", { every: 3000 });
  return html`<${Panel} title="Latest sagas" aside=${html`<a href=${pageHref("sagas")}>List</a>`} flush=${true}>
    <${Answer} of=${latest} what="The latest sagas could not be read">${({ sagas }) => sagas.length === 0 ? html`<${Empty} title="None yet" />` : html`<ul class="lines">${sagas.map((saga) => html`<li key=${saga.id}>
      <p><${Status} of=${saga.status} /> <${SagaLink} id=${saga.id} /> <span class="faint nowrap end"><${Ago} at=${saga.createdAt} /></span></p></li>`)}</ul>`}<//>
  <//>`;
}
