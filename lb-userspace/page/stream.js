// SPDX-License-Identifier: MIT OR Apache-2.0
// The stream of live data, and requests. `fetch` instead of EventSource, which cannot send a token.

const STORED = "xvs-token";
/** Longest pause between attempts to connect, and longest silence of a living stream, in milliseconds. */
const LONGEST = 10_000;

export const token = () => sessionStorage.getItem(STORED);
export function setToken(secret) {
  if (secret) sessionStorage.setItem(STORED, secret);
  else sessionStorage.removeItem(STORED);
}

function headers(secret = token()) {
  return secret ? { Authorization: `Bearer ${secret}` } : {};
}

/** Error of the daemon, with its hint. */
export class Refused extends Error {
  constructor(status, failure) {
    super(failure.message || `the daemon answered with ${status}`);
    this.status = status;
    this.hint = failure.hint;
  }
}

async function check(response) {
  if (response.ok) return response;
  let failure = {};
  try { failure = await response.json(); } catch { /* the answer is not the daemon's */ }
  throw new Refused(response.status, failure);
}

/** Asks whether the daemon knows a token. */
export const tryToken = async (secret) => check(await fetch("/v1/groups", { headers: headers(secret), cache: "no-store" }));

/** Sends a change, and returns the answer. */
export async function change(body) {
  const response = await fetch("/v1/changes", {
    method: "POST",
    headers: { ...headers(), "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return (await check(response)).json();
}

/** Reads the stream for ever. `tell` gets the state of the connection, `take` each event; false asks for a snapshot. */
export async function follow(take, tell) {
  let pause = 500;
  for (;;) {
    const abort = new AbortController();
    let watch = 0;
    const alive = () => {
      clearTimeout(watch);
      watch = setTimeout(() => abort.abort(), LONGEST);
    };
    try {
      alive();
      const response = await check(await fetch("/v1/live", { headers: headers(), cache: "no-store", signal: abort.signal }));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        alive();
        rest += value;
        let end;
        let is_good = true;
        while (is_good && (end = rest.indexOf("\n\n")) >= 0) {
          is_good = event(rest.slice(0, end), take);
          rest = rest.slice(end + 2);
        }
        if (!is_good) break;
        pause = 500;
        tell("live");
      }
      await reader.cancel();
      tell("lost", new Error("the stream has ended"));
    } catch (error) {
      tell(error instanceof Refused && error.status === 401 ? "refused" : "lost", error);
    }
    clearTimeout(watch);
    abort.abort();
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 2, LONGEST);
  }
}

function event(text, take) {
  let name = "";
  let data = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  return data === "" || take(name, JSON.parse(data));
}
