// System: the process itself. Its checks, its journal, what it recovered, and what runs.

import { session, takeKey, useAsk } from "../api.js";
import { bytes, count, duration, plural, sentence, words } from "../format.js";
import { html, useMemo } from "../html.js";
import { quantile, readMetrics, valueOf } from "../metrics.js";
import { Alerts } from "./overview.js";
import { Ago, Answer, Facts, Glyph, Meter, Panel, Status, useTitle } from "../parts.js";
import { prefer, prefs } from "../prefs.js";
import { useStore } from "../store.js";

const took = (seconds) => (Number.isNaN(seconds) ? "nothing yet" : duration(seconds));

export function System() {
  useTitle("System");
  const health = useAsk("/api/sagas/health", { every: 4000, accept: [503] });
  const alerts = useAsk("/api/alerts", { every: 4000 });
  const metrics = useAsk("/api/sagas/metrics", { every: 5000 });
  return html`<header class="page-head"><h1>System</h1></header>
    <${Alerts} alerts=${alerts.body?.alerts} problem=${alerts.problem} isCalm=${health.body?.status === "ok"} />
    <div class="cards">
      <${Panel} title="Checks"><${Answer} of=${health} what="The checks could not be read">${(said) => html`<ul class="checks">${Object.entries(said.checks).map(([name, check]) => html`<li key=${name}><${Glyph} of=${check.ok ? "ok" : "critical"} /><b>${sentence(words(name))}</b> <span class="faint">${check.detail || (check.ok ? "ok" : "fails")}</span></li>`)}</ul>`}<//><//>
      <${Answer} of=${metrics} what="The metrics could not be read">${(text) => html`<${Numbers} text=${text} />`}<//>
      <${You} />
    </div>`;
}

function Numbers({ text }) {
  const metrics = useMemo(() => readMetrics(text), [text]);
  const of = (name) => valueOf(metrics, `sagakeep_${name}`);
  const at = (name, share) => took(quantile(metrics, `sagakeep_${name}`, share));
  const build = metrics.get("sagakeep_build_info")?.[0].labels ?? {};
  const started = valueOf(metrics, "process_start_time_seconds");
  const [free, reserve] = [of("disk_free_bytes"), of("disk_reserve_bytes")];
  const frames = of("journal_frames_total");
  const webhooks = (metrics.get("sagakeep_webhook_told_total") ?? []).map((one) => one.labels.webhook);
  const hook = (name, webhook) => metrics.get(`sagakeep_webhook_${name}`)?.find((one) => one.labels.webhook === webhook)?.value ?? 0;
  return html`
    <${Panel} title="Journal"><${Facts} of=${[
      ["Group commits", count(frames)],
      ["Records in one", frames ? (of("journal_records_total") / frames).toFixed(1) : "none yet"],
      ["Written", bytes(of("journal_bytes_total"))],
      ["Commit, half", at("journal_commit_seconds", 0.5)],
      ["Commit, 99 of 100", at("journal_commit_seconds", 0.99)],
      ["Waits to be written", plural(of("journal_queued_records"), "record")],
      ["Files", count(of("journal_segments"))],
      ["Compressed", `${count(of("journal_archived_total"))} since the start`],
      ["Lag of the list", bytes(of("rows_lag_bytes"))],
    ]} /><//>
    <${Panel} title="Disk">
      <p class="spark-head"><b class="num">${bytes(free)}</b> free</p><${Meter} value=${reserve} max=${Math.max(free, reserve)} tone=${free < 4 * reserve ? "bad" : "run"} />
      <p class="faint">Below ${bytes(reserve)} new sagas are refused; those that run go on.</p>
      <${Facts} of=${[["Deleted and erased", `${plural(of("sagas_erased_total"), "saga")} since the start`], ["Oldest to be erased", of("erasure_waiting_seconds") ? `waits ${duration(of("erasure_waiting_seconds"))}` : "none"]]} />
    <//>
    <${Panel} title="Last start"><${Facts} of=${[
      ["Started", started ? html`<${Ago} at=${new Date(started * 1000).toISOString()} />` : ""],
      ["Recovery", of("recovered") ? html`<${Status} of="completed" />` : html`<${Status} of="running" />`],
      ["It took", duration(of("recovery_seconds"))],
      ["Records read", count(of("recovery_records"))],
      ["Live sagas now", count(of("live_sagas"))],
      ["Repaired since", plural(of("sagas_repaired_total"), "saga")],
    ]} /><//>
    <${Panel} title="Process"><${Facts} of=${[
      ["Version", build.version ?? ""],
      ["Python", build.python ?? ""],
      ["Memory", bytes(valueOf(metrics, "process_resident_memory_bytes"))],
      ["Processor time", duration(valueOf(metrics, "process_cpu_seconds_total"))],
      ["Open files", count(valueOf(metrics, "process_open_fds"))],
      ["Loop late, half", at("loop_lag_seconds", 0.5)],
      ["Loop late, 99 of 100", at("loop_lag_seconds", 0.99)],
      ["Longest of a minute", duration(of("loop_lag_longest_seconds"))],
    ]} /><//>
    ${webhooks.length > 0 && html`<${Panel} title="Webhooks" flush=${true}><table><thead><tr><th>Receiver</th><th class="right">Told</th><th class="right">Waiting</th><th class="right">Given up</th></tr></thead><tbody>
      ${webhooks.map((one) => html`<tr key=${one}><td>${hook("failing", one) ? html`<${Glyph} of="error" /> ` : html`<${Glyph} of="ok" /> `}${one}</td><td class="right num">${count(hook("told_total", one))}</td><td class="right num">${count(hook("waiting", one))}</td><td class="right num">${count(hook("given_up_total", one))}</td></tr>`)}</tbody></table><//>`}`;
}

function You() {
  const { who, key } = useStore(session);
  const { theme, clock } = useStore(prefs);
  return html`<${Panel} title="You">
    <${Facts} of=${[["You are", who?.name], ["You may", who && { viewer: "look", operator: "look, and move sagas", admin: "everything" }[who.role]], ["Keys", who && (who.isKeyed ? "wanted by this server" : "this server asks nobody for one")]]} />
    <p class="field"><label for="theme">Theme</label><select id="theme" value=${theme} onChange=${(event) => prefer("theme", event.target.value)}>${["system", "light", "dark"].map((one) => html`<option key=${one}>${one}</option>`)}</select></p>
    <p class="field"><label for="clock">Times</label><select id="clock" value=${clock} onChange=${(event) => prefer("clock", event.target.value)}><option value="local">of this place</option><option value="utc">UTC</option></select></p>
    ${key && html`<button onClick=${() => takeKey("")}>Forget the key</button>`}
  <//>`;
}
