"use strict";
// The viewer: one image beside any of those generated for it, in four views, with one zoom for both.
(function () {
  const panes = document.querySelector(".panes");
  const target = document.getElementById("target");
  const replica = document.getElementById("replica");
  const caption = document.getElementById("replica-caption");
  const below = document.getElementById("shown-caption");
  const tools = document.querySelector(".viewer-tools");
  const gone = document.getElementById("gone");
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  let blinking = 0;
  let zoomed = 1;

  function copyCommand() {
    const button = document.getElementById("copy");
    const command = document.getElementById("command");
    const said = document.getElementById("copied");
    if (!button || !command) return;
    button.hidden = false;
    button.addEventListener("click", () => {
      const done = () => { said.textContent = "copied"; };
      const byHand = () => {
        const range = document.createRange();
        range.selectNodeContents(command);
        const selection = window.getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
        said.textContent = "selected: copy it with your browser";
      };
      if (navigator.clipboard) navigator.clipboard.writeText(command.textContent).then(done, byHand);
      else byHand();
    });
  }

  // A picture that was deleted from the run is said, not left as a broken frame.
  function sayMissing() {
    for (const image of document.images) {
      const missing = () => image.closest("figure, li")?.classList.add("gone");
      if (image.complete && image.naturalWidth === 0) missing();
      image.addEventListener("error", missing);
      image.addEventListener("load", () => image.closest("figure, li")?.classList.remove("gone"));
    }
  }

  copyCommand();
  sayMissing();
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  if (!panes || !replica) return;

  const chosen = (name) => document.querySelector('input[name="' + name + '"]:checked').value;
  const links = Array.from(document.querySelectorAll("a.replica"));
  const frames = Array.from(document.querySelectorAll(".frame"));

  function blink(on) {
    window.clearInterval(blinking);
    blinking = on ? window.setInterval(() => panes.classList.toggle("second"), 600) : 0;
    document.getElementById("blink").setAttribute("aria-pressed", String(on));
  }

  // A new zoom keeps what was in the middle of the frame there.
  function center() {
    const zoom = Number(chosen("zoom"));
    for (const frame of frames) {
      const middle = (frame.scrollLeft + frame.clientWidth / 2) / zoomed;
      const height = (frame.scrollTop + frame.clientHeight / 2) / zoomed;
      frame.scrollLeft = middle * zoom - frame.clientWidth / 2;
      frame.scrollTop = height * zoom - frame.clientHeight / 2;
    }
    zoomed = zoom;
  }

  function show() {
    const view = chosen("view");
    panes.dataset.view = view;
    below.hidden = view !== "difference";
    below.textContent = caption.textContent;
    panes.classList.remove("second");
    document.getElementById("cut-label").hidden = view !== "slider";
    document.getElementById("gain-label").hidden = view !== "difference";
    document.getElementById("blink").hidden = view !== "blink";
    panes.style.setProperty("--cut", document.getElementById("cut").value + "%");
    panes.style.setProperty("--gain", document.getElementById("gain").value);
    panes.style.setProperty("--zoom", chosen("zoom"));
    center();
    for (const frame of frames) frame.tabIndex = chosen("zoom") === "1" ? -1 : 0;
    blink(view === "blink" && !still.matches);
  }

  function select(link) {
    for (const other of links) other.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    replica.src = link.getAttribute("href");
    const picture = link.querySelector("img");
    below.textContent = caption.textContent = picture.alt + ". Pixel similarity with the rendering: " + link.parentNode.querySelector("p").innerText.replace(/\s+/g, " ");
    gone.hidden = true;
  }

  function step(by) {
    if (!links.length) return;
    const now = links.findIndex((link) => link.hasAttribute("aria-current"));
    select(links[(Math.max(now, 0) + by + links.length) % links.length]);
  }

  replica.addEventListener("error", () => {
    gone.textContent = "This generated image is no longer in the run folder: it was deleted or moved. Its numbers stand as they were measured.";
    gone.hidden = false;
  });
  for (const link of links) {
    if (link.getAttribute("href") === replica.getAttribute("src")) link.setAttribute("aria-current", "true");
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      select(link);
      document.getElementById("viewer").scrollIntoView({ behavior: still.matches ? "auto" : "smooth" });
    });
  }
  for (const name of ["view", "zoom"]) {
    for (const input of document.querySelectorAll('input[name="' + name + '"]')) input.addEventListener("change", show);
  }
  for (const name of ["cut", "gain"]) document.getElementById(name).addEventListener("input", show);
  document.getElementById("blink").addEventListener("click", () => blink(!blinking));
  panes.addEventListener("click", () => {
    if (chosen("view") === "blink" && !blinking) panes.classList.toggle("second");
  });
  document.addEventListener("imgaudit:replica", (event) => step(event.detail));
  document.addEventListener("imgaudit:zoom", () => {
    const inputs = Array.from(document.querySelectorAll('input[name="zoom"]'));
    inputs[(inputs.findIndex((input) => input.checked) + 1) % inputs.length].click();
  });
  // Both frames show the same place.
  for (const frame of frames) {
    frame.addEventListener("scroll", () => {
      for (const other of frames) {
        if (other === frame) continue;
        if (other.scrollLeft !== frame.scrollLeft) other.scrollLeft = frame.scrollLeft;
        if (other.scrollTop !== frame.scrollTop) other.scrollTop = frame.scrollTop;
      }
    });
  }
  tools.hidden = false;
  show();
})();
