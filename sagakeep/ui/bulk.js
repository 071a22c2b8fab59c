// Bulk: one move of many sagas. First each is asked whether it may be made and what would come of it, then it is made,
// a few at a time, and each has its result.

import { ask, Problem, session, whyReadOnly } from "./api.js";
import { count, plural, sentence, words } from "./format.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { ActorInput, requestOf } from "./moves.js";
import { Dialog, Glyph, SagaLink, Status } from "./parts.js";
import { prefs } from "./prefs.js";
import { useStore } from "./store.js";

const AT_ONCE = 4;
const SHOWN = 200;

async function eachOf(items, deed, isOver) {
  let next = 0;
  const work = async () => {
    while (next < items.length && !isOver()) await deed(items[next++]);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

export function Bulk({ ids, onClose }) {
  const [plans, setPlans] = useState(new Map());
  const [verb, setVerb] = useState("");
  const [results, setResults] = useState(new Map());
  const [phase, setPhase] = useState("planning");
  const isOver = useRef(false);
  const { who } = useStore(session);
  const refusal = whyReadOnly({ who });

  useEffect(() => {
    const found = new Map();
    const tell = paced(() => setPlans(new Map(found)));
    eachOf(ids, async (id) => {
      found.set(id, await planOf(id));
      tell();
    }, () => isOver.current).then(() => {
      if (isOver.current) return;
      setPlans(new Map(found));
      setPhase("chosen");
    });
    return () => { isOver.current = true; };
  }, []);

  const verbs = verbsOf(plans);
  const able = ids.filter((id) => moveOf(plans.get(id), verb));
  const run = async (reason) => {
    setPhase("running");
    const found = new Map();
    const tell = paced(() => setResults(new Map(found)));
    await eachOf(able, async (id) => {
      found.set(id, await makeMove(moveOf(plans.get(id), verb), reason, who));
      tell();
    }, () => isOver.current);
    setResults(new Map(found));
    setPhase("done");
  };
  return html`<${Dialog} title="A move of ${plural(ids.length, "saga")}" onClose=${onClose} wide=${true}>
    ${refusal && html`<p class="note"><${Glyph} of="info" />${refusal}</p>`}
    ${phase === "planning" && html`<${Progress} done=${plans.size} of=${ids.length} what="asked what may be done" />`}
    ${phase === "chosen" && html`<${Choice} verbs=${verbs} verb=${verb} onVerb=${setVerb} able=${able} ids=${ids} plans=${plans} isKeyed=${who?.isKeyed} refusal=${refusal} onRun=${run} />`}
    ${(phase === "running" || phase === "done") && html`<${Progress} done=${results.size} of=${able.length} what="asked" /><${Results} results=${results} />`}
    ${phase === "done" && html`<p><button class="primary" onClick=${onClose}>Done</button></p>`}
  <//>`;
}

function paced(deed) {
  let timer = 0;
  return () => {
    timer ||= setTimeout(() => {
      timer = 0;
      deed();
    }, 100);
  };
}

async function planOf(id) {
  try {
    return { moves: (await ask(`/api/sagas/${encodeURIComponent(id)}/explain`)).body.moves };
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    return { moves: [], problem };
  }
}

// A move can be made of many when nobody has to be asked for more than the reason; the step is the one where each stands.
const isPlain = (move) => move.fields.every((field) => !field.isRequired || (field.name === "stepID" && typeof move.body[field.name] === "string"));
const moveOf = (plan, verb) => plan?.moves.find((move) => move.move === verb && move.isLegal && isPlain(move));

function verbsOf(plans) {
  const found = new Map();
  for (const { moves } of plans.values()) {
    for (const move of moves.filter(isPlain)) found.set(move.move, (found.get(move.move) ?? 0) + (move.isLegal ? 1 : 0));
  }
  return [...found];
}

async function makeMove(move, reason, who) {
  const values = Object.fromEntries(move.fields.map((field) => [field.name, field.name === "reason" ? reason : field.name === "stepID" && field.isRequired ? move.body.stepID : ""]));
  const { path, options } = requestOf(move, values, { actor: who?.isKeyed ? "" : prefs.get().actor });
  try {
    const { body } = await ask(path, options);
    return { status: body?.status ?? "", text: body ? "" : "gone" };
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    return { problem };
  }
}

function Choice({ verbs, verb, onVerb, able, ids, plans, isKeyed, refusal, onRun }) {
  const [reason, setReason] = useState("");
  const refused = ids.filter((id) => !able.includes(id));
  const why = (id) => plans.get(id)?.problem?.message ?? plans.get(id)?.moves.find((move) => move.move === verb)?.refusal ?? "this move wants more to be said; open the saga";
  return html`<form onSubmit=${(event) => { event.preventDefault(); onRun(reason); }}>
    <fieldset class="verbs"><legend>Which move</legend>${verbs.map(([name, legal]) => html`<label key=${name} class=${legal ? "" : "faint"}><input type="radio" name="verb" value=${name} checked=${verb === name} onChange=${() => onVerb(name)} disabled=${!legal} /> ${sentence(words(name))} <span class="num faint">${count(legal)} of ${count(ids.length)}</span></label>`)}</fieldset>
    ${verb && html`<p>It would be made of <b class="num">${plural(able.length, "saga")}</b>${refused.length > 0 && html`, and not of ${plural(refused.length, "saga")}:`}</p>`}
    ${verb && refused.length > 0 && html`<ul class="results" tabindex="0" aria-label="Sagas that cannot">${refused.slice(0, SHOWN).map((id) => html`<li key=${id}><${SagaLink} id=${id} /> <span class="faint">${why(id)}</span></li>`)}</ul>`}
    <p class="field"><label for="bulk-reason">Reason <span class="faint">optional</span></label><input id="bulk-reason" value=${reason} maxlength="1000" onInput=${(event) => setReason(event.target.value)} /><span class="hint">Kept in the history of each.</span></p>
    ${!isKeyed && html`<${ActorInput} />`}
    <p class="row"><button class="primary" type="submit" disabled=${!verb || !able.length || Boolean(refusal)} title=${refusal}>${verb ? `${sentence(words(verb))} ${plural(able.length, "saga")}` : "Choose a move"}</button></p>
  </form>`;
}

export function Progress({ done, of, what }) {
  return html`<p><label>${count(done)} of ${plural(of, "saga")} ${what} <progress max=${Math.max(1, of)} value=${done}></progress></label></p>`;
}

export function Results({ results }) {
  const all = [...results];
  const bad = all.filter(([, one]) => one.problem);
  const shown = [...bad, ...all.filter(([, one]) => !one.problem)].slice(0, SHOWN);
  return html`<p role="status"><b class="num">${count(all.length - bad.length)}</b> moved, <b class="num">${count(bad.length)}</b> not.</p>
    <ul class="results" tabindex="0" aria-label="Results">${shown.map(([id, one]) => html`<li key=${id}><${SagaLink} id=${id} /> ${one.problem ? html`<span class="bad">${one.problem.title}: ${one.problem.message}</span>` : one.status ? html`<${Status} of=${one.status} />` : one.text}</li>`)}</ul>`;
}
