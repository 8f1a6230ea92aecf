// SPDX-License-Identifier: MIT OR Apache-2.0
// The status page: live data in, tables out. The view is in the hash of the address.
import { actions } from "./actions.js";
import { Model, look } from "./model.js";
import { draw, plot } from "./plot.js";
import { follow, setToken, token } from "./stream.js";
import { Table, element, state } from "./table.js";
import { bytes, count, duration } from "./units.js";

/** Interval at which rows that are sorted by a rate change their places, in milliseconds. */
const RESORT = 5000;
/** Number of changes of state that are kept. */
const LOG = 100;

const $ = (id) => document.getElementById(id);
const model = new Model();
let view = readHash();
let is_paused = false;
let sorted_at = 0;

// --- the view in the hash

function readHash() {
  const values = new URLSearchParams(location.hash.slice(1));
  return {
    filter: values.get("filter") || "",
    trouble: values.has("trouble"),
    service: values.get("service") || "",
    folded: values.has("folded"),
    sort: values.get("sort") || "name",
    reversed: values.has("reversed"),
  };
}

function hashOf(of) {
  const values = new URLSearchParams();
  if (of.service) values.set("service", of.service);
  if (of.filter) values.set("filter", of.filter);
  for (const flag of ["trouble", "folded", "reversed"]) if (of[flag]) values.set(flag, "");
  if (of.sort !== "name") values.set("sort", of.sort);
  const text = values.toString();
  return text ? `#${text}` : "#";
}

function look_at(changes) {
  view = { ...view, ...changes };
  history.replaceState(null, "", hashOf(view));
  table.restart();
  show();
}

addEventListener("hashchange", () => {
  view = readHash();
  table.restart();
  show();
});

// --- parts of the page

const dialogs = actions({ announce, changed: show });
const table = new Table($("services"), {
  open: (real) => dialogs.open(real),
  link: (service) => hashOf({ ...view, service: service.name, filter: "" }),
  may_change: () => Boolean(token()),
  now: () => model.live.time_ms,
  sorted: (sort) => look_at(view.sort === sort ? { reversed: !view.reversed } : { sort, reversed: false }),
});
table.grow($("more"));

const TOTALS = [
  ["Packets in", "p/s", (sum) => sum.packets_in, count],
  ["Traffic in", "/s", (sum) => sum.bytes_in, bytes],
  ["Packets out", "p/s", (sum) => sum.packets_out, count],
  ["Traffic out", "/s", (sum) => sum.bytes_out, bytes],
  ["New connections", "/s", (sum) => sum.connections, count],
  ["Dropped", "p/s", (sum) => sum.dropped, count],
].map(([label, unit, pick, write]) => {
  const card = element("div", { class: "total" });
  const value = element("div", { class: "value" });
  const text = value.appendChild(document.createTextNode("–"));
  value.append(element("small", {}, unit));
  const line = plot(true);
  card.append(element("div", { class: "label" }, label), value, line.svg);
  $("totals").append(card);
  return { text, line, pick, write };
});

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function showTotals() {
  const focus = view.service && model.live.services.find((one) => one.name === view.service);
  for (const { text, line, pick, write } of TOTALS) {
    text.data = write(pick(model.history.at(-1)));
    draw(line, model.history.map(pick));
  }
  const { daemon } = model.live;
  put($("version"), daemon.version);
  put($("uptime"), duration(model.live.time_ms / 1000 - daemon.start_time_seconds));
  put($("interfaces"), daemon.interfaces.map((one) => `${one.name} (${one.mode})`).join(", ") || "none");
  put($("flows"), `${count(daemon.flows + daemon.flows6)} of ${count(daemon.max_flows + daemon.max_flows6)}`);
  const wrong = findings().length;
  document.title = `${wrong ? `(${wrong}) ` : ""}${focus ? `${focus.name} – ` : ""}xvs ${location.hostname}`;
}

/** Returns problems and findings, each with a text and a fix. */
function findings() {
  const { daemon, doctor } = model.live;
  const problems = daemon.problems.map((text) => ({ is_bad: false, head: "Problem", text, fix: "" }));
  const more = daemon.problem_count - daemon.problems.length + (doctor ? doctor.count - doctor.findings.length : 0);
  return problems.concat((doctor?.findings || []).map((one) => ({
    is_bad: one.severity === "error",
    head: one.severity === "error" ? "Error" : "Warning",
    text: `${one.check}${one.about ? ` ${one.about}` : ""}: ${one.cause}`,
    fix: one.fix,
  })), more > 0 ? [{ is_bad: false, head: "More", text: `${more} more: see xvs status and xvs doctor`, fix: "" }] : []);
}

/** Number of problems and findings that are shown until the operator wants all. */
const FIRST = 4;

let found_before = "";
function showFindings() {
  const found = findings();
  const text = JSON.stringify(found);
  if (text === found_before) return;
  found_before = text;
  $("findings").hidden = found.length === 0;
  const boxes = found.map(({ is_bad, head, text: cause, fix }) => {
    const box = element(fix ? "details" : "div", { class: `alert ${is_bad ? "error" : "warning"}` });
    const line = fix ? box.appendChild(element("summary")) : box;
    line.append(element("b", {}, head), cause);
    if (fix) box.append(element("code", {}, fix));
    return box;
  });
  $("findings").replaceChildren(...boxes.slice(0, FIRST));
  if (boxes.length > FIRST) {
    const rest = element("details");
    rest.append(element("summary", {}, `${boxes.length - FIRST} more`), ...boxes.slice(FIRST));
    $("findings").append(rest);
  }
}

function showReasons() {
  const service = view.service && model.live.services.find((one) => one.name === view.service);
  put($("reasons-title"), service ? `Packets by reason: ${service.name}` : "Packets by reason");
  const body = $("reasons").tBodies[0];
  const rows = (service ? service.reasons : model.live.reasons);
  while (body.rows.length > rows.length) body.lastChild.remove();
  while (body.rows.length < rows.length) {
    const row = body.appendChild(element("tr", { role: "row" }));
    row.append(element("th", { role: "rowheader", scope: "row" }), element("td", { role: "cell" }));
    row.append(element("td", { role: "cell", class: "number" }), element("td", { role: "cell", class: "number" }));
  }
  rows.forEach((reason, at) => {
    const [name, fate, rate, packets] = body.rows[at].cells;
    put(name, reason.reason);
    put(fate, reason.fate);
    put(rate, count(reason.rate));
    put(packets, count(reason.packets));
  });
}

/** Shows everything anew: another view, or another set of services. */
function show() {
  $("filter").value = view.filter;
  $("trouble").checked = view.trouble;
  $("fold").setAttribute("aria-pressed", String(view.folded));
  $("fold").hidden = Boolean(view.service);
  put($("title"), view.service || "Services");
  $("all").hidden = !view.service;
  $("all").href = hashOf({ ...view, service: "" });
  put($("sign-in"), token() ? "Sign out" : "Sign in");
  if (!model.live) return;
  table.arrange(model.live, view);
  sorted_at = performance.now();
  const { services, reals } = table.counts;
  put($("count"), `${services} ${services === 1 ? "service" : "services"}, ${reals} ${reals === 1 ? "real" : "reals"}`);
  for (const row of table.rows.values()) table.later(row);
  showTotals();
  showFindings();
  showReasons();
}

// --- news

function announce(text) {
  $("announcement").textContent = text;
}

function tell(changes) {
  if (changes.length === 0) return;
  const texts = changes.map(({ name, state: now }) => `${name} is ${now.word}${now.last && look(now.word) === "bad" ? `: ${now.last}` : ""}`);
  announce(texts.length > 3 ? `${texts.length} changes of state, the first: ${texts[0]}` : texts.join(". "));
  $("no-changes")?.remove();
  const time = new Date(model.live.time_ms);
  const lines = changes.slice(0, LOG).map(({ name, from, state: now }) => {
    const line = element("p");
    line.append(element("time", { datetime: time.toISOString() }, time.toTimeString().slice(0, 8)));
    line.append(`${name}: ${from} → `, state(now.word));
    if (now.last && look(now.word) === "bad") line.append(element("span", { class: "quiet" }, ` ${now.last}`));
    return line;
  });
  $("changes").prepend(...lines);
  while ($("changes").children.length > LOG) $("changes").lastChild.remove();
}

function take(name, data) {
  if (name === "snapshot") {
    const changes = model.snapshot(data);
    tell(changes);
    if (!is_paused) show();
    return true;
  }
  if (name !== "change") return true;
  const changes = model.change(data);
  if (changes === null) return false;
  tell(changes);
  if (is_paused) return true;
  const by_rate = !["name", "state"].includes(view.sort) && performance.now() - sorted_at > RESORT;
  if (by_rate || (changes.length > 0 && (view.sort === "state" || view.trouble || view.filter))) {
    show();
    return true;
  }
  for (const row of table.rows.values()) if (row.is_near) table.later(row);
  showTotals();
  showFindings();
  showReasons();
  return true;
}

function connection(word, error) {
  const node = $("connection");
  const [name, text] = {
    live: ["good", "live"],
    lost: ["bad", "no data"],
    refused: ["bad", "a token is needed"],
  }[word];
  if (node.lastChild.textContent === text) return;
  node.className = `state ${name}`;
  node.lastChild.textContent = text;
  node.title = error?.message || "";
  if (word === "lost") announce("No data: the daemon does not answer");
  if (word === "refused") {
    setToken(null);
    dialogs.signIn(() => show());
  }
}

// --- input

$("host").textContent = location.host;
$("filter").addEventListener("input", () => look_at({ filter: $("filter").value }));
$("trouble").addEventListener("change", () => look_at({ trouble: $("trouble").checked }));
$("fold").addEventListener("click", () => look_at({ folded: !view.folded }));
$("pause").addEventListener("click", () => {
  is_paused = !is_paused;
  $("pause").setAttribute("aria-pressed", String(is_paused));
  if (!is_paused) show();
});
$("sign-in").addEventListener("click", () => {
  if (token()) {
    setToken(null);
    announce("Signed out");
    show();
  } else {
    dialogs.signIn(() => show());
  }
});
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("services").focus();
});
addEventListener("keydown", (event) => {
  const is_free = !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest("input, dialog");
  if (event.key === "/" && is_free) {
    event.preventDefault();
    $("filter").focus();
  }
});

show();
follow(take, connection);
