// SPDX-License-Identifier: MIT OR Apache-2.0
// The table of services and reals: keyed rows, of which only those near the window are updated.
import { badness, look, serviceWord } from "./model.js";
import { draw, plot } from "./plot.js";
import { bytes, count, duration } from "./units.js";

/** Number of rows that are added at once when the end of the table comes near. */
const STEP = 60;
/** Time for which rows are made or updated before the browser may paint, in milliseconds. */
const SLICE = 8;

const amount = (pick, write) => ({ number: true, sort: pick, text: (load) => write(pick(load)), of: "load" });
const active = (load) => (load.active === null || load.active === undefined ? -1 : load.active);

/** Columns: class, name, what sorts them, and the text of a cell. */
const COLUMNS = [
  { id: "state", name: "State" },
  { id: "name", name: "Service / real" },
  { id: "how", name: "How" },
  { id: "weight", name: "Weight", number: true, title: "Serving of all reals, or weight in force of weight" },
  { id: "new", name: "New/s", ...amount((load) => load.connections, count) },
  { id: "pin", name: "In p/s", ...amount((load) => load.packets_in, count) },
  { id: "bin", name: "In B/s", ...amount((load) => load.bytes_in, bytes) },
  { id: "pout", name: "Out p/s", ...amount((load) => load.packets_out, count) },
  { id: "bout", name: "Out B/s", ...amount((load) => load.bytes_out, bytes) },
  { id: "active", name: "Active", ...amount(active, (value) => (value < 0 ? "–" : count(value))) },
  { id: "plot", name: "Last minute" },
  { id: "since", name: "Since", number: true },
  { id: "last", name: "Last result" },
  { id: "act", name: "Actions" },
];
const SORTED = ["state", "name", "new", "pin", "bin", "pout", "bout", "active"];

export function element(name, attributes = {}, text = "") {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

/** Creates a state: shape and word. */
export function state(word) {
  const made = element("span", { class: `state ${look(word)}` });
  made.append(element("span", { class: "mark", "aria-hidden": "true" }), element("span", { class: "word" }, word));
  return made;
}

function setState(made, word) {
  if (made.lastChild.textContent === word) return;
  made.className = `state ${look(word)}`;
  made.lastChild.textContent = word;
}

function put(node, text) {
  if (node.firstChild === null) node.textContent = text;
  else if (node.firstChild.data !== text) node.firstChild.data = text;
}

/** One row. */
class Row {
  constructor(item, table) {
    this.item = item;
    this.is_near = true;
    const is_real = "key" in item;
    this.is_real = is_real;
    this.node = element("tr", { role: "row", class: is_real ? "real" : "service" });
    this.node.row = this;
    this.cells = {};
    for (const column of COLUMNS) {
      const is_head = column.id === "name";
      const cell = element(is_head ? "th" : "td", { role: is_head ? "rowheader" : "cell", class: `c-${column.id}` });
      if (is_head) cell.scope = is_real ? "row" : "rowgroup";
      if (column.number) {
        cell.classList.add("number");
        cell.dataset.label = column.name;
      }
      this.cells[column.id] = cell;
      this.node.append(cell);
    }
    this.state = this.cells.state.appendChild(state(is_real ? item.state.word : serviceWord(item)));
    this.plot = plot(false);
    this.cells.plot.append(this.plot.svg);
    if (is_real) {
      this.cells.name.append(item.address);
      if (item.backup) this.cells.name.append(element("span", { class: "tag" }, "backup"));
      this.cells.how.textContent = item.forward;
      this.button = element("button", { type: "button", "aria-label": `Change ${item.address} of ${item.service.name}` }, "Change");
      this.button.addEventListener("click", () => table.open(this.item));
      this.cells.act.append(this.button);
    } else {
      const link = element("a", { href: table.link(item) }, item.name);
      this.cells.name.append(link);
      this.cells.how.textContent = item.scheduler;
    }
    this.update(table);
  }

  update(table) {
    const { item, cells } = this;
    for (const column of COLUMNS) if (column.of) put(cells[column.id], column.text(item.load));
    if (this.is_real) {
      const now = item.state;
      setState(this.state, now.word);
      put(cells.weight, now.weight === now.effective_weight ? String(now.weight) : `${now.effective_weight}/${now.weight}`);
      put(cells.since, now.since_seconds ? duration(table.now() / 1000 - now.since_seconds) : "–");
      const last = now.unreachable || now.last || "";
      put(cells.last, last);
      if (cells.last.title !== last) cells.last.title = last;
    } else {
      setState(this.state, serviceWord(item));
      put(cells.weight, `${item.state.serving}/${item.reals.length}`);
      put(cells.last, item.state.pool === "normal" ? "" : `pool ${item.state.pool}`);
    }
    draw(this.plot, item.history);
  }
}

/** The filter: each word is part of the row, `!word` is not. */
function filterOf(text) {
  const words = text.toLowerCase().split(/\s+/).filter((word) => word !== "" && word !== "!");
  return (...texts) => {
    const all = texts.join("\n").toLowerCase();
    return words.every((word) => (word.startsWith("!") ? !all.includes(word.slice(1)) : all.includes(word)));
  };
}

export class Table {
  rows = new Map();
  bodies = new Map();
  order = [];
  shown = 0;
  limit = STEP;
  /** Rows to update, and the task that does it. */
  waiting = new Set();
  running = false;

  constructor(node, { open, link, may_change, now, sorted }) {
    Object.assign(this, { node, open, link, may_change, now, sorted });
    this.head = node.querySelector("#head");
    this.empty = node.querySelector("#empty");
    for (const column of COLUMNS) {
      const head = element("th", { role: "columnheader", scope: "col", class: `c-${column.id}` });
      if (column.number) head.classList.add("number");
      if (column.title) head.title = column.title;
      if (SORTED.includes(column.id)) {
        const button = element("button", { type: "button" }, column.name);
        button.addEventListener("click", () => this.sorted(column.id));
        head.append(button);
      } else {
        head.textContent = column.name;
        head.classList.add("plain");
      }
      head.dataset.id = column.id;
      this.head.append(head);
    }
    this.near = new IntersectionObserver((entries) => this.moved(entries), { rootMargin: "300px" });
    this.end = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting) && this.shown < this.order.length) {
        this.limit += STEP;
        this.work();
      }
    }, { rootMargin: "600px" });
  }

  /** Observes the node behind the table, which is near when more rows are needed. */
  grow(node) {
    this.more = node;
    this.end.observe(node);
  }

  /** Begins with few rows again: another view is looked at from its top. */
  restart() {
    this.limit = STEP;
  }

  moved(entries) {
    for (const entry of entries) {
      const { row } = entry.target;
      row.is_near = entry.isIntersecting;
      if (row.is_near) this.later(row);
    }
  }

  /** Chooses the rows and their order. */
  arrange(live, { filter, trouble, service, folded, sort, reversed }) {
    const passes = filterOf(filter);
    const column = COLUMNS.find((one) => one.id === sort);
    const direction = reversed ? -1 : 1;
    const compare = (word) => (a, b) => {
      if (sort === "name") return direction * (a.place - b.place);
      const by = sort === "state" ? badness(word(b)) - badness(word(a)) : column.sort(b.load) - column.sort(a.load);
      return direction * (by || a.place - b.place);
    };
    const order = [];
    let reals = 0;
    const services = live.services.filter((one) => !service || one.name === service);
    services.forEach((one, place) => { one.place = place; });
    for (const one of services.toSorted(compare(serviceWord))) {
      const itself = passes(one.name, one.scheduler, serviceWord(one));
      one.reals.forEach((real, place) => { real.place = place; });
      const wanted = one.reals.filter((real) =>
        (!trouble || badness(real.state.word) > 0) &&
        (filter === "" || passes(one.name, real.address, real.forward, real.state.word, real.state.last || "")));
      if (wanted.length === 0 && (!itself || (trouble && badness(serviceWord(one)) === 0))) continue;
      order.push(one);
      reals += wanted.length;
      if (!folded || service) order.push(...wanted.toSorted(compare((real) => real.state.word)));
    }
    this.order = order;
    this.counts = { services: order.filter((item) => !item.key).length, reals };
    for (const head of this.head.children) {
      if (head.dataset.id === sort) head.setAttribute("aria-sort", (sort === "name") !== reversed ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
    this.node.setAttribute("aria-rowcount", String(order.length + 1));
    this.empty.hidden = order.length > 0;
    this.node.classList.toggle("may-change", this.may_change());
    this.place = 0;
    this.fresh = new Set();
    this.body = null;
    this.before = this.node.tHead.nextSibling;
    this.limit = Math.max(STEP, Math.min(this.limit, order.length));
    this.work();
  }

  /** Notes that an item has changed. */
  changed(item) {
    const row = this.rows.get(item.key || item.name);
    if (row && row.is_near) this.later(row);
  }

  later(row) {
    this.waiting.add(row);
    this.work();
  }

  work() {
    if (this.running) return;
    this.running = true;
    requestAnimationFrame(() => this.slice());
  }

  /** Makes and updates rows for a short time, and goes on in the next frame. */
  slice() {
    const until = performance.now() + SLICE;
    this.running = false;
    while (this.place < Math.min(this.limit, this.order.length) && performance.now() < until) this.next();
    if (this.place >= Math.min(this.limit, this.order.length)) this.finish();
    for (const row of this.waiting) {
      if (performance.now() >= until) break;
      this.waiting.delete(row);
      row.update(this);
    }
    if (this.waiting.size > 0 || this.place < Math.min(this.limit, this.order.length)) this.work();
  }

  /** Puts the next row into its place. */
  next() {
    const item = this.order[this.place];
    const key = item.key || item.name;
    let row = this.rows.get(key);
    if (!row) {
      row = new Row(item, this);
      this.rows.set(key, row);
      this.near.observe(row.node);
    } else if (row.item !== item) {
      row.item = item;
      row.update(this);
    }
    if (!row.is_real) {
      let body = this.bodies.get(key);
      if (!body) {
        body = element("tbody", { role: "rowgroup" });
        this.bodies.set(key, body);
      }
      const after = this.body ? this.body.nextSibling : this.before === body ? body : this.node.tHead.nextSibling;
      if (after !== body) this.node.insertBefore(body, after);
      this.finishBody();
      this.body = body;
      this.cursor = body.firstChild;
      this.fresh.add(body);
    }
    if (this.cursor === row.node) this.cursor = row.node.nextSibling;
    else this.body.insertBefore(row.node, this.cursor);
    row.node.setAttribute("aria-rowindex", String(this.place + 2));
    this.place += 1;
    this.shown = this.place;
  }

  /** Removes the rows of a service that are no longer shown. */
  finishBody() {
    while (this.body && this.cursor) {
      const gone = this.cursor;
      this.cursor = gone.nextSibling;
      this.drop(gone);
    }
  }

  drop(node) {
    this.near.unobserve(node);
    this.waiting.delete(node.row);
    this.rows.delete(node.row.item.key || node.row.item.name);
    node.remove();
  }

  finish() {
    this.finishBody();
    for (const [key, body] of this.bodies) {
      if (this.fresh.has(body)) continue;
      for (const node of [...body.children]) this.drop(node);
      body.remove();
      this.bodies.delete(key);
    }
    const left = this.order.length - this.shown;
    this.more.hidden = left <= 0;
    if (left > 0) this.more.textContent = `${left} more rows: scroll, or filter`;
  }
}
