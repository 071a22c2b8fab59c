// Format: numbers and times as people read them.

import { prefs } from "./prefs.js";

export const count = (number) => number.toLocaleString("en");
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

export function rate(perSecond) {
  if (perSecond >= 100) return count(Math.round(perSecond));
  return perSecond.toFixed(perSecond >= 10 || perSecond === 0 ? 0 : 1);
}

export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (number >= 1024 && at < units.length - 1) {
    number /= 1024;
    at += 1;
  }
  return `${number >= 100 || at === 0 ? Math.round(number) : number.toFixed(1)} ${units[at]}`;
}

export function duration(seconds) {
  if (seconds < 0.0995) return `${(seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0)} ms`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(seconds < 9.95 ? 1 : 0)} s`;
  const minutes = Math.round(seconds) / 60;
  if (minutes < 60) return two(minutes, "min", 60, "s");
  if (minutes < 24 * 60) return two(minutes / 60, "h", 60, "min");
  return two(minutes / 1440, "d", 24, "h");
}

function two(value, unit, per, lesser) {
  const whole = Math.floor(value);
  const rest = Math.floor((value - whole) * per);
  return rest ? `${whole} ${unit} ${rest} ${lesser}` : `${whole} ${unit}`;
}

export function ago(iso, nowMs = Date.now()) {
  const seconds = (nowMs - Date.parse(iso)) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  const text = duration(Math.max(1, Math.floor(Math.abs(seconds)))).replace(/\.0 s$/, " s");
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

const pad = (number, width = 2) => String(number).padStart(width, "0");

// The time of day, to the millisecond.
export function clock(iso) {
  const time = new Date(iso);
  const parts = isUtc()
    ? [time.getUTCHours(), time.getUTCMinutes(), time.getUTCSeconds()]
    : [time.getHours(), time.getMinutes(), time.getSeconds()];
  return `${parts.map((part) => pad(part)).join(":")}.${pad(time.getMilliseconds(), 3)}`;
}

export function date(iso) {
  const time = new Date(iso);
  if (isUtc()) return `${time.getUTCFullYear()}-${pad(time.getUTCMonth() + 1)}-${pad(time.getUTCDate())}`;
  return `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())}`;
}

export const stamp = (iso) => `${date(iso)} ${clock(iso)}${isUtc() ? " UTC" : ""}`;

const isUtc = () => prefs.get().clock === "utc";

export const words = (name) => name.replaceAll("_", " ");
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
