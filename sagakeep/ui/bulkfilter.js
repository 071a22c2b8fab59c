// Bulk by filter: one move of all sagas that the list's filters let through, made by the server, which counts them first.

import { ask, open, Problem, session, whyReadOnly } from "./api.js";
import { Progress, Results } from "./bulk.js";
import { plural, sentence, words } from "./format.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { ActorInput, curlOf } from "./moves.js";
import { Code, Dialog, Failure, Glyph, SagaLink, useDoing } from "./parts.js";
import { prefs } from "./prefs.js";
import { useStore } from "./store.js";

const PATH = "/api/sagas/bulk";

// The filters of the list's address, as this request has them.
export function bulkFilterOf(filters) {
  const found = { tags: {} };
  for (const [name, value] of Object.entries(filters)) {
    if (name.startsWith("tag.")) found.tags[name.slice(4)] = value;
    else found[name] = value;
  }
  return found;
}

// `example` is the id of one of the sagas, of which is learned what moves there are.
export function BulkByFilter({ filters, example, onClose }) {
  const [moves, setMoves] = useState([]);
  const [move, setMove] = useState("");
  const [reason, setReason] = useState("");
  const [plan, setPlan] = useState(null);
  const [results, setResults] = useState(null);
  const [isDone, setDone] = useState(false);
  const aborter = useRef(new AbortController());
  const { run, problem, isBusy } = useDoing();
  const { who } = useStore(session);
  const { actor } = useStore(prefs);
  const refusal = whyReadOnly({ who });
  useEffect(() => {
    run(() => ask(`/api/sagas/${encodeURIComponent(example)}/explain`)).then((said) => said && setMoves([...new Set(said.body.moves.map((one) => one.move))]));
    return () => aborter.current.abort();
  }, []);
  const request = (more) => ({
    path: PATH,
    options: {
      method: "POST",
      headers: !who?.isKeyed && actor ? { "Saga-Actor": actor } : {},
      body: { move, filter: bulkFilterOf(filters), ...(reason ? { body: { reason } } : {}), ...more },
    },
  });
  const forget = (change) => (event) => {
    change(event.target.value);
    setPlan(null);
  };
  const count = async (event) => {
    event.preventDefault();
    const { path, options } = request({ plan: true });
    const said = await run(() => ask(path, options));
    if (said) setPlan(said.body);
  };
  const make = async () => {
    const { path, options } = request({ token: plan.token });
    setResults(new Map());
    await run(() => readLines(path, options, aborter.current.signal, (found) => setResults(new Map(found))));
    setDone(true);
  };
  return html`<${Dialog} title="A move of all that the filters let through" onClose=${onClose} wide=${true}>
    ${refusal && html`<p class="note"><${Glyph} of="info" />${refusal}</p>`}
    ${results === null && html`<form onSubmit=${count}>
      <p class="field"><label for="bulk-move">Move</label><select id="bulk-move" value=${move} onChange=${forget(setMove)}><option value="">Choose…</option>${moves.map((one) => html`<option key=${one} value=${one}>${sentence(words(one))}</option>`)}</select></p>
      <p class="field"><label for="bulk-why">Reason <span class="faint">optional</span></label><input id="bulk-why" value=${reason} maxlength="1000" onInput=${forget(setReason)} /><span class="hint">Kept in the history of each.</span></p>
      ${who && !who.isKeyed && html`<${ActorInput} />`}
      ${plan && html`<div role="status"><p>It would be asked of <b>${plural(plan.count, "saga")}</b>${plan.count ? ", of these among others; each that cannot be moved so says why:" : "."}</p><p class="alert-sagas">${plan.sample.map((id) => html`<${SagaLink} key=${id} id=${id} />`)}</p></div>`}
      <${Failure} problem=${problem} what="It was not done" />
      <p class="row">${plan && plan.count > 0
        ? html`<button class="primary" type="button" disabled=${isBusy || Boolean(refusal)} title=${refusal} onClick=${make}>${sentence(words(move))} ${plural(plan.count, "saga")}</button>`
        : html`<button class="primary" type="submit" disabled=${!move || isBusy || Boolean(refusal)} title=${refusal}>Count them</button>`}<button type="button" onClick=${onClose}>Cancel</button></p>
      <details class="same"><summary>The same without this page</summary><${Code} label="The request, for curl" text=${curlOf(request(plan ? { token: plan.token } : { plan: true }))} /></details>
    </form>`}
    ${results !== null && html`<${Progress} done=${results.size} of=${plan.count} what="asked" /><${Failure} problem=${problem} what="The rest was not asked" /><${Results} results=${results} />`}
    ${isDone && html`<p><button class="primary" onClick=${onClose}>Done</button></p>`}
  <//>`;
}

// A line for each saga, as it moves or refuses.
async function readLines(path, options, signal, tell) {
  const reply = await open(path, { ...options, signal });
  if (!reply.ok) throw new Problem(reply.status, await reply.json());
  const found = new Map();
  const take = (line) => {
    const said = JSON.parse(line);
    if (said.error) throw new Problem(200, { title: "It ended early", detail: said.error });
    if (!said.id) return;
    const problem = said.outcome === "moved" ? undefined : new Problem(409, { title: sentence(said.outcome), detail: said.why ?? "" });
    found.set(said.id, { status: said.status ?? "", text: said.newID ? `runs again as ${said.newID}` : "gone", problem });
  };
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    lines.filter(Boolean).forEach(take);
    if (done && rest) take(rest);
    tell(found);
    if (done) return;
  }
}
