// Route: the address is the state of a page, so that it can be kept, sent and gone back to.

import { store, useStore } from "./store.js";

const ROOT = "/ui";

function here() {
  const parts = location.pathname.slice(ROOT.length).split("/").filter(Boolean).map(decodeURIComponent);
  return { page: parts[0] ?? "overview", id: parts[1] ?? "", query: new URLSearchParams(location.search) };
}

const place = store(here());
addEventListener("popstate", () => place.set(() => here()));

export const useRoute = () => useStore(place);
export const route = () => place.get();

// Go to an address below /ui; `replace` leaves no trace in the history.
export function go(address, { replace = false } = {}) {
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  place.set(() => here());
  if (!replace) scrollTo(0, 0);
}

export const pageHref = (page) => (page === "overview" ? ROOT : `${ROOT}/${page}`);
export const sagaHref = (id) => `${ROOT}/sagas/${encodeURIComponent(id)}`;
export const listHref = (filters) => `${ROOT}/sagas?${new URLSearchParams(filters)}`;

// Change some of what is behind the question mark; an empty value leaves it out.
export function changeQuery(changes, { replace = true } = {}) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value === null || value === undefined) query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  go(location.pathname + (text ? `?${text}` : ""), { replace });
}

// Links stay within the page, unless somebody wants them elsewhere.
export function followLinks(event) {
  if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest?.("a[href]");
  if (!link || link.target || link.origin !== location.origin) return;
  if (link.pathname !== ROOT && !link.pathname.startsWith(`${ROOT}/`)) return;
  event.preventDefault();
  go(link.pathname + link.search);
}
