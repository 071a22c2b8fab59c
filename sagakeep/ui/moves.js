// Moves: what an operator may do with a saga now. Which there are, what each does and what it wants to know is told
// by the server's explanation; nothing here knows a verb.

import { ask, session, whyReadOnly } from "./api.js";
import { plural, sentence, words } from "./format.js";
import { html, useId, useState } from "./html.js";
import { Code, Dialog, Failure, Glyph, say, Status, useDoing } from "./parts.js";
import { prefer, prefs } from "./prefs.js";
import { UndoPlan } from "./plan.js";
import { useStore } from "./store.js";

export function nameOf(move) {
  const said = Object.entries(move.body ?? {}).filter(([, value]) => typeof value === "string").map(([field, value]) => (/ID$/.test(field) ? value : words(value)));
  return sentence(words(move.move)) + (said.length ? `: ${said.join(" · ")}` : "");
}

// The moves of a saga as buttons. `why` says why none may be made now; `version` is the saga's that is looked at, if it is to
// be refused when another one has moved it meanwhile; `onMoved` is told when one was made, and what the saga then is.
export function Moves({ moves, why = "", version = null, onMoved }) {
  const [chosen, setChosen] = useState(null);
  const readOnly = whyReadOnly(useStore(session));
  const refusal = why || readOnly;
  const legal = moves.filter((move) => move.isLegal);
  const others = moves.filter((move) => !move.isLegal);
  return html`
    ${refusal && html`<p class="note"><${Glyph} of="info" />${refusal}</p>`}
    ${legal.length === 0 && html`<p class="faint">No move is allowed in this status.</p>`}
    <ul class="moves">
      ${legal.map((move) => html`<li key=${nameOf(move)}>
        <button class="move" disabled=${Boolean(refusal)} title=${refusal} onClick=${() => setChosen(move)}>${nameOf(move)}…</button>
        <${Effect} of=${move} />
      </li>`)}
    </ul>
    ${others.length > 0 && html`<details class="others"><summary>Not now: ${[...new Set(others.map((move) => words(move.move)))].join(", ")}</summary>
      <dl>${others.map((move) => html`<div key=${nameOf(move)}><dt>${nameOf(move)}</dt><dd>${sentence(move.refusal)}.</dd></div>`)}</dl>
    </details>`}
    ${chosen && html`<${MoveDialog} move=${chosen} version=${version} onClose=${() => setChosen(null)} onMoved=${onMoved} />`}
  `;
}

function Effect({ of }) {
  if (!of.becomes || !of.text.startsWith(`is ${of.becomes} then`)) return html`<p class="effect">${sentence(of.text.replace(/^is /, "It is "))}.</p>`;
  const calls = of.begins.map((call) => `${call.service}.${call.action}`);
  return html`<p class="effect">
    Then it is <${Status} of=${of.becomes} />${calls.length > 0 && html`, and calls <span class="mono">${calls.slice(0, 3).join(", ")}</span>${calls.length > 3 && ` and ${calls.length - 3} more`}`}.
    ${of.settlesFirst.length > 0 && html` Attempts in flight end first: ${of.settlesFirst.join(", ")}.`}
  </p>`;
}

function MoveDialog({ move, version, onClose, onMoved }) {
  const [values, setValues] = useState(() => initial(move));
  const { run, problem, isBusy } = useDoing();
  const { who } = useStore(session);
  const { actor } = useStore(prefs);
  const [, faults] = bodyOf(move, values);
  const [plan, setPlan] = useState(null);
  const fields = move.fields.filter((field) => !isOfPlan(field));
  const change = (field) => (value) => {
    setValues((old) => ({ ...old, [field.name]: value, planId: "" }));
    setPlan(null);
  };
  const request = requestOf(move, values, { actor: who?.isKeyed ? "" : actor, version });
  const lookAhead = async () => {
    const planned = requestOf(move, { ...values, plan: "true", planId: "" }, {});
    const said = await run(() => ask(planned.path, planned.options));
    if (!said) return;
    setPlan(said.body);
    setValues((old) => ({ ...old, planId: said.body.planId }));
  };
  const submit = async (event) => {
    event.preventDefault();
    if (faults.size) return;
    const done = await run(() => ask(request.path, request.options));
    if (!done) return;
    say(`${nameOf(move)}: it is durable`);
    onClose();
    onMoved?.(move, done.body);
  };
  return html`<${Dialog} title=${nameOf(move)} onClose=${onClose}>
    <form onSubmit=${submit}>
      <${Effect} of=${move} />
      ${move.begins.length > 0 && html`<details><summary>${plural(move.begins.length, "call begins", "calls begin")} at once</summary>
        <${Code} label="Calls that begin" lines=${10} text=${move.begins.map(callText).join("\n\n")} /></details>`}
      ${fields.map((field) => html`<${FieldInput} key=${field.name} field=${field} value=${values[field.name]} fault=${faults.get(field.name)} onChange=${change(field)} />`)}
      ${who && !who.isKeyed && html`<${ActorInput} />`}
      ${plan && html`<section class="plan-box" aria-label="Plan"><${UndoPlan} undo=${plan} /><p class="faint">Made as planned, or refused if the saga has moved since.</p></section>`}
      <${Failure} problem=${problem} what="It was not done" />
      <div class="row">
        <button class="primary" type="submit" disabled=${isBusy || faults.size > 0}>${isBusy ? "Asking…" : sentence(words(move.move))}</button>
        ${fields.length < move.fields.length && html`<button type="button" disabled=${isBusy} onClick=${lookAhead}>Show the plan first</button>`}
        <button type="button" onClick=${onClose}>Cancel</button>
      </div>
      <details class="same"><summary>The same without this page</summary>
        <${Code} label="The request, for curl" text=${curlOf(request)} />
        <${Code} label="The command" text=${commandOf(move, values)} />
      </details>
    </form>
  <//>`;
}

const callText = (call) => `${call.service}.${call.action}   attempt ${call.attempt}\nIdempotency-Key: ${call.key}\n${JSON.stringify(call.payload, null, 2)}`;

export function ActorInput() {
  const { actor } = useStore(prefs);
  const id = useId();
  return html`<p class="field"><label for=${id}>Your name</label>
    <input id=${id} value=${actor} maxlength="128" pattern="[A-Za-z0-9][A-Za-z0-9._:@+\\-]{0,127}" autocomplete="name" onInput=${(event) => prefer("actor", event.target.value.trim())} />
    <span class="hint">Kept in the history as stated; this server asks nobody for a key. Letters, digits and . _ : @ + -</span></p>`;
}

// Fields

// Where a move can be planned first, it is by a button, and the plan's id goes with the move.
const isOfPlan = (field) => field.name === "planId" || (field.name === "plan" && field.type === "boolean");

const isJson = (field) => !["string", "integer", "number", "boolean"].includes(field.type);

function initial(move) {
  return Object.fromEntries(move.fields.map((field) => [field.name, textOf(move.body?.[field.name])]));
}

const textOf = (value) => (value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value, null, 2));

function FieldInput({ field, value, fault, onChange }) {
  const id = useId();
  const input = (event) => onChange(event.target.value);
  const name = sentence(words(field.name.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/ ID$/, "")));
  const shared = { id, value, onInput: input, required: field.isRequired, "aria-describedby": `${id}-hint`, "aria-invalid": fault ? "true" : "false" };
  return html`<p class="field"><label for=${id}>${name}${field.isRequired ? "" : html` <span class="faint">optional</span>`}</label>
    ${field.choices.length || field.type === "boolean"
      ? html`<select ...${shared}><option value="">${field.isRequired ? "Choose…" : "—"}</option>${(field.choices.length ? field.choices : ["true", "false"]).map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select>`
      : isJson(field) || (field.maxLength ?? 0) > 200
        ? html`<textarea ...${shared} rows=${isJson(field) ? 4 : 2} class=${isJson(field) ? "mono" : ""} maxlength=${field.maxLength} spellcheck=${!isJson(field)}></textarea>`
        : html`<input ...${shared} type=${["integer", "number"].includes(field.type) ? "number" : "text"} maxlength=${field.maxLength} />`}
    <span class="hint ${fault ? "bad" : ""}" id="${id}-hint">${fault ? `${fault}. ` : ""}${field.meaning}</span></p>`;
}

// What was filled in, as JSON values, and what is wrong with it by field.
function bodyOf(move, values) {
  const [body, faults] = [{}, new Map()];
  for (const field of move.fields) {
    const text = values[field.name];
    if (text.trim() === "") {
      if (field.isRequired) faults.set(field.name, "It is wanted");
      continue;
    }
    try {
      body[field.name] = valueOf(field, text);
    } catch (error) {
      faults.set(field.name, error instanceof SyntaxError ? "This is no JSON" : error.message);
    }
  }
  return [body, faults];
}

function valueOf(field, text) {
  if (field.type === "string") return text;
  const value = JSON.parse(text);
  if (field.type === "integer" && !Number.isInteger(value)) throw new TypeError("This is no whole number");
  return value;
}

// The request of a move, with what was filled in.
export function requestOf(move, values, { actor = "", version = null } = {}) {
  const [given] = bodyOf(move, values);
  const inQuery = move.fields.filter((field) => field.place === "query").map((field) => field.name);
  const query = new URLSearchParams(inQuery.filter((name) => name in given).map((name) => [name, given[name]]));
  const body = Object.fromEntries(Object.entries(given).filter(([name]) => !inQuery.includes(name)));
  const hasBody = move.fields.some((field) => field.place === "body");
  const headers = { ...(actor ? { "Saga-Actor": actor } : {}), ...(version ? { "If-Match": version } : {}) };
  return {
    path: move.path + (query.size ? `?${query}` : ""),
    options: { method: move.method, headers, ...(hasBody ? { body } : {}) },
  };
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function curlOf({ path, options }) {
  const lines = [`curl -X ${options.method} ${quoted(location.origin + path)}`];
  if (session.get().who?.isKeyed) lines.push(`-H "Authorization: Bearer $SAGAKEEP_TOKEN"`);
  for (const [name, value] of Object.entries(options.headers ?? {})) lines.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (options.body !== undefined) {
    const text = typeof options.body === "string" ? options.body : JSON.stringify(options.body);
    lines.push(`-H 'Content-Type: application/json'`, `-d ${quoted(text)}`);
  }
  return lines.join(" \\\n  ");
}

// The server says the command for what the move wants at least; a reason is added.
function commandOf(move, values) {
  return move.command + (values.reason ? ` --reason ${quoted(values.reason)}` : "");
}
