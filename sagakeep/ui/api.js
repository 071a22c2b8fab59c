// The API: one way to ask it, its errors, and the key that it may want. The dashboard is a client as any other.

import { useEffect, useRef, useState } from "./html.js";
import { store, useStore } from "./store.js";

const KEY = "sagakeep-key";

function rememberedKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

// `who` is {name, role, isKeyed}; `operations` are those that this server has; `lostAt` is since when it is silent.
export const session = store({ key: rememberedKey(), who: null, isKeyWanted: false, operations: null, lostAt: 0 });

// What went wrong, as the server's problem document tells it; status 0 is no answer.
export class Problem extends Error {
  constructor(status, said) {
    const told = typeof said === "object" && said !== null ? said : {};
    super(told.detail ?? (typeof said === "string" && said ? said.slice(0, 300) : `the server answered ${status}`));
    this.name = "Problem";
    this.status = status;
    this.title = told.title ?? (status ? `Error ${status}` : "No answer");
    this.errors = told.errors ?? [];
    this.allowed = told.allowed ?? null;
    this.said = said;
  }
}

const SILENT = "the server does not answer: it has stopped, or the network is down";

// Ask; `accept` lists error statuses whose body is an answer all the same.
export async function ask(path, { method = "GET", body, headers = {}, signal, accept = [] } = {}) {
  const reply = await open(path, { method, body, headers: { Accept: "application/json", ...headers }, signal });
  const said = await read(reply);
  if (reply.ok || reply.status === 304 || accept.includes(reply.status)) {
    return { status: reply.status, body: said, etag: reply.headers.get("etag") };
  }
  throw new Problem(reply.status, said);
}

// Ask, and leave the reading of the reply to the caller. A key is never put into an address.
export async function open(path, { method = "GET", body, headers = {}, signal } = {}) {
  const { key } = session.get();
  const sent = { ...headers };
  if (key) sent.Authorization = `Bearer ${key}`;
  if (body !== undefined) sent["Content-Type"] ??= "application/json";
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  let reply;
  try {
    reply = await fetch(path, { method, headers: sent, body: text, signal, redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (!session.get().lostAt) session.set({ lostAt: Date.now() });
    throw new Problem(0, { detail: SILENT });
  }
  if (session.get().lostAt) session.set({ lostAt: 0 });
  if (reply.status === 401 && key === session.get().key) session.set({ isKeyWanted: true, who: null });
  return reply;
}

async function read(reply) {
  if (reply.status === 204 || reply.status === 304) return null;
  const kind = reply.headers.get("content-type") ?? "";
  return kind.includes("json") && !kind.includes("ndjson") ? reply.json() : reply.text();
}

// Who we are to this server, and what it can do.
export async function introduce() {
  const [{ body: who }, { body: document }] = await Promise.all([ask("/api/whoami"), ask("/openapi.json")]);
  const operations = new Set();
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const method of Object.keys(methods)) operations.add(`${method.toUpperCase()} ${path}`);
  }
  session.set({ who, operations, isKeyWanted: false });
}

export function takeKey(key) {
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // it is forgotten with the page
  }
  session.set({ key, who: null, isKeyWanted: false });
}

// Why changes may not be made from here, "" when they may.
export function whyReadOnly({ who }) {
  if (!who) return "It is not known yet what you may do.";
  return who.role === "viewer" ? `The key ${who.name} is a viewer's: it may look, and change nothing.` : "";
}

export const can = (operation) => session.get().operations?.has(operation) ?? false;

const NOTHING = { body: undefined, etag: null, problem: null, path: "" };

// Keep asking for something: at once, every so many milliseconds while the page is looked at, and `again`.
export function useAsk(path, { every = 0, accept } = {}) {
  const [said, setSaid] = useState(NOTHING);
  const { key } = useStore(session);
  const looking = useRef(() => {});
  useEffect(() => {
    if (!path) {
      setSaid(NOTHING);
      looking.current = () => {};
      return undefined;
    }
    const watch = keepAsking(path, every, accept, setSaid);
    looking.current = watch.again;
    return watch.end;
  }, [path, every, key]);
  const mine = said.path === path ? said : NOTHING;
  return { ...mine, again: () => looking.current() };
}

function keepAsking(path, every, accept, setSaid) {
  const aborter = new AbortController();
  let [timer, isOver, isBusy, isWished] = [0, false, false, false];
  const later = () => {
    if (every && !isOver) timer = setTimeout(() => (document.hidden ? later() : again()), every);
  };
  async function again() {
    isWished = isBusy;
    if (isBusy || isOver) return;
    isBusy = true;
    clearTimeout(timer);
    const change = await attempt(path, accept, aborter.signal);
    isBusy = false;
    if (isOver) return;
    setSaid((old) => ({ ...(old.path === path ? old : NOTHING), path, ...change }));
    if (isWished) again();
    else later();
  }
  again();
  const end = () => {
    isOver = true;
    clearTimeout(timer);
    aborter.abort();
  };
  return { again, end };
}

async function attempt(path, accept, signal) {
  try {
    const { body, etag } = await ask(path, { accept, signal });
    return { body, etag, problem: null };
  } catch (problem) {
    if (problem instanceof Problem || problem.name === "AbortError") return { problem };
    throw problem;
  }
}
