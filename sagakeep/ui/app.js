// App: the frame around the pages, and the way in.

import { can, introduce, Problem, session, takeKey } from "./api.js";
import { html, render, useEffect, useState } from "./html.js";
import { help, KeyHelp, listenForKeys } from "./keys.js";
import { stream } from "./news.js";
import { Empty, Failure, Glyph, Loading, Said, useNow } from "./parts.js";
import { nextTheme, prefs } from "./prefs.js";
import { keepRates, rates } from "./rates.js";
import { followLinks, pageHref, useRoute } from "./route.js";
import { useStore } from "./store.js";
import { Analytics } from "./pages/analytics.js";
import { New } from "./pages/new.js";
import { Overview } from "./pages/overview.js";
import { Saga } from "./pages/saga.js";
import { Sagas } from "./pages/sagas.js";
import { Services } from "./pages/services.js";
import { System } from "./pages/system.js";

const PAGES = {
  overview: { name: "Overview", draw: Overview },
  sagas: { name: "Sagas", draw: Sagas },
  services: { name: "Services", draw: Services },
  analytics: { name: "Analytics", draw: Analytics, needs: "GET /api/analytics" },
  new: { name: "New saga", draw: New },
  system: { name: "System", draw: System },
};

const ICONS = {
  overview: "M2.5 13.5v-5M6.2 13.5v-9M9.8 13.5V7M13.5 13.5V2.5",
  sagas: "M2.5 4h11M2.5 8h11M2.5 12h7",
  services: "M3 2.5h10v4.5H3ZM3 9h10v4.5H3ZM5.4 4.8h.1M5.4 11.2h.1",
  analytics: "M2.5 11.5 6 7.5l3 2.5 4.5-6M10.5 4h3v3",
  new: "M8 3v10M3 8h10",
  system: "M8 5.6a2.4 2.4 0 1 0 0 4.8 2.4 2.4 0 0 0 0-4.8ZM8 1.8v2M8 12.2v2M1.8 8h2M12.2 8h2M3.6 3.6 5 5M11 11l1.4 1.4M12.4 3.6 11 5M5 11l-1.4 1.4",
  theme: "M8 2.2a5.8 5.8 0 1 0 0 11.6 5.8 5.8 0 0 0 0-11.6ZM8 2.2v11.6",
};

const Icon = ({ of }) => html`<svg class="icon" width="16" height="16" viewBox="0 0 16 16" aria-hidden="true"><path d=${ICONS[of]} /></svg>`;

function App() {
  const { page, id } = useRoute();
  const state = useStore(session);
  const known = PAGES[page];
  useEffect(() => document.querySelector("#main")?.focus({ preventScroll: true }), [page, id]);
  return html`<div class="frame" onClick=${followLinks}>
    <a class="skip" href="#main">To the page</a>
    <header class="bar">
      <a class="brand" href=${pageHref("overview")}><svg width="26" height="26" viewBox="0 0 24 24" aria-hidden="true"><rect width="24" height="24" rx="5.5" /><path d="M5.5 9h13M15 5.5 18.5 9M18.5 15.5h-13M9 12l-3.5 3.5L9 19" /></svg>sagakeep</a>
      <${Nav} page=${page} />
      <${Foot} />
    </header>
    <main id="main" tabindex="-1">
      <${Silence} />
      ${state.isKeyWanted || !state.who ? html`<${Door} />` : known ? (page === "sagas" && id ? html`<${Saga} key=${id} id=${id} />` : html`<${known.draw} key=${page} />`) : html`<h1>Nothing here</h1><${Empty} title="There is no page at this address"><p><a href=${pageHref("overview")}>To the overview</a></p><//>`}
    </main>
    <${Said} />
    <${KeyHelp} />
  </div>`;
}

function Nav({ page }) {
  const { stats } = useStore(rates);
  useStore(session);
  const held = stats ? stats.byStatus.failed + stats.byStatus.compensation_failed : 0;
  return html`<nav aria-label="Pages"><ul>
    ${Object.entries(PAGES).filter(([, one]) => !one.needs || can(one.needs)).map(([name, one]) => html`<li key=${name}><a href=${pageHref(name)} aria-current=${page === name ? "page" : null}><${Icon} of=${name} />${one.name}
      ${name === "sagas" && held > 0 && html`<span class="badge" title="wait for a person">${held}<span class="hidden"> wait for a person</span></span>`}</a></li>`)}
  </ul></nav>`;
}

function Foot() {
  const { who, lostAt } = useStore(session);
  const { isLive } = useStore(stream);
  const { theme } = useStore(prefs);
  const names = { system: "the system's", light: "light", dark: "dark" };
  return html`<div class="foot">
    ${who && html`<p class="who" title=${isLive ? "Changes come as they are durable" : "The server is asked again and again"}><i class="dot ${lostAt ? "bad" : "ok"}" aria-hidden="true"></i>${lostAt ? "no answer" : isLive ? "live" : "connected"}<span class="faint"> · ${who.name}${who.role === "viewer" ? ", viewer" : ""}</span></p>`}
    <button class="quiet small" onClick=${nextTheme} aria-label="Theme: ${names[theme]}; change it" title="Theme: ${names[theme]} (t)"><${Icon} of="theme" /></button>
    <button class="quiet small" onClick=${() => help.set({ isOpen: true })} aria-label="Keys" title="Keys (?)">?</button>
  </div>`;
}

// Says so when the server is silent, and since when.
function Silence() {
  const { lostAt, who } = useStore(session);
  const nowMs = useNow();
  if (!lostAt || !who || nowMs - lostAt < 1500) return null;
  return html`<p class="silence" role="alert"><${Glyph} of="critical" />The server has not answered for ${Math.round((nowMs - lostAt) / 1000)} s. What you see is as it was; the page keeps asking.</p>`;
}

// The way in: who we are is asked, and the key when one is wanted.
function Door() {
  const { key, isKeyWanted } = useStore(session);
  const [problem, setProblem] = useState(null);
  const [typed, setTyped] = useState("");
  const knock = async () => {
    setProblem(null);
    try {
      await introduce();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status !== 401) setProblem(error);
    }
  };
  useEffect(() => {
    if (!isKeyWanted) knock();
    else if (key) setProblem(new Problem(401, { title: "The key is not known", detail: "no key of this server is like that; keys are made by sagakeep key new, and named in its configuration" }));
  }, [key, isKeyWanted]);
  useEffect(() => {
    if (!problem || problem.status) return undefined;
    const timer = setTimeout(knock, 2000);
    return () => clearTimeout(timer);
  }, [problem]);
  if (!isKeyWanted) return problem ? html`<h1>sagakeep</h1><${Failure} problem=${problem} again=${knock} what="The server was asked who you are" />` : html`<h1 class="hidden">sagakeep</h1><${Loading} />`;
  const enter = (event) => {
    event.preventDefault();
    if (typed.trim()) takeKey(typed.trim());
  };
  return html`<section class="panel door" aria-label="The way in"><header><h1>This server wants a key</h1></header>
    <form onSubmit=${enter}><p class="field"><label for="key">Key</label><input id="key" type="password" autocomplete="off" spellcheck=${false} placeholder="sgk_…" value=${typed} onInput=${(event) => setTyped(event.target.value)} />
      <span class="hint">It stays in this tab and is forgotten with it. A viewer's key can look and change nothing.</span></p>
    <${Failure} problem=${problem} what="Not let in" />
    <p class="row"><button class="primary" type="submit" disabled=${!typed.trim()}>Enter</button></p></form></section>`;
}

listenForKeys();
keepRates();
const root = document.querySelector("#app");
root.textContent = "";
render(html`<${App} />`, root);
