// Keys: what is pressed is offered to the newest who listens first. Typing is left alone, and all of it can be turned off.

import { html, useEffect, useRef } from "./html.js";
import { Dialog } from "./parts.js";
import { nextTheme, prefer, prefs } from "./prefs.js";
import { go, pageHref } from "./route.js";
import { store, useStore } from "./store.js";

const PLACES = { o: "overview", s: "sagas", v: "services", n: "new", a: "analytics", y: "system" };
const SEQUENCE_MS = 1200;

const listeners = [];
export const help = store({ isOpen: false });
let goingSince = 0;

// Listen while a component is there: `keys` maps what is pressed to what is done.
export function useKeys(keys) {
  const current = useRef(keys);
  current.current = keys;
  useEffect(() => {
    listeners.unshift(current);
    return () => listeners.splice(listeners.indexOf(current), 1);
  }, []);
}

const GLOBAL = {
  "?": () => help.set({ isOpen: true }),
  g: () => { goingSince = Date.now(); },
  t: nextTheme,
};

const isTyping = (target) => target.matches?.("input:not([type=checkbox]):not([type=radio]):not([type=range]), textarea, select, [contenteditable]");

export function listenForKeys() {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || prefs.get().keys === "off") return;
    if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && event.target.closest?.("a, button, summary, input")) return;
    const deed = deedOf(event.key);
    if (!deed) return;
    event.preventDefault();
    deed();
  });
}

function deedOf(key) {
  const isGoing = Date.now() - goingSince < SEQUENCE_MS;
  goingSince = 0;
  if (isGoing && PLACES[key]) return () => go(pageHref(PLACES[key]));
  const listener = listeners.find((one) => one.current[key]);
  return listener?.current[key] ?? GLOBAL[key];
}

const HELP = [
  ["Everywhere", [["?", "this page"], ["g o", "overview"], ["g s", "sagas"], ["g v", "services"], ["g a", "analytics"], ["g n", "new saga"], ["g y", "system"], ["t", "theme: system, light, dark"], ["Esc", "close, or leave a field"]]],
  ["In the list", [["j k", "down, up"], ["Enter", "open the saga"], ["x", "select it; Shift and a click select all between"], ["/", "find an id or a name"]]],
  ["On a saga", [["[ ]", "one event back, on"], ["1 2 3 4", "history, timeline, undo plan, definition"], ["u", "up, to the list"]]],
];

export function KeyHelp() {
  const { isOpen } = useStore(help);
  const { keys } = useStore(prefs);
  if (!isOpen) return null;
  return html`<${Dialog} title="Keys" onClose=${() => help.set({ isOpen: false })}>
    <div class="keys">${HELP.map(([where, list]) => html`<section key=${where}><h3>${where}</h3><dl>${list.map(([key, what]) => html`<div key=${key}><dt>${key.split(" ").map((one) => html`<kbd>${one}</kbd> `)}</dt><dd>${what}</dd></div>`)}</dl></section>`)}</div>
    <p><label><input type="checkbox" checked=${keys === "on"} onChange=${(event) => prefer("keys", event.target.checked ? "on" : "off")} /> Keys do something</label></p>
  <//>`;
}
