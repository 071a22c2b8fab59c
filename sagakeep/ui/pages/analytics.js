// Analytics: how sagas fared, by name, by step, and by what went wrong.

import { Empty, useTitle } from "../parts.js";
import { html } from "../html.js";

export function Analytics() {
  useTitle("Analytics");
  return html`<header class="page-head"><h1>Analytics</h1></header><${Empty} title="This server has no analytics" />`;
}
