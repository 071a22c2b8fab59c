// Sagas: the list. Filters are in the address, rows are drawn only in sight, and moves can be made of many.

import { ask, can, Problem } from "../api.js";
import { Bulk } from "../bulk.js";
import { BulkByFilter } from "../bulkfilter.js";
import { ago, plural, words } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { useKeys } from "../keys.js";
import { stream, useNews } from "../news.js";
import { Empty, Failure, Loading, Status, statusName, useNow, useTitle } from "../parts.js";
import { changeQuery, go, pageHref, sagaHref, useRoute } from "../route.js";
import { openRows } from "../rows.js";
import { useStore } from "../store.js";
import { VirtualRows } from "../virtual.js";

const STATUSES = ["created", "running", "retrying", "compensating", "failed", "compensation_failed", "compensated", "completed", "abandoned"];
const SINCE = { "15m": 15 * 60, "1h": 3600, "24h": 86400, "7d": 7 * 86400 };
const REFRESH_MS = 2000; // at most so often, for new ones; without a stream at every second time

// What the address says, as the API's filters: `since` is for people, and `tag` is KEY=VALUE.
export function filtersOf(query, nowMs = Date.now()) {
  const filters = {};
  for (const name of ["status", "name", "createdAfter", "createdBefore"]) if (query.get(name)) filters[name] = query.get(name);
  const [key, ...value] = (query.get("tag") ?? "").split("=");
  if (key && value.length) filters[`tag.${key}`] = value.join("=");
  const since = SINCE[query.get("since")];
  if (since) filters.createdAfter = new Date(nowMs - since * 1000).toISOString();
  return filters;
}

export function Sagas() {
  useTitle("Sagas");
  const { query } = useRoute();
  const text = query.toString();
  const filters = useMemo(() => filtersOf(query), [text]);
  const rows = useMemo(() => openRows(filters), [filters]);
  const [selected, setSelected] = useState(new Set());
  const [isBulk, setBulk] = useState(false);
  const [isAll, setAll] = useState(false);
  const { isLive } = useStore(stream);
  const isStale = useRef(false);
  useEffect(() => {
    setSelected(new Set());
    rows.more();
    return () => rows.end();
  }, [rows]);
  useEffect(() => {
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
      if (document.hidden || !(isStale.current || ticks % (isLive ? 15 : 2) === 0)) return;
      isStale.current = false;
      rows.refresh();
    }, REFRESH_MS);
    return () => clearInterval(timer);
  }, [rows, isLive]);
  useNews((news) => {
    if (!news || rows.note(news)) isStale.current = true;
  }, [rows]);
  return html`<div class="list-page">
    <header class="page-head"><h1>Sagas</h1><${Found} list=${rows.list} onAll=${can("POST /api/sagas/bulk") && text ? () => setAll(true) : null} /></header>
    <${Filters} query=${query} />
    ${selected.size > 0 && html`<div class="bulk-bar" role="group" aria-label="Selection"><b>${plural(selected.size, "saga")} selected</b>
      <button class="small primary" onClick=${() => setBulk(true)}>Make a move…</button><button class="small" onClick=${() => setSelected(new Set())}>Select none</button></div>`}
    <${Table} rows=${rows} selected=${selected} onSelected=${setSelected} hasFilters=${Object.keys(filters).length > 0} />
    ${isAll && html`<${BulkByFilter} filters=${filters} example=${rows.list.get().rows[0].id} onClose=${() => { setAll(false); rows.refresh(); }} />`}
    ${isBulk && html`<${Bulk} ids=${[...selected]} onClose=${() => { setBulk(false); rows.refresh(); }} />`}
  </div>`;
}

function Found({ list, onAll }) {
  const { rows, cursor, isRead } = useStore(list);
  return html`${onAll && rows.length > 0 && html`<button class="small end" onClick=${onAll}>Move all of these…</button>`}<p class="faint num" role="status">${isRead ? `${plural(rows.length, "saga")}${cursor ? " read, more when you scroll" : ""}` : ""}</p>`;
}

function Filters({ query }) {
  const search = useRef(null);
  useKeys({ "/": () => search.current.focus() });
  const typed = (event) => { // a form of several fields and no button is not sent by Enter
    if (event.key === "Enter") open(event.target.value.trim());
    else if (event.key === "Escape") event.target.blur();
  };
  const change = (name) => (event) => changeQuery({ [name]: event.target.value.trim() });
  return html`<form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
    <label class="grow"><span>Id or name <kbd>/</kbd></span><input ref=${search} type="search" key=${query.get("name")} defaultValue=${query.get("name") ?? ""} placeholder="Enter opens an id, or lists a name" autocomplete="off" spellcheck=${false}
      onKeyDown=${typed} /></label>
    <label><span>Status</span><select value=${query.get("status") ?? ""} onChange=${change("status")}><option value="">any</option>${STATUSES.map((one) => html`<option key=${one} value=${one}>${statusName(one)}${statusName(one) === one ? "" : ` (${one})`}</option>`)}</select></label>
    <label><span>Created</span><select value=${query.get("since") ?? ""} onChange=${change("since")}><option value="">any time</option>${Object.keys(SINCE).map((one) => html`<option key=${one} value=${one}>last ${one.replace("m", " min").replace("h", " h").replace("d", " days")}</option>`)}</select></label>
    <label><span>Tag</span><input class="tag" key=${query.get("tag")} defaultValue=${query.get("tag") ?? ""} placeholder="key=value" onChange=${change("tag")} spellcheck=${false} /></label>
    ${query.size > 0 && html`<button type="button" class="small" onClick=${() => go(pageHref("sagas"))}>Clear</button>`}
  </form>`;
}

// An id is opened, everything else is a name to list.
async function open(text) {
  if (!text) {
    changeQuery({ name: "" });
    return;
  }
  try {
    await ask(`/api/sagas/${encodeURIComponent(text)}/status`);
    go(sagaHref(text));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    changeQuery({ name: text });
  }
}

function Table({ rows, selected, onSelected, hasFilters }) {
  const { rows: shown, cursor, isRead, problem } = useStore(rows.list);
  const [at, setAt] = useState(-1);
  const lastPicked = useRef(-1);
  const height = useRowHeight();
  const nowMs = useNow();
  useEffect(() => setAt(-1), [rows]);
  const pick = (index, isRange) => {
    const next = new Set(selected);
    const [from, to] = isRange && lastPicked.current >= 0 ? [Math.min(index, lastPicked.current), Math.max(index, lastPicked.current)] : [index, index];
    const isOn = !selected.has(shown[index].id);
    for (let one = from; one <= to; one += 1) next[isOn ? "add" : "delete"](shown[one].id);
    lastPicked.current = index;
    onSelected(next);
  };
  useKeys({
    j: () => setAt((old) => Math.min(shown.length - 1, old + 1)),
    k: () => setAt((old) => Math.max(0, old - 1)),
    Enter: () => shown[at] && go(sagaHref(shown[at].id)),
    o: () => shown[at] && go(sagaHref(shown[at].id)),
    x: () => shown[at] && pick(at, false),
    Escape: () => (selected.size ? onSelected(new Set()) : setAt(-1)),
  });
  if (problem && !shown.length) return html`<${Failure} problem=${problem} again=${() => rows.more()} what="The list could not be read" />`;
  if (!isRead && !shown.length) return html`<${Loading} />`;
  if (!shown.length) {
    return hasFilters
      ? html`<${Empty} title="No saga is like that"><p><a href=${pageHref("sagas")}>Show all sagas</a></p><//>`
      : html`<${Empty} title="No saga has been begun yet"><p><a class="button primary" href=${pageHref("new")}>Begin the first one</a></p><//>`;
  }
  const allOn = shown.length > 0 && selected.size >= shown.length;
  const toggleAll = () => onSelected(allOn ? new Set() : new Set(shown.map((row) => row.id)));
  return html`<div class="table" role="table" aria-label="Sagas" aria-rowcount=${cursor ? -1 : shown.length + 1}>
    ${problem && html`<${Failure} problem=${problem} again=${() => rows.refresh()} what="What you see is old" />`}
    <div role="rowgroup"><div class="tr th" role="row" aria-rowindex="1">
      <span role="columnheader"><input type="checkbox" checked=${allOn} onChange=${toggleAll} aria-label="Select all that were read" /></span>
      <span role="columnheader">Status</span><span role="columnheader">Saga</span><span role="columnheader" class="c-name">Name</span><span role="columnheader" class="c-progress">Steps done</span><span role="columnheader" class="c-where">Where it is</span><span role="columnheader" class="c-age right">Changed</span><span role="columnheader" class="c-created right">Created</span>
    </div></div>
    <${VirtualRows} count=${shown.length} height=${height} cursor=${at} onNearEnd=${() => cursor && !problem && rows.more()}
      row=${(index, key, style) => html`<${Row} key=${key} row=${shown[index]} style=${style} index=${index} isHere=${index === at} isOn=${selected.has(shown[index].id)} onPick=${pick} nowMs=${nowMs} />`} />
  </div>`;
}

// Without hooks of its own, for it is drawn a thousand times while somebody scrolls.
function Row({ row, style, index, isHere, isOn, onPick, nowMs }) {
  return html`<div class="tr ${isHere ? "here" : ""} ${isOn ? "on" : ""}" role="row" data-at=${index} aria-rowindex=${index + 2} aria-selected=${isOn} style=${style}>
    <span role="cell"><input type="checkbox" checked=${isOn} onClick=${(event) => { event.preventDefault(); onPick(index, event.shiftKey); }} aria-label="Select ${row.id}" /></span>
    <span role="cell"><${Status} of=${row.status} /></span>
    <span role="cell" class="clip"><a class="mono" href=${sagaHref(row.id)}>${row.id}</a></span>
    <span role="cell" class="c-name clip">${row.name}</span>
    <span role="cell" class="c-progress num"><${Steps} done=${row.done} total=${row.total} />${row.done}/${row.total}</span>
    <span role="cell" class="c-where clip faint" title=${row.error}>${row.error || (row.step && words(row.step))}</span>
    <span role="cell" class="c-age right num" title=${row.updatedAt}>${ago(row.updatedAt, nowMs)}</span>
    <span role="cell" class="c-created right num" title=${row.createdAt}>${ago(row.createdAt, nowMs)}</span>
  </div>`;
}

const Steps = ({ done, total }) => html`<span class="steps" aria-hidden="true"><i style=${{ width: `${(100 * done) / total}%` }}></i></span>`;

function useRowHeight() {
  const narrow = useMemo(() => matchMedia("(max-width: 700px)"), []);
  const [isNarrow, setNarrow] = useState(narrow.matches);
  useEffect(() => {
    const look = () => setNarrow(narrow.matches);
    narrow.addEventListener("change", look);
    return () => narrow.removeEventListener("change", look);
  }, []);
  return isNarrow ? 60 : 38;
}
