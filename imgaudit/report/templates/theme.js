"use strict";
// Light, dark, or as the system is. Loaded in the head, so that a page never flashes in the other theme.
(function () {
  const themes = ["auto", "light", "dark"];
  const key = "imgaudit-theme";

  function held() {
    try { return localStorage.getItem(key); } catch { return null; }
  }

  function apply(theme) {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }

  let theme = themes.includes(held()) ? held() : "auto";
  apply(theme);
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const say = () => { button.textContent = "Theme: " + theme; };
    button.hidden = false;
    say();
    button.addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      apply(theme);
      say();
      try { localStorage.setItem(key, theme); } catch { /* it holds until the page is left */ }
    });
  });
})();
