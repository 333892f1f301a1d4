// Live figures, asked for once a second. What comes from sensors is only ever put in as text.
"use strict";

const EVERY_MS = 1000;
const ROWS = 500;
const MODES = {
  running: "good", catching_up: "warn", backing_off: "warn", paused: "warn", quarantined: "bad", passive: "quiet",
  starting: "warn", degraded: "bad", stopped: "bad", waiting: "warn", stopping: "warn",
};

const at = (id) => document.getElementById(id);

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function chip(word, count) {
  const text = word.replaceAll("_", " ");
  return element("span", count === undefined ? text : `${text}: ${count.toLocaleString("en")}`, `chip ${MODES[word] || "quiet"}`);
}

function number(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e12 || size < 1e-4)) return value.toExponential(3);
  return value.toLocaleString("en", { maximumFractionDigits: size >= 1000 ? 0 : digits });
}

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  while (Math.abs(value) >= 1024 && step < units.length - 1) { value /= 1024; step += 1; }
  return [number(value, 1), units[step]];
}

function shown(entry) {
  const [value, unit] = entry.unit === "B" || entry.unit === "B/s" ? bytes(entry.value) : [number(entry.value), entry.unit];
  return [value, entry.unit === "B/s" ? `${unit}/s` : unit];
}

function span(seconds) {
  if (seconds < 1) return "now";
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

function tile(name, value, unit, share) {
  const made = document.createElement("div");
  const figure = element("dd", value);
  if (unit) figure.append(" ", element("small", unit));
  made.append(element("dt", name), figure);
  if (share !== undefined) {
    const meter = document.createElement("meter");
    Object.assign(meter, { min: 0, max: 100, low: 70, high: 90, optimum: 0, value: share });
    meter.setAttribute("aria-label", name);
    made.append(meter);
  }
  return made;
}

async function ask(path) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, signal: AbortSignal.timeout(10000) });
  if (answer.status === 401) throw Object.assign(new Error("a token is needed"), { locked: true });
  const body = await answer.json();
  if (!answer.ok && path !== "/readyz") throw new Error(body.detail || answer.statusText);
  return body;
}

function showFigures(summary) {
  const ledger = summary.ledger;
  at("figures").replaceChildren(
    tile("Readings stored", number(summary.total_events, 0)),
    tile("Stored a second", number(summary.events_per_second, 1), "1/s"),
    tile("Sensors heard, last minute", number(summary.active_sources, 0), `of ${number(summary.sensors, 0)}`),
    tile("Arrival to commit, median", number(summary.processing_latency_ms, 1), "ms"),
    tile("Rejected, last minute", number(summary.error_rate, 2), "%"),
    tile("Rejected, ever", ledger ? number(ledger.rejected, 0) : "–", ledger ? `of ${number(ledger.received, 0)}` : ""),
    tile("Duplicates, ever", ledger ? number(ledger.duplicate, 0) : "–"),
    tile("Ledger", ledger ? (ledger.balances ? "balances" : "does not balance") : "–"),
  );
  at("version").textContent = `Sensorhive ${summary.version} · up ${span(summary.uptime_seconds)} · ${summary.store.database}`;
}

function showReadiness(ready) {
  const status = at("status");
  const failing = Object.entries(ready.dependencies).filter(([, dependency]) => !dependency.ok);
  status.textContent = ready.ready ? "ready" : `not ready: ${failing.map(([name]) => name).join(", ")}`;
  status.className = `status ${ready.ready ? "good" : "bad"}`;
  const reasons = failing.map(([name, dependency]) => `${name}: ${dependency.because || "not available"}`);
  trouble(reasons.join(" · "));
}

function showHost(metrics) {
  const names = Object.keys(metrics || {}).sort();
  at("no-host").hidden = names.length > 0;
  at("host").replaceChildren(...names.map((name) => {
    const entry = metrics[name];
    const [value, unit] = shown(entry);
    return tile(name.replaceAll("_", " "), value, unit, entry.unit === "%" ? entry.value : undefined);
  }));
}

function showValues(latest) {
  const now = Date.now();
  const rows = [];
  let all = 0;
  for (const sensor of Object.keys(latest).filter((name) => name !== "host")) {
    for (const [metric, entry] of Object.entries(latest[sensor])) {
      all += 1;
      if (rows.length >= ROWS) continue;
      const [value, unit] = shown(entry);
      const age = (now - Date.parse(entry.time)) / 1000;
      const name = element("td", sensor);
      name.title = sensor;
      rows.push(row(name, element("td", metric), element("td", value, "number"), element("td", unit || "", "quiet"),
        element("td", span(age), age > 60 ? "warn" : "quiet")));
    }
  }
  if (rows.length === 0) {
    const none = element("td", "No other sensor has spoken yet. POST a reading to /api/ingest.", "quiet");
    none.colSpan = 5;
    rows.push(row(none));
  }
  at("values").replaceChildren(...rows);
  at("more").hidden = all <= ROWS;
  at("more").textContent = `${ROWS} of ${all.toLocaleString("en")} series on this page; all are at /api/metrics/latest.`;
}

function showActors(tree) {
  const rows = [];
  const shards = new Map(tree.shards.map((shard) => [`shards/${shard.shard}`, shard]));
  let group = null;
  for (const node of tree.nodes) {
    const parts = node.path.split("/");
    if (parts.length > 1 && parts[0] !== group) {
      group = parts[0];
      const name = element("td", group);
      name.colSpan = 6;
      rows.push(row(name));
    }
    const state = element("td");
    state.append(chip(node.phase));
    const shard = shards.get(node.path);
    for (const [mode, count] of Object.entries(shard ? shard.sensors : {})) {
      if (count > 0) state.append(chip(mode, count));
    }
    if (shard) state.append(element("span", "sensors", "quiet"));
    const crash = element("td", node.last_crash ? node.last_crash.message : "", "quiet");
    crash.title = crash.textContent;
    rows.push(row(element("td", parts.slice(1).join("/") || node.path, parts.length > 1 ? "depth-1" : ""), element("td", node.kind, "quiet"),
      state, element("td", node.restarts, "number"), element("td", node.crashes, "number"), crash));
  }
  at("actors").replaceChildren(...rows);
}

function showSources(sources) {
  at("sources").replaceChildren(...sources.data.map((source) => {
    const status = source.status || {};
    const state = element("td");
    state.append(chip(source.phase === "running" && status.state ? status.state : source.phase));
    return row(element("td", source.name), element("td", source.kind, "quiet"), state,
      element("td", number(status.delivered, 0), "number"), element("td", number(status.under_way, 0), "number"),
      element("td", number(status.retries, 0), "number"), element("td", source.restarts, "number"));
  }));
}

function trouble(text) {
  at("trouble").hidden = !text;
  at("trouble").textContent = text;
}

async function refresh() {
  const parts = await Promise.all([
    ask("/readyz"), ask("/api/statistics/summary"), ask("/api/metrics/latest?limit=500"), ask("/api/actors"), ask("/api/sources"),
  ]);
  const [ready, summary, latest, actors, sources] = parts;
  at("access").hidden = true;
  showReadiness(ready);
  showFigures(summary);
  showHost(latest.host);
  showValues(latest);
  showActors(actors);
  showSources(sources);
}

async function live() {
  if (!document.hidden) {
    try {
      await refresh();
    } catch (error) {
      at("access").hidden = !error.locked;
      at("status").className = "status bad";
      at("status").textContent = error.locked ? "locked" : "no answer";
      trouble(error.locked ? "" : `The service does not answer (${error.message}). What is shown may be old.`);
    }
  }
  setTimeout(live, EVERY_MS);
}

function useToken(event) {
  event.preventDefault();
  sessionStorage.setItem("token", at("token").value.trim());
  at("token").value = "";
}

at("use").addEventListener("submit", useToken);
live();
