// SPDX-License-Identifier: MIT OR Apache-2.0
// Data of the page: the latest moment, and the rates of the last minutes.

/** Number of moments that plots show. */
export const KEPT = 60;

/** Shape and colour of each state. */
const LOOKS = {
  up: "good", degraded: "warn", checking: "warn", draining: "away", drained: "away", "weight 0": "away",
  disabled: "idle", standby: "idle", "no reals": "idle",
};
export const look = (word) => LOOKS[word] || "bad";
/** How bad a look is: 0 is good. */
const BADNESS = { good: 0, idle: 1, away: 2, warn: 3, bad: 4 };
export const badness = (word) => BADNESS[look(word)];

/** Returns the word for the state of a service. */
export function serviceWord(service) {
  if (service.reals.length === 0) return "no reals";
  if (service.state.serving === 0) return "down";
  return service.reals.some((real) => badness(real.state.word) >= 3) ? "degraded" : "up";
}

export class Model {
  live = null;
  /** Totals of each moment, the latest last. */
  history = [];

  /** Takes over a snapshot; histories of services and reals that stay are kept. */
  snapshot(live) {
    const before = new Map();
    for (const service of this.live?.services || []) {
      before.set(service.name, service.history);
      for (const real of service.reals) before.set(`${service.name} ${real.address}`, real.history);
    }
    const changes = this.live ? this.differences(live) : [];
    this.live = live;
    for (const service of live.services) {
      service.history = before.get(service.name) || [];
      for (const real of service.reals) {
        real.key = `${service.name} ${real.address}`;
        real.service = service;
        real.history = before.get(real.key) || [];
      }
    }
    this.remember();
    return changes;
  }

  /** Applies a change. Returns the changed states, or null if it does not follow. */
  change(change) {
    const live = this.live;
    if (!live || change.number !== live.number + 1) return null;
    const changes = [];
    live.number = change.number;
    live.time_ms = change.time_ms;
    for (const part of ["daemon", "reasons", "doctor"]) if (change[part]) live[part] = change[part];
    for (const of of change.services || []) {
      const service = live.services[of.index];
      const word = serviceWord(service);
      for (const part of ["state", "load", "reasons"]) if (of[part]) service[part] = of[part];
      for (const one of of.reals || []) {
        const real = service.reals[one.index];
        if (one.load) real.load = one.load;
        if (one.state) {
          if (one.state.word !== real.state.word) changes.push({ name: `${real.address} of ${service.name}`, from: real.state.word, state: one.state });
          real.state = one.state;
        }
      }
      const now = serviceWord(service);
      if (now !== word) changes.push({ name: service.name, from: word, state: { word: now } });
    }
    this.remember();
    return changes;
  }

  /** Returns the states that differ in a new snapshot. */
  differences(live) {
    const before = new Map();
    for (const service of this.live.services) {
      for (const real of service.reals) before.set(real.key, real.state.word);
    }
    const changes = [];
    for (const service of live.services) {
      for (const real of service.reals) {
        const from = before.get(`${service.name} ${real.address}`);
        if (from !== undefined && from !== real.state.word) {
          changes.push({ name: `${real.address} of ${service.name}`, from, state: real.state });
        }
      }
    }
    return changes;
  }

  remember() {
    const sum = { packets_in: 0, packets_out: 0, bytes_in: 0, bytes_out: 0, connections: 0, active: 0, dropped: 0 };
    for (const service of this.live.services) {
      for (const part in sum) sum[part] += service.load[part] || 0;
      push(service.history, packets(service.load));
      for (const real of service.reals) push(real.history, packets(real.load));
    }
    for (const reason of this.live.reasons) if (reason.fate === "dropped") sum.dropped += reason.rate;
    push(this.history, sum);
  }
}

export const packets = (load) => load.packets_in + load.packets_out;

function push(history, value) {
  history.push(value);
  if (history.length > KEPT) history.shift();
}
