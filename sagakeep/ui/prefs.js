// Preferences: what this browser remembers of how somebody likes it; nothing of it leaves the browser.

import { store } from "./store.js";

const DEFAULTS = { theme: "system", clock: "local", keys: "on", actor: "" };

function remembered() {
  const found = { ...DEFAULTS };
  try {
    for (const name of Object.keys(DEFAULTS)) found[name] = localStorage.getItem(`sagakeep-${name}`) ?? DEFAULTS[name];
  } catch {
    // storage is off: the defaults, then
  }
  return found;
}

export const prefs = store(remembered());

export function prefer(name, value) {
  prefs.set({ [name]: value });
  try {
    localStorage.setItem(`sagakeep-${name}`, value);
  } catch {
    // it is forgotten with the page
  }
  if (name === "theme") showTheme(value);
}

function showTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function nextTheme() {
  const order = ["system", "light", "dark"];
  prefer("theme", order[(order.indexOf(prefs.get().theme) + 1) % order.length]);
}
