// New: write a saga, see what is wrong with it while it is written, and begin it.

import { ask, can, Problem, session, whyReadOnly } from "../api.js";
import { plural, sentence } from "../format.js";
import { Graph } from "../graph.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { lineOf, placeOf, readJson } from "../jsontext.js";
import { ActorInput, curlOf } from "../moves.js";
import { Code, Failure, Faults, Glyph, Panel, useDoing, useTitle } from "../parts.js";
import { prefs } from "../prefs.js";
import { go, sagaHref } from "../route.js";
import { useStore } from "../store.js";
import { TEMPLATES } from "../templates.js";

const CHECK_MS = 350;
const DRAFT = "sagakeep-draft";

const textOf = (document) => JSON.stringify(document, null, 2);

function draft() {
  try {
    return sessionStorage.getItem(DRAFT) ?? "";
  } catch {
    return "";
  }
}

function keepDraft(text) {
  try {
    sessionStorage.setItem(DRAFT, text);
  } catch {
    // it is forgotten with the page
  }
}

export function New() {
  useTitle("New saga");
  const [text, setText] = useState(() => draft() || textOf(Object.values(TEMPLATES)[0]));
  const editor = useRef(null);
  const key = useRef(crypto.randomUUID?.() ?? String(Math.random()));
  const read = useMemo(() => {
    try {
      return { ...readJson(text), fault: null };
    } catch (fault) {
      return { value: undefined, places: new Map(), fault };
    }
  }, [text]);
  const checked = useCheck(text, read);
  const change = (next) => {
    key.current = crypto.randomUUID?.() ?? String(Math.random());
    keepDraft(next);
    setText(next);
  };
  const show = (start, end) => {
    editor.current.focus();
    editor.current.setSelectionRange(start, Math.max(start + 1, end));
    const { line } = lineOf(text, start);
    editor.current.scrollTop = (line - 4) * Number.parseFloat(getComputedStyle(editor.current).lineHeight);
  };
  const pick = (pointer) => show(...placeOf(read.places, pointer));
  const steps = Array.isArray(read.value?.steps) && read.value.steps.every((one) => one && typeof one.id === "string") ? distinct(read.value.steps) : [];
  return html`<header class="page-head"><h1>New saga</h1>
      <label class="template"><span>Begin with</span><select value="" onChange=${(event) => { change(textOf(TEMPLATES[event.target.value])); event.target.value = ""; }}><option value="" disabled>a template…</option>${Object.keys(TEMPLATES).map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label></header>
    <div class="new-columns">
      <${Panel} title="Definition" flush=${true} class="editor-panel"><${Editor} text=${text} onText=${change} box=${editor} isWrong=${Boolean(read.fault)} /><//>
      <div class="new-side">
        <${Begin} text=${text} read=${read} checked=${checked} idempotencyKey=${key} />
        <${Panel} title="What is to be said about it"><${Verdict} text=${text} read=${read} checked=${checked} onShow=${show} onPick=${pick} /><//>
        ${steps.length > 0 && html`<${Panel} title="Steps" flush=${true}><${Graph} steps=${steps} label="Steps of the draft" /><//>`}
      </div>
    </div>`;
}

const distinct = (steps) => [...new Map(steps.map((step) => [step.id, step])).values()];

function Editor({ text, onText, box, isWrong }) {
  const count = text.split("\n").length;
  const numbers = useRef(null);
  const indent = (event) => {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
    const { selectionStart, selectionEnd, value } = event.target;
    const line = value.slice(value.lastIndexOf("\n", selectionStart - 1) + 1, selectionStart);
    const deeper = /[[{]\s*$/.test(line) ? "  " : "";
    event.preventDefault();
    event.target.setRangeText(`\n${/^\s*/.exec(line)[0]}${deeper}`, selectionStart, selectionEnd, "end");
    onText(event.target.value);
  };
  return html`<div class="editor">
    <pre ref=${numbers} class="numbers" aria-hidden="true">${Array.from({ length: count }, (_, at) => at + 1).join("\n")}</pre>
    <textarea ref=${box} class="mono" aria-label="Definition as JSON" aria-invalid=${isWrong ? "true" : "false"} spellcheck=${false} autocapitalize="off" wrap="off" value=${text} rows=${Math.min(34, Math.max(16, count + 1))}
      onInput=${(event) => onText(event.target.value)} onKeyDown=${indent} onScroll=${(event) => { numbers.current.scrollTop = event.target.scrollTop; }}></textarea>
  </div>`;
}

// What the server says of the draft: {state, faults, findings}.
function useCheck(text, read) {
  const [said, setSaid] = useState({ state: "asking", text: "", faults: [], findings: [] });
  useEffect(() => {
    if (read.fault) {
      setSaid({ state: "malformed", text, faults: [], findings: [] });
      return undefined;
    }
    if (!can("POST /api/check")) {
      setSaid({ state: "unknown", text, faults: [], findings: [] });
      return undefined;
    }
    const aborter = new AbortController();
    const timer = setTimeout(() => check(text, aborter.signal).then((answer) => answer && setSaid({ ...answer, text })), CHECK_MS);
    return () => {
      clearTimeout(timer);
      aborter.abort();
    };
  }, [text, session.get().operations]);
  return said.text === text ? said : { ...said, state: "asking" };
}

async function check(text, signal) {
  try {
    const { body } = await ask("/api/check", { method: "POST", body: text, signal });
    return { state: body.valid ? "valid" : "invalid", faults: body.errors ?? [], findings: body.findings ?? [], figures: body.figures ?? [] };
  } catch (problem) {
    if (problem.name === "AbortError") return null;
    if (!(problem instanceof Problem)) throw problem;
    return { state: "failed", problem, faults: [], findings: [] };
  }
}

function Verdict({ text, read, checked, onShow, onPick }) {
  if (read.fault) {
    const { line, column } = lineOf(text, read.fault.offset);
    return html`<p class="bad" role="status"><${Glyph} of="error" /> <button class="link" onClick=${() => onShow(read.fault.offset, read.fault.offset + 1)}>Line ${line}, column ${column}</button>: ${read.fault.message}.</p>`;
  }
  if (checked.problem) return html`<${Failure} problem=${checked.problem} what="It could not be checked" />`;
  if (checked.state === "unknown") return html`<p class="faint">It is well-formed JSON. What is wrong with it otherwise is told when it is begun.</p>`;
  return html`<div role="status">
    ${checked.state === "asking" && html`<p class="faint">Checking…</p>`}
    ${checked.state === "valid" && html`<p class="good"><${Glyph} of="ok" />It would be accepted${checked.findings.length ? "" : ", and a careful reviewer would say nothing"}.</p>`}
    ${checked.state === "invalid" && html`<p class="bad"><${Glyph} of="error" />It would be refused: ${plural(checked.faults.length, "fault")}.</p>`}
    ${checked.faults.length > 0 && html`<${Faults} errors=${checked.faults} onPick=${onPick} />`}
    ${checked.findings.length > 0 && html`<ul class="findings">${checked.findings.map((one) => html`<li key=${one.code + one.pointer}>
      <p><${Glyph} of=${one.severity === "error" ? "error" : "warning"} /><button class="link mono" onClick=${() => onPick(one.pointer)}>${one.pointer || "/"}</button> <code>${one.code}</code></p>
      <p>${sentence(one.message)}</p>${one.fix && html`<p class="faint">${sentence(one.fix)}</p>`}</li>`)}</ul>`}
    ${checked.figures?.length > 0 && html`<details><summary>What it may take at worst</summary><ul class="plain">${checked.figures.map((one) => html`<li key=${one}>${one}</li>`)}</ul></details>`}
  </div>`;
}

function Begin({ text, read, checked, idempotencyKey }) {
  const { run, problem, isBusy } = useDoing();
  const state = useStore(session);
  const { actor } = useStore(prefs);
  const refusal = whyReadOnly(state);
  const blocked = refusal || (read.fault ? "It is no JSON yet." : "");
  const request = {
    path: "/api/sagas",
    options: { method: "POST", body: text, headers: { "Idempotency-Key": idempotencyKey.current, ...(!state.who?.isKeyed && actor ? { "Saga-Actor": actor } : {}) } },
  };
  const begin = async (event) => {
    event.preventDefault();
    const begun = await run(() => ask(request.path, request.options));
    if (!begun) return;
    keepDraft("");
    go(sagaHref(begun.body.id));
  };
  return html`<${Panel} title="Begin it"><form onSubmit=${begin}>
    ${state.who && !state.who.isKeyed && html`<${ActorInput} />`}
    <p class="row"><button class="primary" type="submit" disabled=${isBusy || Boolean(blocked)} title=${blocked}>${isBusy ? "Asking…" : "Begin the saga"}</button>
      ${blocked ? html`<span class="faint">${blocked}</span>` : checked.state === "invalid" ? html`<span class="faint">As it is, it would be refused.</span>` : html`<span class="faint">It is durable when the answer comes; pressed twice it is one saga.</span>`}</p>
    <${Failure} problem=${problem} what="It was not begun" />
    <details class="same"><summary>The same without this page</summary><${Code} label="The request, for curl" lines=${12} text=${curlOf(request)} /></details>
  </form><//>`;
}
