"use strict";
// The images of the run: filtered, sorted and paged here; the state lives in the address, so that a link shows what its
// sender saw. Rows come from data/*.js, which are part of the report.
(function () {
  const rows = window.imgauditRows || [];
  const form = document.getElementById("filters");
  const body = document.getElementById("findings");
  const gallery = document.getElementById("gallery");
  const table = document.getElementById("table");
  const pages = document.querySelector(".pages");
  const decisions = window.imgauditDecisions;
  const labels = window.imgauditLabels || {};
  const verdicts = Object.keys(labels);
  const defaults = { sort: "verdict", order: "up", view: "table", size: "50" };
  let page = 0;
  let found = rows;

  // What this browser holds comes before what the run held when the page was written.
  let decided = {};
  const review = (row) => (decided[row.id] || {}).decision || row.review || "undecided";
  const field = (name) => form.elements[name];
  const chosen = () => Array.from(form.querySelectorAll('[name="verdict"]:checked'), (input) => input.value);
  // Where there is no valid copy threshold, nothing was counted.
  const best = (row) => Math.max(-1, ...row.copies.map((one) => (one[1] !== null && one[2] ? one[1] / one[2] : -1)));
  const keys = {
    verdict: (row) => verdicts.indexOf(row.verdict), name: (row) => row.name.toLowerCase(),
    similarity: (row) => row.similarity, score: (row) => row.score, p: (row) => row.p, q: (row) => row.decided, rate: best,
  };

  function state() {
    const values = new URLSearchParams();
    for (const verdict of chosen()) values.append("verdict", verdict);
    for (const name of ["text", "rung", "alarm", "review", "from", "to", "p", "q", "sort", "order", "view", "size"]) {
      const value = field(name).value;
      if (value && value !== defaults[name]) values.set(name, value);
    }
    if (page) values.set("page", page + 1);
    return values;
  }

  function restore() {
    const values = new URLSearchParams(location.hash.slice(1));
    const wanted = values.getAll("verdict");
    for (const input of form.querySelectorAll('[name="verdict"]')) input.checked = wanted.includes(input.value);
    for (const name of ["text", "rung", "alarm", "review", "from", "to", "p", "q", "sort", "order", "view", "size"]) {
      const element = field(name);
      element.value = values.get(name) ?? defaults[name] ?? "";
      // A link from elsewhere may name what this report does not have.
      if (element.selectedIndex === -1) element.selectedIndex = 0;
    }
    page = Math.max(0, (parseInt(values.get("page"), 10) || 1) - 1);
  }

  function fits() {
    const wanted = new Set(chosen());
    const words = field("text").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const rung = field("rung").value, alarm = field("alarm").value, wantedReview = field("review").value;
    const from = parseFloat(field("from").value), to = parseFloat(field("to").value);
    const p = parseFloat(field("p").value), q = parseFloat(field("q").value);
    return (row) => {
      if (wanted.size && !wanted.has(row.verdict)) return false;
      if (rung && row.rung !== rung) return false;
      if (alarm === "any" && !row.alarms.length) return false;
      if (alarm === "none" && row.alarms.length) return false;
      if (alarm && alarm !== "any" && alarm !== "none" && !row.alarms.includes(alarm)) return false;
      if (!isNaN(from) && !(row.score !== null && row.score >= from)) return false;
      if (!isNaN(to) && !(row.score !== null && row.score <= to)) return false;
      if (!isNaN(p) && !(row.p !== null && row.p <= p)) return false;
      if (!isNaN(q) && !(row.decided !== null && row.decided <= q)) return false;
      if (wantedReview && review(row) !== wantedReview) return false;
      row.searched ??= [row.name, row.reason, ...row.texts].join("\n").toLowerCase();
      return words.every((word) => row.searched.includes(word));
    };
  }

  function sorted(list) {
    const key = keys[field("sort").value] || keys.verdict;
    const sign = field("order").value === "down" ? -1 : 1;
    const values = new Map(list.map((row) => [row, key(row)]));
    return list.slice().sort((a, b) => {
      const x = values.get(a), y = values.get(b);
      // What was not measured stands last, whichever way.
      if (x === null || y === null) return (x === null) - (y === null) || a.place - b.place;
      return (x < y ? -sign : x > y ? sign : 0) || a.place - b.place;
    });
  }

  function make(name, text, kind) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  }

  function thumb(row, which) {
    if (!row[which]) return make("span", "none", "none");
    const image = make("img");
    image.width = image.height = 96;
    image.alt = which === "target" ? "The image" : "Closest generated image";
    image.src = "thumbs/" + row.id + "-" + which + ".jpg";
    return image;
  }

  function link(row) {
    const anchor = make("a", undefined, "name");
    // A name keeps its own direction, whatever stands around it.
    anchor.append(make("bdi", row.name));
    anchor.href = row.id + ".html";
    return anchor;
  }

  const badge = (row) => make("span", labels[row.verdict], "badge verdict-" + row.verdict);
  const counted = (one) => one[0] + ": " + (one[1] === null ? "not counted" : one[1] + " of " + one[2]);
  const interval = (one) => one[1] === null ? "" : "(" + Math.round(100 * one[3]) + " to " + Math.round(100 * one[4]) + " %)";
  const SCORED_ONLY = "scored only";
  const copies = (row) =>
    row.scored_only ? [SCORED_ONLY] : row.copies.map((one) => (counted(one) + " " + interval(one)).trim());
  const number = (value) => (value === null ? "\u2013" : String(Number(value.toPrecision(3))));

  function mark(row) {
    const said = review(row);
    return said === "undecided" ? [] : [document.createTextNode(" "), make("span", "review: " + said, "review")];
  }

  // The number that decided, and what it compares with where that is not the controls.
  function deciding(row) {
    const shown = make("span", number(row.decided));
    const cell = make("td", undefined, "number deciding");
    cell.append(shown);
    if (row.decided !== null && !row.by_controls) cell.append(make("small", "of the text, without controls"));
    return cell;
  }

  // What a column heading says, where a phone shows no headings.
  function named(cell, name) {
    cell.dataset.name = name;
    return cell;
  }

  // What a decision on this image has to name.
  function subject(element, row) {
    Object.assign(element.dataset, { imageId: row.id, sha256: row.sha256, verdict: row.verdict });
    return element;
  }

  function asRow(row) {
    const line = subject(make("tr"), row);
    const pictures = make("td", undefined, "thumbs");
    pictures.append(thumb(row, "target"), thumb(row, "best"));
    const name = make("td");
    name.append(link(row));
    // The other columns say all that the reason of a plain verdict does.
    if (!["replicated", "replicated_by_inversion", "not_reproduced"].includes(row.verdict)) name.append(make("p", row.reason, "reason"));
    const verdict = make("td");
    verdict.append(badge(row), ...mark(row));
    if (row.alarms.length) verdict.append(make("p", row.alarms.length + (row.alarms.length === 1 ? " alarm" : " alarms")));
    const rates = make("td", row.scored_only ? SCORED_ONLY : undefined, "rates");
    for (const one of row.copies) {
      const rate = make("div", counted(one) + " ");
      rate.append(make("span", interval(one), "interval"));
      rates.append(rate);
    }
    line.append(pictures, name, verdict, rates);
    for (const [said, value] of [["Best similarity", row.similarity], ["Score", row.score], ["p", row.p]]) {
      line.append(named(make("td", number(value), "number"), said));
    }
    line.append(named(deciding(row), "Deciding q"));
    return line;
  }

  function asCard(row) {
    const card = subject(make("li"), row);
    const two = make("div", undefined, "two");
    two.append(thumb(row, "target"), thumb(row, "best"));
    const verdict = make("p");
    verdict.append(badge(row), ...mark(row));
    const name = make("p");
    name.append(link(row));
    card.append(two, verdict, name, make("p", copies(row).join("; ")), make("p", "Deciding q: " + number(row.decided)));
    return card;
  }

  function show() {
    decided = decisions ? decisions.all() : {};
    found = sorted(rows.filter(fits()));
    const size = parseInt(field("size").value, 10);
    const last = Math.max(0, Math.ceil(found.length / size) - 1);
    page = Math.min(page, last);
    const part = found.slice(page * size, (page + 1) * size);
    const asTable = field("view").value === "table";
    table.hidden = !asTable;
    gallery.hidden = asTable;
    body.replaceChildren(...(asTable ? part.map(asRow) : []));
    gallery.replaceChildren(...(asTable ? [] : part.map(asCard)));
    document.getElementById("shown").textContent = found.length.toLocaleString("en") + " of " +
      rows.length.toLocaleString("en") + " images";
    pages.hidden = last === 0;
    document.getElementById("page").textContent = "Page " + (page + 1) + " of " + (last + 1);
    document.getElementById("before").disabled = page === 0;
    document.getElementById("after").disabled = page === last;
    for (const heading of table.querySelectorAll("th[data-sort]")) {
      if (heading.dataset.sort !== field("sort").value) heading.removeAttribute("aria-sort");
      else heading.setAttribute("aria-sort", field("order").value === "down" ? "descending" : "ascending");
    }
  }

  function remember(replace) {
    const hash = "#" + state().toString();
    if (hash === (location.hash || "#")) return;
    if (replace) history.replaceState(null, "", hash);
    else history.pushState(null, "", hash);
  }

  function changed(event) {
    page = 0;
    show();
    remember(event.type === "input");
  }

  function turn(by) {
    page += by;
    show();
    remember(false);
    document.getElementById("images").scrollIntoView();
  }

  // A cell that looks like a formula gets a quote before it: spreadsheets would run it.
  function cell(value) {
    let text = value === null ? "" : String(value);
    if (typeof value === "string" && /^\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]/.test(text)) text = "'" + text;
    return '"' + text.replace(/"/g, '""') + '"';
  }

  function download() {
    const lines = [["id", "file", "verdict", "rung", "similarity", "score", "p", "q", "deciding_q", "copies", "alarms", "review", "reason"]];
    for (const row of found) {
      lines.push([row.id, row.name, row.verdict, row.rung, row.similarity, row.score, row.p, row.q, row.decided, copies(row).join("; "),
        row.alarms.join("; "), review(row), row.reason]);
    }
    const anchor = make("a");
    anchor.href = URL.createObjectURL(new Blob([lines.map((line) => line.map(cell).join(",")).join("\n") + "\n"], { type: "text/csv" }));
    anchor.download = "findings-view.csv";
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
  }

  rows.forEach((row, place) => { row.place = place; });
  document.getElementById("review-field").hidden = !decisions && !rows.some((row) => row.review);
  form.hidden = false;
  restore();
  show();
  form.addEventListener("change", changed);
  form.addEventListener("input", (event) => { if (["text", "from", "to", "p", "q"].includes(event.target.name)) changed(event); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    history.pushState(null, "", "#");
    restore();
    show();
  });
  table.querySelector("thead").addEventListener("click", (event) => {
    const heading = event.target.closest("th[data-sort]");
    if (!heading) return;
    const again = field("sort").value === heading.dataset.sort && field("order").value === "up";
    field("sort").value = heading.dataset.sort;
    field("order").value = again ? "down" : "up";
    changed(event);
  });
  document.getElementById("before").addEventListener("click", () => turn(-1));
  document.getElementById("after").addEventListener("click", () => turn(1));
  document.getElementById("csv").addEventListener("click", download);
  window.addEventListener("popstate", () => { restore(); show(); });
  if (decisions) decisions.onChange(show);
  const details = document.getElementById("set-details");
  // Paper has no room for a heading that opens, and what a number does not show belongs beside it.
  if (details) window.addEventListener("beforeprint", () => { details.open = true; });
  document.documentElement.dataset.ready = "true";
})();
