// All pages work without it. It keeps the numbers live, moves through a waterfall with keys, and copies lines.
"use strict";

const live = document.querySelector("[data-stream]");
if (live && window.EventSource) {
  const note = document.querySelector("[data-live-note]");
  const stream = new EventSource(live.dataset.stream);
  stream.addEventListener("road", (event) => {
    // The server has escaped what is in it, and the page's policy runs no script in it.
    const made = new DOMParser().parseFromString(JSON.parse(event.data), "text/html");
    live.replaceChildren(...made.body.childNodes);
    if (note) note.hidden = false;
  });
  stream.addEventListener("error", () => {
    if (note) note.hidden = true;
  });
  window.addEventListener("pagehide", () => stream.close());
}

const waterfall = document.querySelector("[data-waterfall]");
if (waterfall) {
  waterfall.addEventListener("keydown", (event) => {
    const at = event.target.closest("summary");
    if (!at || event.target !== at || event.ctrlKey || event.altKey || event.metaKey) return;
    const next = { ArrowDown: [1, ""], ArrowUp: [-1, ""], c: [1, ".critical"], e: [1, ".failed"], C: [-1, ".critical"], E: [-1, ".failed"] }[event.key];
    if (!next) return;
    const rows = [...waterfall.querySelectorAll("summary")];
    const [step, kind] = next;
    for (let place = rows.indexOf(at) + step; place >= 0 && place < rows.length; place += step) {
      if (!kind || rows[place].parentElement.matches(kind)) {
        rows[place].focus();
        break;
      }
    }
    event.preventDefault();
  });
}

if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.parentElement.querySelector("pre").innerText);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
  }
}
