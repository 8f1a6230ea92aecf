// SPDX-License-Identifier: MIT OR Apache-2.0
// Dialogs: the token, and changes of a real, each with a confirmation.
import { change, setToken, tryToken } from "./stream.js";

const $ = (id) => document.getElementById(id);

/** What each change does, for the confirmation. */
const QUESTIONS = {
  enable: () => "It takes new connections again, if its checks allow it.",
  drain: () => "It gets no new connections. Existing ones continue until they end.",
  disable: () => "It gets no new connections, and its existing ones end as if it were down.",
  weight: (weight) => (weight === 0 ? "With weight 0 it gets no new connections. Existing ones continue." : `Its share of new connections becomes ${weight}, relative to the other reals.`),
};
const STATES = { enable: "enabled", drain: "drain", disable: "disabled" };

export function actions({ announce, changed }) {
  let real = null;
  let chosen = null;

  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }

  function result(text, is_error) {
    $("real-result").hidden = !text;
    $("real-result").className = `alert ${is_error ? "error" : "done"}`;
    $("real-result").textContent = text;
  }

  function choose(act) {
    const weight = $("weight").valueAsNumber;
    if (act === "weight" && !(Number.isInteger(weight) && weight >= 0 && weight <= 2147483647)) {
      result("The weight must be a whole number from 0 to 2147483647.", true);
      $("weight").focus();
      return;
    }
    chosen = { act, weight };
    result("");
    const verb = act === "weight" ? `Set the weight of ${real.address} to ${weight}` : `${act[0].toUpperCase()}${act.slice(1)} ${real.address}`;
    $("real-question").textContent = `${verb}? ${QUESTIONS[act](weight)}`;
    step(true);
    $("real-question").focus();
  }

  function step(is_asking) {
    $("real-confirm").hidden = !is_asking;
    $("real-choices").hidden = is_asking;
  }

  async function confirmed() {
    const { act, weight } = chosen;
    const options = act === "weight" ? { weight } : { state: STATES[act] };
    $("real-yes").disabled = true;
    try {
      const done = await change({ change: "edit-real", service: real.service.service, real: real.address, options });
      const text = [...done.changes, ...done.warnings].join("; ") || "Nothing to change";
      result(text, false);
      announce(text);
      changed();
    } catch (error) {
      const hint = error.hint ? ` ${error.hint}` : "";
      result(`${error.message || error}.${hint}`, true);
    }
    $("real-yes").disabled = false;
    step(false);
  }

  for (const button of document.querySelectorAll("[data-act]")) {
    button.addEventListener("click", () => choose(button.dataset.act));
  }
  $("real-yes").addEventListener("click", confirmed);
  $("real-no").addEventListener("click", () => step(false));
  // Enter in the field sets the weight, and does not close the dialog.
  $("real-dialog").querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if ($("real-confirm").hidden) choose("weight");
  });

  return {
    /** Opens the dialog with the changes of a real. */
    open(of) {
      real = of;
      result("");
      step(false);
      $("real-title").textContent = `${real.address} of ${real.service.name}`;
      const { state } = real;
      const last = state.last ? `, last result ${state.last}` : "";
      $("real-state").textContent = `It is ${state.word}; weight ${state.weight}, in force ${state.effective_weight}${last}.`;
      $("weight").value = state.weight;
      $("real-dialog").showModal();
    },
    /** Asks for a token, and tries it. */
    signIn(done) {
      $("token").value = "";
      $("token-error").hidden = true;
      const form = $("token-dialog").querySelector("form");
      form.onsubmit = async (event) => {
        event.preventDefault();
        const secret = $("token").value.trim();
        $("token-ok").disabled = true;
        try {
          if (!secret) throw new Error("the token is empty");
          await tryToken(secret);
          setToken(secret);
          $("token").value = "";
          $("token-dialog").close();
          announce("Signed in");
          done();
        } catch (error) {
          $("token-error").hidden = false;
          $("token-error").textContent = `Refused: ${error.message || error}.`;
        }
        $("token-ok").disabled = false;
      };
      if (!$("token-dialog").open) $("token-dialog").showModal();
    },
  };
}
