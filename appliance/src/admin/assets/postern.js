// Renews the parts of the page that are marked data-live. The page is complete without it.
"use strict";
const EVERY = 5000;
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
  try {
    const answer = await fetch(location.href, { cache: "no-store", headers: { "X-Postern-Renewal": "1", Accept: "text/html" } });
    // The session is over: the page to log in is shown instead.
    if (answer.redirected) return location.reload();
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of fresh.querySelectorAll("[data-live]")) {
      const old = document.getElementById(part.id);
      if (old && old.outerHTML !== part.outerHTML) old.replaceWith(document.adoptNode(part));
    }
    document.title = fresh.title;
    document.body.classList.remove("stale");
  } catch {
    document.body.classList.add("stale");
  }
}

setInterval(renew, EVERY);

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
