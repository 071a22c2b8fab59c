// Saga: one saga. How it stands and what it waits for, its graph, its history, and what may be done.

import { ask, Problem, useAsk } from "../api.js";
import { sentence } from "../format.js";
import { Gantt } from "../gantt.js";
import { Graph } from "../graph.js";
import { History, Scrubber } from "../history.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { useKeys } from "../keys.js";
import { Moves } from "../moves.js";
import { stream, useNews } from "../news.js";
import { Ago, Answer, Clock, Code, Empty, Facts, Failure, Glyph, Json, Panel, Status, statusName, useTitle } from "../parts.js";
import { UndoPlan } from "../plan.js";
import { changeQuery, go, listHref, pageHref, sagaHref, useRoute } from "../route.js";
import { useStore } from "../store.js";

const FINAL = ["completed", "compensated", "abandoned"];
const STILL = [...FINAL, "failed", "compensation_failed"]; // nothing happens to it by itself
const PAGE = 500;

export function Saga({ id }) {
  const { query } = useRoute();
  const at = query.get("at") ? Number(query.get("at")) : null;
  const path = `/api/sagas/${encodeURIComponent(id)}`;
  const { isLive } = useStore(stream);
  const now = useAsk(path, { every: isLive ? 15000 : 2000 });
  const [gone, setGone] = useState(false);
  useTitle(now.body ? `${id} ${statusName(now.body.status)}` : id);
  useEffect(() => setGone(false), [id]);
  useNews((news) => (!news || news.has(id)) && now.again(), [id]);
  if (gone) return html`<h1 class="mono">${id}</h1><${Empty} title="This saga was deleted"><p>It is gone from every list; its id is not used again. <a href=${pageHref("sagas")}>Back to the list</a></p><//>`;
  if (now.problem?.status === 404) return html`<h1 class="mono">${id}</h1><${Empty} title="There is no saga with this id"><p>It was never begun here, or it was deleted. <a href=${listHref({ name: id })}>List sagas of that name</a></p><//>`;
  return html`<${Answer} of=${now} what="The saga could not be read">${(saga) => html`<${SagaPage} key=${id} saga=${saga} etag=${now.etag} path=${path} at=${at} again=${now.again} onGone=${() => setGone(true)} />`}<//>`;
}

function SagaPage({ saga, etag, path, at, again, onGone }) {
  const version = `${saga.updatedAt} ${saga.status}`;
  const explained = useAsk(`${path}/explain`);
  const history = useHistory(path, version);
  const past = useAsk(at === null ? "" : `${path}?at=${at}`);
  useEffect(() => explained.again(), [version]);
  useEffect(() => { // what is waited for changes without an event
    if (FINAL.includes(saga.status)) return undefined;
    const timer = setInterval(() => document.hidden || explained.again(), 3000);
    return () => clearInterval(timer);
  }, [saga.status]);
  const last = history.events.at(-1)?.seq ?? 0;
  const setAt = (seq) => changeQuery({ at: seq });
  useKeys({
    "[": () => setAt(Math.max(1, (at ?? last) - 1)),
    "]": () => at !== null && setAt(at + 1 >= last ? null : at + 1),
    u: () => go(pageHref("sagas")),
  });
  const shown = at === null ? saga : past.body ?? null;
  const event = history.events.find((one) => one.seq === at);
  const moved = (move, after) => {
    if (move.method === "DELETE") onGone();
    else if (after?.id && after.id !== saga.id) go(sagaHref(after.id));
    else again();
  };
  return html`
    <${Head} saga=${saga} />
    <div class="saga-columns">
      <div class="main-column">
        ${saga.error && html`<p class="cause ${saga.status === "completed" ? "" : "bad"}"><${Glyph} of="error" /><span>${saga.error}</span></p>`}
        <${Panel} title="Steps" aside=${html`<${Scrubber} last=${last} at=${at} event=${event} onAt=${setAt} />`} flush=${true}>
          ${at !== null && html`<p class="past" role="status"><${Glyph} of="info" /><span>As it was after event ${at}${event && html`, <${Clock} at=${event.timestamp} withDate=${true} />: ${shown ? statusName(shown.status) : ""}`}. ${explained.body?.story.find((one) => one.seq === at)?.text ?? ""}</span></p>`}
          <${Failure} problem=${past.problem} what="The past could not be read" again=${past.again} />
          ${shown && html`<${StepsView} saga=${shown} undo=${at === null ? explained.body?.undo : null} />`}
        <//>
        <${Tabs} saga=${saga} history=${history} explained=${explained} at=${at} onPick=${(seq) => setAt(seq === last ? null : seq)} />
      </div>
      <aside class="side-column" aria-label="What it waits for and what can be done">
        <${Answer} of=${explained} what="The explanation could not be read">${(said) => html`
          <${Waits} said=${said} saga=${saga} />
          <${Panel} title="What you can do"><${Moves} moves=${said.moves} why=${at === null ? "" : "You look at the past; moves are made now."} version=${STILL.includes(saga.status) ? etag : null} onMoved=${moved} /><//>
        `}<//>
        <${About} saga=${saga} />
      </aside>
    </div>`;
}

// The events, read on as they come.
function useHistory(path, version) {
  const [state, setState] = useState({ events: [], hasMore: false, problem: null });
  const reading = useRef(null);
  const read = async (after, old) => {
    if (reading.current) return;
    const aborter = new AbortController();
    reading.current = aborter;
    try {
      const { body } = await ask(`${path}/events?limit=${PAGE}&cursor=${after}`, { signal: aborter.signal });
      const fresh = body.events.filter((event) => event.seq > (old.at(-1)?.seq ?? 0));
      setState({ events: [...old, ...fresh], hasMore: body.nextCursor !== null, problem: null });
    } catch (problem) {
      if (problem.name === "AbortError") return;
      if (!(problem instanceof Problem)) throw problem;
      setState((was) => ({ ...was, problem }));
    } finally {
      if (reading.current === aborter) reading.current = null;
    }
  };
  const onward = () => read(state.events.at(-1)?.seq ?? 0, state.events);
  useEffect(() => {
    if (!state.hasMore) onward();
  }, [version]);
  useEffect(() => () => reading.current?.abort(), []);
  return { ...state, more: onward };
}

function Head({ saga }) {
  return html`<header class="page-head saga-head">
    <div class="clip"><p class="crumb"><a href=${pageHref("sagas")}>Sagas</a> / <a href=${listHref({ name: saga.name })}>${saga.name}</a></p>
      <h1 class="mono clip" title=${saga.id}>${saga.id}</h1></div>
    <p class="head-status"><${Status} of=${saga.status} chip=${true} />${saga.paused && html`<${Status} of="paused" chip=${true} />`}${statusName(saga.status) !== saga.status && html`<code class="faint">${saga.status}</code>`}<span class="faint">changed <${Ago} at=${saga.updatedAt} /></span></p>
  </header>`;
}

function StepsView({ saga, undo }) {
  const [chosen, setChosen] = useState("");
  const step = saga.steps.find((one) => one.id === chosen);
  return html`<${Graph} steps=${saga.steps} undo=${undo} selected=${chosen} onSelect=${(id) => setChosen(id === chosen ? "" : id)} label="Steps of the saga, and the way back" />
    ${step && html`<${StepDetail} step=${step} onClose=${() => setChosen("")} />`}`;
}

function StepDetail({ step, onClose }) {
  return html`<section class="step-detail" aria-label="Step ${step.id}">
    <header><h3><${Status} of=${step.status} /> ${step.id}</h3><button class="quiet small" onClick=${onClose}>Close</button></header>
    ${step.error && html`<p class="bad">${step.error}</p>`}
    <${Facts} of=${[
      ["Calls", html`<code>${step.service}.${step.action}</code>`],
      ["Is undone by", step.compensation ? html`<code>${step.service}.${step.compensation}</code>` : "nothing"],
      ["Outcome", step.outcome ? step.outcome.replaceAll("_", " ") : "not known yet"],
      ["Retries", `${step.retryCount}, at most ${step.maxRetries} (undo: ${step.compensationMaxRetries})`],
      ["Timeout", `${step.timeout} s an attempt`],
      ["Next attempt", step.nextAttemptAt && html`<${Ago} at=${step.nextAttemptAt} />`],
      ["Waits for", step.dependsOn.join(", ") || "no other step"],
      ["In doubt", step.inDoubt],
      step.kind !== "compensatable" && ["Kind", step.kind],
    ]} />
    <div class="two"><div><h4>Payload</h4><${Json} value=${step.payload} label="Payload of ${step.id}" /></div><div><h4>Result</h4><${Json} value=${step.result} label="Result of ${step.id}" /></div></div>
  </section>`;
}

function Waits({ said, saga }) {
  const waits = [said.waitsFor, ...said.alsoWaitsFor].filter(Boolean);
  const kind = { call: "running", queue: "pending", timer: "retrying", operator: "warning" };
  return html`<${Panel} title=${FINAL.includes(saga.status) ? "It has ended" : "What it waits for"}>
    <p class="summary">${said.summary}</p>
    ${saga.paused && html`<p class="note"><${Glyph} of="paused" /><span>Paused${saga.paused.by && ` by ${saga.paused.by}`}, <${Ago} at=${saga.paused.since} />${saga.paused.reason && `: ${saga.paused.reason}`}</span></p>`}
    ${saga.remains?.length > 0 && html`<p>Left as it is:</p><ul class="plain">${saga.remains.map((one) => html`<li key=${one.stepID}><b>${one.stepID}</b> <span class="faint">${one.why}</span></li>`)}</ul>`}
    ${waits.length > 1 && html`<ul class="waits">${waits.map((wait, index) => html`<li key=${index}><${Glyph} of=${kind[wait.kind] ?? "info"} /><span>${sentence(wait.text)}</span></li>`)}</ul>`}
    ${waits[0]?.kind === "operator" && html`<p class="note"><${Glyph} of="warning" />Nothing happens until somebody makes a move.</p>`}
    ${said.nextAttemptAt && html`<p>Next attempt <b><${Ago} at=${said.nextAttemptAt} /></b></p>`}
  <//>`;
}

const TABS = [["history", "History"], ["timeline", "Timeline"], ["undo", "Undo plan"], ["definition", "Definition"]];

function Tabs({ saga, history, explained, at, onPick }) {
  const { query } = useRoute();
  const tab = TABS.some(([name]) => name === query.get("tab")) ? query.get("tab") : "history";
  const story = useMemo(() => new Map((explained.body?.story ?? []).map((one) => [one.seq, one])), [explained.body]);
  const choose = (name) => changeQuery({ tab: name === "history" ? "" : name });
  useKeys(Object.fromEntries(TABS.map(([name], index) => [String(index + 1), () => choose(name)])));
  const onKeyDown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = TABS[(TABS.findIndex(([name]) => name === tab) + step + TABS.length) % TABS.length][0];
    choose(next);
    event.currentTarget.querySelector(`#tab-${next}`).focus();
  };
  return html`<section class="panel flush tabs-panel" aria-label="Details">
    <div class="tabs" role="tablist" aria-label="Details" onKeyDown=${onKeyDown}>
      ${TABS.map(([name, title]) => html`<button key=${name} role="tab" id="tab-${name}" aria-selected=${tab === name} aria-controls="tab-panel" tabindex=${tab === name ? 0 : -1} onClick=${() => choose(name)}>${title}</button>`)}
    </div>
    <div role="tabpanel" id="tab-panel" aria-labelledby="tab-${tab}">
      <${Failure} problem=${history.problem} again=${history.more} what="The history could not be read" />
      ${tab === "history" && html`<${History} events=${history.events} story=${story} at=${at} onPick=${onPick} hasMore=${history.hasMore} onMore=${history.more} />`}
      ${tab === "timeline" && html`<${Gantt} steps=${saga.steps} events=${at === null ? history.events : history.events.filter((event) => event.seq <= at)} isOver=${FINAL.includes(saga.status) || at !== null} />`}
      ${tab === "undo" && html`<${Answer} of=${explained} what="The plan could not be read">${({ undo }) => html`<${UndoPlan} undo=${undo} />`}<//>`}
      ${tab === "definition" && html`<${Definition} saga=${saga} />`}
    </div>
  </section>`;
}

// As it was posted: without what the server keeps of how it stands.
export function definitionOf(saga) {
  const STANDING = ["status", "retryCount", "result", "error", "outcome", "nextAttemptAt"];
  const steps = saga.steps.map((step) => Object.fromEntries(Object.entries(step).filter(([name]) => !STANDING.includes(name))));
  const { name, timeout, maxRetries, onFailure, tags } = saga;
  return { name, steps, timeout, maxRetries, onFailure, tags };
}

function Definition({ saga }) {
  const text = JSON.stringify(definitionOf(saga), null, 2);
  return html`<div class="pad"><p class="faint">Every default is written out; what is sensitive is not shown.</p><${Code} text=${text} label="Definition" /></div>`;
}

function About({ saga }) {
  const tags = Object.entries(saga.tags);
  return html`<${Panel} title="About it"><${Facts} of=${[
    ["Name", html`<a href=${listHref({ name: saga.name })}>${saga.name}</a>`],
    ["Created", html`<${Clock} at=${saga.createdAt} withDate=${true} />`],
    ["Changed", html`<${Clock} at=${saga.updatedAt} withDate=${true} />`],
    ["Deadline", saga.deadline && html`<${Clock} at=${saga.deadline} withDate=${true} />`],
    ["Retries", `${saga.retryCount} of ${saga.maxRetries}`],
    ["On failure", saga.onFailure],
    ["Turned for", saga.reason],
    ["Tags", tags.length > 0 && html`<ul class="tags">${tags.map(([key, value]) => html`<li key=${key}><a href=${listHref({ tag: `${key}=${value}` })}>${key}=${value}</a></li>`)}</ul>`],
    ["Run again as", saga.rerunAs && html`<a class="mono" href=${sagaHref(saga.rerunAs)}>${saga.rerunAs}</a>`],
    ["Runs again", saga.rerunOf && html`<a class="mono" href=${sagaHref(saga.rerunOf)}>${saga.rerunOf}</a>`],
  ]} /><//>`;
}
