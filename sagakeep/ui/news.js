// News: one stream of what becomes durable, for all who listen; while nobody does, there is none. Where the server has
// no such stream, or it breaks, the pages go on asking.

import { can, open, session } from "./api.js";
import { useEffect } from "./html.js";
import { store } from "./store.js";

const TOLD_MS = 400; // news of so long are told at once
const [AGAIN_MS, AGAIN_MS_MAX] = [1000, 15000];

export const stream = store({ isLive: false });
const listeners = new Set();
let [running, lastId, waiting, timer] = [null, "", new Map(), 0];

// `hear` gets a Map of what changed by the saga's id, or null when something may have been missed and all is to be asked anew.
export function useNews(hear, inputs) {
  useEffect(() => {
    listeners.add(hear);
    begin();
    return () => {
      listeners.delete(hear);
      if (!listeners.size) setTimeout(() => listeners.size || end(), 1000); // another page may listen at once
    };
  }, inputs);
}

function tell(news) {
  for (const hear of [...listeners]) hear(news);
}

function note({ sagaID, name, sagaStatus, timestamp, stepID, type }) {
  const news = { ...waiting.get(sagaID), name, status: sagaStatus, updatedAt: timestamp, isGone: type === "saga_deleted" };
  if (stepID) news.step = stepID;
  waiting.set(sagaID, news);
  timer ||= setTimeout(() => {
    const news = waiting;
    [timer, waiting] = [0, new Map()];
    tell(news);
  }, TOLD_MS);
}

function begin() {
  if (running || document.hidden || !can("GET /api/events")) return;
  running = new AbortController();
  keepReading(running.signal);
}

function end() {
  running?.abort();
  running = null;
  stream.set({ isLive: false });
}

session.hear(({ operations, key }) => {
  if (operations && listeners.size) begin();
  if (running && key !== running.key && running.key !== undefined) end();
  if (running) running.key = key;
});

// A browser opens some six connections to one server, for all of its tabs: one that nobody looks at keeps none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) end();
  else if (listeners.size) begin();
});

async function keepReading(signal) {
  let waitMs = AGAIN_MS;
  while (!signal.aborted) {
    try {
      const reply = await open("/api/events", { headers: { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) }, signal });
      if (!reply.ok) throw new Error(`the stream is refused: ${reply.status}`);
      stream.set({ isLive: true });
      waitMs = AGAIN_MS;
      await readStream(reply.body, signal);
    } catch {
      if (signal.aborted) return;
    }
    stream.set({ isLive: false });
    await new Promise((done) => setTimeout(done, waitMs));
    waitMs = Math.min(AGAIN_MS_MAX, 2 * waitMs);
  }
}

async function readStream(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) take(fieldsOf(block));
  }
}

// One block of server-sent events, as its fields.
export function fieldsOf(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const at = line.indexOf(":");
    if (at > 0) fields[line.slice(0, at)] = line.slice(at + 1).trimStart();
  }
  return fields;
}

function take({ id, event, data }) {
  if (id) lastId = id;
  if (event === "gap" || event === "ready") tell(null);
  else if (data) note(JSON.parse(data));
}
