// Services: how each stands, what it is asked, and what waits for it.

import { ask, session, useAsk, whyReadOnly } from "../api.js";
import { count, duration, plural, rate, sentence, words } from "../format.js";
import { html, useState } from "../html.js";
import { ActorInput, curlOf } from "../moves.js";
import { Ago, Answer, Code, Dialog, Empty, Facts, Failure, Meter, Panel, say, Status, useDoing, useTitle } from "../parts.js";
import { prefs } from "../prefs.js";
import { perSecond, POINTS_MAX, rates } from "../rates.js";
import { Spark } from "../spark.js";
import { useStore } from "../store.js";

// What the server can do with a service is asked of its own description; each verb is shown when it is there.
const VERBS = [
  ["pause", "No new call begins; those in flight end. What waits, waits, and uses up no retries.", (service) => !pausedOf(service)],
  ["resume", "Calls begin again.", (service) => Boolean(pausedOf(service))],
  ["retry", "Every saga that waits for its next attempt at this service, or whose undo failed there, is let go on now.", () => true],
];
const pausedOf = (service) => service.paused ?? null;

export function Services() {
  useTitle("Services");
  const services = useAsk("/api/services", { every: 2000 });
  return html`<header class="page-head"><h1>Services</h1></header>
    <${Answer} of=${services} what="The services could not be read">${({ services: all }) => all.length === 0
      ? html`<${Empty} title="No service is configured"><p>Every saga is refused. Name services in the configuration, or start with <code>--demo</code>.</p><//>`
      : html`<div class="cards">${all.map((one) => html`<${Service} key=${one.name} service=${one} again=${services.again} />`)}</div>`}<//>`;
}

function Service({ service, again }) {
  const { points } = useStore(rates);
  const { operations } = useStore(session);
  const [verb, setVerb] = useState(null);
  const refusal = whyReadOnly(useStore(session));
  const paused = pausedOf(service);
  const { breaker } = service;
  const lines = [{ name: "calls", tone: "run", values: perSecond(points, (one) => one.services[service.name]) }];
  const verbs = VERBS.filter(([name, , fits]) => operations?.has(`PUT /api/services/{name}/${name}`) && fits(service));
  return html`<${Panel} title=${service.name} aside=${html`<${Status} of=${paused ? "paused" : breaker.state} chip=${true} />`}>
    ${paused && html`<p class="note">Paused${paused.by ? ` by ${paused.by}` : ""}${paused.reason ? `: ${paused.reason}` : ""}${paused.since ? html`, <${Ago} at=${paused.since} />` : ""}. No new call begins.</p>`}
    ${breaker.state === "open" && html`<p class="bad">It counts as down since <${Ago} at=${breaker.since} />: ${plural(breaker.failures, "failure")} in a row. One call at a time asks whether it is back.</p>`}
    <div class="spark-head"><b class="num">${rate(lines[0].values.at(-1) ?? 0)}</b> calls each second</div>
    <${Spark} lines=${lines} format=${rate} label="Calls of ${service.name} each second" height=${44} slots=${POINTS_MAX} />
    <div class="meters">
      <p><span>In flight</span><b class="num">${count(service.inFlight)} <span class="faint">of ${count(service.maxConcurrency)}</span></b><${Meter} value=${service.inFlight} max=${service.maxConcurrency} /></p>
      <p><span>Waiting</span><b class="num">${count(service.queued)} <span class="faint">of ${count(service.maxQueue)}</span></b><${Meter} value=${service.queued} max=${service.maxQueue} tone="wait" /></p>
    </div>
    <${Facts} of=${[
      ["Attempts", html`<span class="num">${count(service.attempts)}</span>`],
      ["Breaker since", html`<${Ago} at=${breaker.since} />`],
      ["Failures in a row", breaker.failures || ""],
      ["Rate limit", service.rateLimit && `${service.rateLimit} a second`],
      ["Rate now", service.rate !== null && service.rate !== service.rateLimit && `${rate(service.rate)} a second`],
      ["Held off until", service.heldOffUntil && html`<${Ago} at=${service.heldOffUntil} />`],
      ["Next begins", service.nextAt && html`<${Ago} at=${service.nextAt} />`],
    ]} />
    ${verbs.length > 0 && html`<p class="row">${verbs.map(([name]) => html`<button key=${name} disabled=${Boolean(refusal)} title=${refusal} onClick=${() => setVerb(name)}>${sentence(words(name))}…</button>`)}</p>`}
    ${verbs.length > 0 && refusal && html`<p class="faint">${refusal}</p>`}
    ${verb && html`<${VerbDialog} verb=${verb} service=${service} onClose=${() => setVerb(null)} again=${again} />`}
  <//>`;
}

function VerbDialog({ verb, service, onClose, again }) {
  const [reason, setReason] = useState("");
  const { run, problem, isBusy } = useDoing();
  const { who } = useStore(session);
  const { actor } = useStore(prefs);
  const effect = VERBS.find(([name]) => name === verb)[1];
  const request = {
    path: `/api/services/${encodeURIComponent(service.name)}/${verb}`,
    options: { method: "PUT", headers: !who?.isKeyed && actor ? { "Saga-Actor": actor } : {}, body: reason ? { reason } : {} },
  };
  const submit = async (event) => {
    event.preventDefault();
    const done = await run(() => ask(request.path, request.options));
    if (!done) return;
    const { retried } = done.body;
    const moved = retried === undefined ? "" : `, ${plural(retried, "saga")} let go on`;
    say(`${service.name}: ${words(verb)} is done${moved}`);
    onClose();
    again();
  };
  return html`<${Dialog} title="${sentence(verb)} ${service.name}" onClose=${onClose}><form onSubmit=${submit}>
    <p>${effect}</p>
    <p class="field"><label for="service-reason">Reason <span class="faint">optional</span></label><input id="service-reason" value=${reason} maxlength="1000" onInput=${(event) => setReason(event.target.value)} /></p>
    ${who && !who.isKeyed && html`<${ActorInput} />`}
    <${Failure} problem=${problem} what="It was not done" />
    <div class="row"><button class="primary" type="submit" disabled=${isBusy}>${sentence(verb)}</button><button type="button" onClick=${onClose}>Cancel</button></div>
    <details class="same"><summary>The same without this page</summary><${Code} label="The request, for curl" text=${curlOf(request)} /></details>
  </form><//>`;
}
