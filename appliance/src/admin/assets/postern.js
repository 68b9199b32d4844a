// Renews the parts of the page that are marked data-live: when something happens, and now and then. The page is complete without it.
"use strict";
// Without events.
const EVERY = 5000;
// With them, for what they do not tell.
const SELDOM = 30000;
// Whatever happens.
const APART = 2000;
// What answers a form cannot be asked for again, the page that the form was on can: /users/add, /users.
const PLACE = "sent" in document.body.dataset ? "/" + location.pathname.split("/")[1] : location.href;
let source, timer, renewed = Date.now();
const WORDS = {
  en: ["Copy", "Copied", "Selected"],
  de: ["Kopieren", "Kopiert", "Ausgewählt"],
  fr: ["Copier", "Copié", "Sélectionné"],
  it: ["Copia", "Copiato", "Selezionato"],
};
const [COPY, COPIED, SELECTED] = WORDS[document.documentElement.lang] || WORDS.en;

function busy() {
  const selection = window.getSelection();
  const focused = document.activeElement;
  return document.hidden || (selection && !selection.isCollapsed) ||
    (focused && focused.closest("[data-live]"));
}

async function renew() {
  if (busy() || !document.querySelector("[data-live]")) return;
  renewed = Date.now();
  try {
    const answer = await fetch(PLACE, { cache: "no-store", headers: { "X-Postern-Renewal": "1", Accept: "text/html" } });
    // The session is over: the page to log in is shown instead.
    if (answer.redirected) return location.reload();
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of fresh.querySelectorAll("[data-live]")) {
      const old = document.getElementById(part.id);
      // What somebody has opened stays open.
      for (const open of old?.querySelectorAll("details[open][id]") ?? []) {
        part.querySelector("#" + CSS.escape(open.id))?.setAttribute("open", "");
      }
      if (old && old.outerHTML !== part.outerHTML) old.replaceWith(document.adoptNode(part));
    }
    document.title = fresh.title;
    document.body.classList.remove("stale");
  } catch {
    document.body.classList.add("stale");
  }
}

function soon() {
  timer ??= setTimeout(() => { timer = undefined; renew(); }, Math.max(0, renewed + APART - Date.now()));
}

// A page that nobody looks at takes no place: a browser has six connections to one server.
function listen() {
  if (document.hidden) {
    source?.close();
    source = undefined;
  } else if (!source || source.readyState === EventSource.CLOSED) {
    source = new EventSource("/api/v1/events");
    for (const kind of ["message", "afterwards", "more", "state"]) source.addEventListener(kind, soon);
  }
}

if (document.querySelector("[data-live]")) {
  listen();
  document.addEventListener("visibilitychange", () => { listen(); soon(); });
  setInterval(() => {
    const hears = source?.readyState === EventSource.OPEN;
    if (!hears || Date.now() - renewed > SELDOM) renew();
  }, EVERY);
  // Whoever found no place tries again.
  setInterval(listen, SELDOM);
}

// What is to be copied has a button where there is a script; without one it can be selected.
for (const field of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = COPY;
  button.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      button.textContent = COPIED;
    } catch {
      button.textContent = SELECTED;
    }
  });
  field.after(" ", button);
}
