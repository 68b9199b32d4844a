// Asks the browser for a passkey, and sends what it gives with a form of the page. Without it these forms stay hidden.
"use strict";
{
  const octets = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  // As PublicKeyCredential.parseCreationOptionsFromJSON() and parseRequestOptionsFromJSON() do it, which not every browser has.
  function asked(options) {
    const known = (all) => (all ?? []).map((one) => ({ type: one.type, id: octets(one.id) }));
    const publicKey = { ...options, challenge: octets(options.challenge) };
    if (options.user) {
      publicKey.user = { ...options.user, id: octets(options.user.id) };
      publicKey.excludeCredentials = known(options.excludeCredentials);
    } else {
      delete publicKey.allowCredentials;
    }
    return { publicKey };
  }

  // As PublicKeyCredential.toJSON() does it.
  function told(made) {
    const response = {};
    for (const part of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (made.response[part]) response[part] = text(made.response[part]);
    }
    return { id: made.id, rawId: text(made.rawId), type: made.type, clientExtensionResults: {}, response };
  }

  async function send(form) {
    const problems = form.querySelectorAll("[data-when]");
    for (const problem of problems) problem.hidden = true;
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      let options = form.dataset.options && JSON.parse(form.dataset.options);
      if (!options) {
        const answer = await fetch(form.action, { cache: "no-store", headers: { Accept: "application/json" } });
        if (!answer.ok) throw new Error(answer.statusText);
        const fresh = await answer.json();
        options = fresh.options;
        form.elements.ticket.value = fresh.ticket;
      }
      const made = await navigator.credentials[form.dataset.passkey](asked(options));
      form.elements.answer.value = JSON.stringify(told(made));
      form.submit();
    } catch (error) {
      const named = [...problems].find((problem) => problem.dataset.when === error.name);
      (named ?? [...problems].find((problem) => problem.dataset.when === "")).hidden = false;
    } finally {
      button.disabled = false;
    }
  }

  if (window.PublicKeyCredential && navigator.credentials) {
    for (const form of document.querySelectorAll("[data-passkey]")) {
      form.hidden = false;
      if (form.dataset.passkey === "offer") continue;
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        send(form);
      });
    }
    for (const note of document.querySelectorAll("[data-no-passkey]")) note.hidden = true;
  }
}
