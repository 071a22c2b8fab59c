// Parts: the small things that every page is made of.

import { Problem } from "./api.js";
import * as format from "./format.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { prefs } from "./prefs.js";
import { sagaHref } from "./route.js";
import { store, useStore } from "./store.js";

// Status: a shape, a colour and a word; the shape and the word say it without the colour.

const SHAPES = {
  created: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11Z",
  pending: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11Z",
  running: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11ZM6.6 5.6v4.8L10.6 8Z",
  retrying: "M12.9 6.2A5.2 5.2 0 1 0 13.2 9M13.3 2.8v3.6H9.7",
  completed: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11ZM5.4 8.2l1.9 1.9 3.4-4",
  failed: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11ZM5.9 5.9l4.2 4.2M10.1 5.9l-4.2 4.2",
  compensating: "M6.2 3.5 3 6.7l3.2 3.2M3.3 6.7h6.2a3.2 3.2 0 0 1 0 6.4H7",
  compensated: "M2.5 2.5h11v11h-11ZM6.9 5.2 4.9 7.2l2 2M5.2 7.2h3.9a1.8 1.8 0 0 1 0 3.6H7.4",
  compensation_failed: "M8 2.2 14.3 13.3H1.7ZM8 6.2v3.4M8 11.4v.2",
  abandoned: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11ZM5.6 8h4.8",
  closed: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11ZM5.4 8.2l1.9 1.9 3.4-4",
  open: "M5.2 2h5.6L14 5.2v5.6L10.8 14H5.2L2 10.8V5.2ZM5.9 5.9l4.2 4.2M10.1 5.9l-4.2 4.2",
  half_open: "M8 2.2 14.3 13.3H1.7ZM8 6.2v3.4M8 11.4v.2",
  paused: "M3.5 3h9v10h-9ZM6.4 6v4M9.6 6v4",
  critical: "M5.2 2h5.6L14 5.2v5.6L10.8 14H5.2L2 10.8V5.2ZM8 5v3.6M8 10.9v.2",
  warning: "M8 2.2 14.3 13.3H1.7ZM8 6.2v3.4M8 11.4v.2",
  info: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11ZM8 7.2v3.6M8 5.2v.2",
};
SHAPES.ok = SHAPES.completed;
SHAPES.success = SHAPES.completed;
SHAPES.error = SHAPES.failed;
SHAPES.retry = SHAPES.retrying;

export const TONES = {
  ...{ created: "idle", pending: "idle", running: "run", retrying: "wait", completed: "ok", failed: "bad" },
  ...{ compensating: "undo", compensated: "undo", compensation_failed: "bad", abandoned: "idle", closed: "ok", open: "bad", half_open: "wait" },
  ...{ paused: "wait", critical: "bad", warning: "wait", info: "idle", ok: "ok", success: "ok", error: "bad", retry: "wait" },
};
export const NAMES = { compensation_failed: "undo failed", compensated: "undone", compensating: "undoing", half_open: "trying" };
export const statusName = (status) => NAMES[status] ?? format.words(status);
export const toneOf = (status) => TONES[status] ?? "idle";

export function Glyph({ of, size = 16 }) {
  const shape = SHAPES[of] ?? SHAPES.created;
  return html`<svg class="glyph ${toneOf(of)}" width=${size} height=${size} viewBox="0 0 16 16" aria-hidden="true"><path d=${shape} /></svg>`;
}

export function Status({ of, chip = false }) {
  return html`<span class="status ${toneOf(of)} ${chip ? "chip" : ""}" title=${of}><${Glyph} of=${of} />${statusName(of)}</span>`;
}

// Times

const ticks = store({ nowMs: Date.now() });
setInterval(() => {
  if (!document.hidden) ticks.set({ nowMs: Date.now() });
}, 1000);
export const useNow = () => useStore(ticks).nowMs;

export function Ago({ at }) {
  const nowMs = useNow();
  useStore(prefs);
  if (!at) return html`<span class="faint">—</span>`;
  return html`<time datetime=${at} title=${format.stamp(at)}>${format.ago(at, nowMs)}</time>`;
}

export function Clock({ at, withDate = false }) {
  useStore(prefs);
  return html`<time class="num" datetime=${at} title=${format.stamp(at)}>${withDate ? format.stamp(at) : format.clock(at)}</time>`;
}

// Links, empty states, errors

export const SagaLink = ({ id }) => html`<a class="mono" href=${sagaHref(id)}>${id}</a>`;

export function Empty({ title, children }) {
  return html`<div class="empty"><p class="empty-title">${title}</p>${children}</div>`;
}

export function Failure({ problem, again, what = "This could not be read" }) {
  if (!problem) return null;
  return html`<div class="failure" role="alert">
    <${Glyph} of="critical" />
    <div>
      <p><strong>${what}: ${problem.title}</strong></p>
      <p>${format.sentence(problem.message)}${/[.!?]$/.test(problem.message) ? "" : "."}</p>
      ${problem.errors?.length > 0 && html`<${Faults} errors=${problem.errors} />`}
      ${problem.allowed && html`<p>Allowed now: ${problem.allowed.join(", ") || "nothing"}.</p>`}
    </div>
    ${again && html`<button class="small" onClick=${again}>Try again</button>`}
  </div>`;
}

export function Faults({ errors, onPick }) {
  return html`<ul class="faults">
    ${errors.map((one) => html`<li key=${one.pointer + one.detail}>
      ${onPick ? html`<button class="link mono" onClick=${() => onPick(one.pointer)}>${one.pointer || "/"}</button>` : html`<code>${one.pointer || "/"}</code>`}
      <span> ${one.detail}</span>
    </li>`)}
  </ul>`;
}

export const Loading = () => html`<p class="loading" role="status">Reading…</p>`;

// What of an answer may be shown: it, its problem, or that it is on its way.
export function Answer({ of, what, children }) {
  if (of.body === undefined) return of.problem ? html`<${Failure} problem=${of.problem} again=${of.again} what=${what} />` : html`<${Loading} />`;
  return html`${of.problem && html`<${Failure} problem=${of.problem} again=${of.again} what="What you see is old" />`}${children(of.body)}`;
}

export function Panel({ title, aside, children, id, flush = false, class: more = "" }) {
  return html`<section class="panel ${flush ? "flush" : ""} ${more}" id=${id} aria-label=${title}>
    ${title && html`<header><h2>${title}</h2>${aside && html`<div class="aside">${aside}</div>`}</header>`}
    ${children}
  </section>`;
}

export function Facts({ of }) {
  const told = of.filter(Boolean).filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== false);
  return html`<dl class="facts">${told.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

// A bar of how much of something is used; what it says is in words beside it.
export function Meter({ value, max, tone = "run" }) {
  const share = max ? Math.min(1, value / max) : 0;
  return html`<span class="meter ${tone}" aria-hidden="true"><i style=${{ width: `${100 * share}%` }}></i></span>`;
}

// Text that can be copied

export function Code({ text, label, lines = 0 }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return html`<div class="code">
    <pre tabindex="0" aria-label=${label} role="region" style=${lines ? { maxHeight: `${lines * 1.5}em` } : {}}>${text}</pre>
    ${navigator.clipboard && html`<button class="small" onClick=${copy} aria-label="Copy: ${label}">${isCopied ? "Copied" : "Copy"}</button>`}
  </div>`;
}

export const Json = ({ value, label }) => html`<${Code} text=${JSON.stringify(value, null, 2)} label=${label} />`;

// Dialogs: the browser's own, which keep the focus and end with Escape.

export function Dialog({ title, onClose, children, wide = false }) {
  const dialog = useRef(null);
  useLayoutEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  const onClick = (event) => event.target === dialog.current && onClose();
  return html`<dialog ref=${dialog} class=${wide ? "wide" : ""} aria-label=${title} onClick=${onClick}
      onCancel=${(event) => { event.preventDefault(); onClose(); }}>
    <div class="dialog">
      <header><h2>${title}</h2><button class="quiet small" onClick=${onClose}>Close <kbd>Esc</kbd></button></header>
      ${children}
    </div>
  </dialog>`;
}

// News that goes by

const said = store({ texts: [] });

export function say(text, tone = "ok") {
  const one = { text, tone };
  said.set((old) => ({ texts: [...old.texts, one] }));
  setTimeout(() => said.set((old) => ({ texts: old.texts.filter((each) => each !== one) })), 5000);
}

export function Said() {
  const { texts } = useStore(said);
  return html`<div class="said" role="status" aria-live="polite">
    ${texts.map(({ text, tone }, at) => html`<p key=${at} class=${tone}><${Glyph} of=${tone === "bad" ? "error" : "success"} />${text}</p>`)}
  </div>`;
}

export function useTitle(title) {
  useEffect(() => {
    document.title = `${title} · sagakeep`;
  }, [title]);
}

// Do something once at a time, and keep what went wrong.
export function useDoing() {
  const [problem, setProblem] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const run = async (deed) => {
    setBusy(true);
    setProblem(null);
    try {
      return await deed();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
      return undefined;
    } finally {
      setBusy(false);
    }
  };
  return { run, problem, isBusy };
}
