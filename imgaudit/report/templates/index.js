"use strict";
// Filters the table; its state lives in the address, so that a link shows what its sender saw.
(function () {
  const rows = Array.from(document.querySelectorAll("#findings tr"));
  const verdict = document.getElementById("filter-verdict");
  const text = document.getElementById("filter-text");
  const shown = document.getElementById("shown");

  function apply() {
    const wanted = text.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      const fits = (!verdict.value || row.dataset.verdict === verdict.value) && row.dataset.text.includes(wanted);
      row.hidden = !fits;
      count += fits ? 1 : 0;
    }
    shown.textContent = count + " of " + rows.length + " shown";
  }

  function remember() {
    const state = new URLSearchParams();
    if (verdict.value) state.set("verdict", verdict.value);
    if (text.value) state.set("name", text.value);
    history.replaceState(null, "", "#" + state.toString());
    apply();
  }

  const state = new URLSearchParams(location.hash.slice(1));
  verdict.value = state.get("verdict") || "";
  if (verdict.selectedIndex < 0) verdict.value = "";
  text.value = state.get("name") || "";
  verdict.addEventListener("change", remember);
  text.addEventListener("input", remember);
  apply();
})();
