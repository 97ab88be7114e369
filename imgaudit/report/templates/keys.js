"use strict";
// Keys press what is on the page: links and buttons with the same effect stay for everybody else.
(function () {
  const dialog = document.getElementById("keys");
  const opener = document.getElementById("keys-open");
  const find = (selector) => document.querySelector(selector);

  function press(selector) {
    const element = find(selector);
    if (!element || element.disabled) return false;
    element.click();
    return true;
  }

  function choose(name, value) {
    return press('input[name="' + name + '"][value="' + value + '"]');
  }

  function focus(selector) {
    const element = find(selector);
    if (!element) return false;
    element.focus();
    element.scrollIntoView({ block: "center" });
    return true;
  }

  // On the index j and k walk through the rows, which Enter opens.
  function row(by) {
    const names = Array.from(document.querySelectorAll("#findings .name, #gallery .name"));
    if (!names.length) return false;
    const next = names[Math.min(Math.max(names.indexOf(document.activeElement) + by, 0), names.length - 1)];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
    return true;
  }

  function replica(by) {
    document.dispatchEvent(new CustomEvent("imgaudit:replica", { detail: by }));
  }

  const actions = {
    j: () => press('a[rel="next"]') || row(1), ArrowRight: () => press('a[rel="next"]'),
    k: () => press('a[rel="prev"]') || row(-1), ArrowLeft: () => press('a[rel="prev"]'),
    i: () => press('nav a[href="index.html"]'),
    s: () => choose("view", "side"), l: () => choose("view", "slider"),
    b: () => choose("view", "blink"), f: () => choose("view", "difference"),
    n: () => press("#after") || replica(1), p: () => press("#before") || replica(-1),
    z: () => document.dispatchEvent(new CustomEvent("imgaudit:zoom")),
    a: () => choose("decision", "accept"), d: () => choose("decision", "dispute"), u: () => choose("decision", "unsure"),
    c: () => focus("#decision-form textarea"),
    "/": () => focus('input[type="search"]'),
    "?": () => { dialog.showModal(); return true; },
  };
  for (const level of "012345") actions[level] = () => choose("replication_level", level);

  function typing(target) {
    // A dialog just closed keeps the focus until the next frame.
    return target.closest("textarea, select, dialog[open], [contenteditable]") !== null ||
      (target.tagName === "INPUT" && !["radio", "checkbox", "button", "submit"].includes(target.type));
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || typing(event.target)) return;
    // Arrows move within a group of radio buttons, and scroll what is zoomed.
    if (event.key.startsWith("Arrow") && event.target !== document.body) return;
    const action = actions[event.key];
    if (action && action() !== false) event.preventDefault();
  });
  if (dialog && opener) {
    opener.hidden = false;
    opener.addEventListener("click", () => dialog.showModal());
  }
})();
