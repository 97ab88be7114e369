"use strict";
// Decisions of a reviewer: kept as drafts in this browser, saved as a file, and, where `imgaudit view` serves the page,
// written into the run. Whatever comes out of storage or from the server is shown as text and never as markup.
window.imgauditDecisions = (function () {
  const CHOICES = { accept: "accepts the verdict", dispute: "disputes the verdict", unsure: "is unsure" };
  const FIELDS = ["run_id", "image_id", "sha256", "result_sha256", "decision", "replication_level", "comment", "reviewer",
    "made", "machine_verdict"];
  const GIVEN = ["decision", "replication_level", "comment", "reviewer"];
  const LONGEST_COMMENT = 4000, LONGEST_NAME = 120;
  const REVIEWER_KEY = "imgaudit-reviewer", TOKEN_KEY = "imgaudit-token";
  const served = location.protocol === "http:";
  const listeners = new Set();
  let memory = {};          // drafts, where the browser keeps none
  let reviewerInMemory = "";
  let problem = "";         // why the browser keeps none
  let saved = [];           // what the run holds, newest of each reviewer
  let token = "";
  let queue = Promise.resolve();

  function meta(name) {
    const found = document.querySelector('meta[name="' + name + '"]');
    return found ? found.content : "";
  }

  function form() {
    return document.getElementById("decision-form");
  }

  function runId() {
    return meta("imgaudit-run-id") || (form() ? form().dataset.runId : "");
  }

  function key() {
    return "imgaudit-decisions:" + runId();
  }

  function say(text) {
    for (const place of document.querySelectorAll("[data-decision-status]")) place.textContent = text;
  }

  // Storage

  function stored(name) {
    try {
      return localStorage.getItem(name);
    } catch {
      problem = "This browser keeps nothing for this page: save decisions.json before you leave it.";
      return null;
    }
  }

  function store(name, text) {
    try {
      localStorage.setItem(name, text);
      problem = "";
    } catch (error) {
      problem = error.name === "QuotaExceededError"
        ? "This browser's storage is full: save decisions.json before you leave this page."
        : "This browser keeps nothing for this page: save decisions.json before you leave it.";
    }
  }

  function cleaned(value) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
    const draft = { saved: value.saved === true };
    for (const name of FIELDS) {
      if (name !== "replication_level") draft[name] = typeof value[name] === "string" ? value[name] : "";
    }
    if (!Object.hasOwn(CHOICES, draft.decision)) draft.decision = null;
    const level = value.replication_level;
    draft.replication_level = Number.isInteger(level) && level >= 0 && level <= 5 ? level : null;
    draft.comment = draft.comment.slice(0, LONGEST_COMMENT);
    draft.reviewer = draft.reviewer.trim().slice(0, LONGEST_NAME);
    return draft;
  }

  function drafts() {
    let parsed = null;
    try {
      parsed = JSON.parse(stored(key()) || "{}");
    } catch {
      parsed = {};
    }
    const found = Object.create(null);
    for (const [name, value] of Object.entries(Object.assign({}, parsed, memory))) {
      const draft = /^[0-9a-f]{16}$/.test(name) ? cleaned(value) : null;
      if (draft && draft.run_id === runId()) found[name] = draft;
    }
    return found;
  }

  function keep(draft) {
    // Read again just before writing: another tab may have kept others meanwhile.
    const all = drafts();
    all[draft.image_id] = draft;
    store(key(), JSON.stringify(all));
    if (problem) memory[draft.image_id] = draft;
    else memory = {};
    tell();
  }

  function reviewer() {
    return (stored(REVIEWER_KEY) || reviewerInMemory).slice(0, LONGEST_NAME);
  }

  function rememberReviewer(name) {
    reviewerInMemory = name;
    store(REVIEWER_KEY, name);
  }

  function tell() {
    for (const fn of listeners) fn();
  }

  // Drafts

  function subject(imageId) {
    if (!/^[0-9a-f]{16}$/.test(imageId)) return null;
    const found = document.querySelector('[data-image-id="' + imageId + '"][data-sha256][data-verdict]');
    const result = (found && found.dataset.resultSha256) || meta("imgaudit-result-sha256");
    if (!found || !result) return null;
    return { run_id: runId(), image_id: imageId, sha256: found.dataset.sha256, result_sha256: result,
      machine_verdict: found.dataset.verdict };
  }

  function draftOf(imageId, fields) {
    const old = drafts()[imageId];
    const base = subject(imageId);
    if (!base && !old) throw new Error("no image " + imageId + " on this page");
    const before = old || { decision: null, replication_level: null, comment: "", reviewer: "", saved: false };
    const given = Object.fromEntries(GIVEN.filter((name) => name in fields).map((name) => [name, fields[name]]));
    const draft = cleaned(Object.assign({}, before, base || {}, given));
    draft.reviewer = draft.reviewer || reviewer().trim();
    // The time is of the decision, not of the click: saving the same twice adds nothing.
    const same = old && FIELDS.every((name) => name === "made" || old[name] === draft[name]);
    if (!same) {
      draft.made = new Date().toISOString();
      draft.saved = false;
    }
    return draft;
  }

  function missing(draft) {
    if (!draft.decision) return "choose accept, dispute or unsure";
    return draft.reviewer ? "" : "give your name";
  }

  function record(draft) {
    return Object.fromEntries(FIELDS.map((name) => [name, draft[name]]));
  }

  function set(imageId, fields) {
    const draft = draftOf(imageId, fields || {});
    if (fields && fields.reviewer) rememberReviewer(draft.reviewer);
    keep(draft);
    show();
    const lacking = missing(draft);
    if (lacking) say("Draft kept; to save it, " + lacking + ". " + problem);
    else if (served) send(draft);
    else say(problem || "Kept in this browser. Save decisions.json when you are done, for: imgaudit review import.");
    return draft;
  }

  // The page's own server

  function send(draft) {
    queue = queue.then(() => post(draft));
    return queue;
  }

  async function post(draft) {
    const kept = problem || "The draft is kept in this browser.";
    if (!token) {
      say("Not saved in the run: open the page that imgaudit view opened, or the address that imgaudit view --no-browser prints. " + kept);
      return;
    }
    let answer, content;
    try {
      answer = await fetch("/decisions", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Imgaudit-Token": token },
        body: JSON.stringify(record(draft)),
      });
      content = await answer.json();
    } catch {
      say("Not saved in the run: the server does not answer; was imgaudit view stopped? " + kept);
      return;
    }
    if (!answer.ok) {
      say("Not saved in the run: " + content.error + ". " + kept);
      return;
    }
    const now = drafts()[draft.image_id];
    if (now && now.made === draft.made) keep(Object.assign(now, { saved: true }));
    saved = saved.filter((one) => one.image_id !== draft.image_id || one.reviewer !== content.saved.reviewer);
    saved.push(content.saved);
    say("Saved in the run.");
    tell();
    show();
  }

  async function fetchSaved() {
    if (!served || !token) return;
    try {
      const answer = await fetch("/decisions", { headers: { "X-Imgaudit-Token": token } });
      const content = await answer.json();
      if (!answer.ok) throw new Error(content.error);
      saved = content.decisions;
      if (content.damaged) say(content.damaged + " lines of the run's decisions are damaged: imgaudit review status.");
    } catch (error) {
      say("The decisions in the run cannot be read: " + error.message);
    }
    tell();
    show();
  }

  function takeToken() {
    if (!served) return;
    const state = new URLSearchParams(location.hash.slice(1));
    const given = state.get("token");
    if (given) {
      state.delete("token");
      const rest = state.toString();
      history.replaceState(null, "", location.pathname + location.search + (rest ? "#" + rest : ""));
    }
    try {
      if (given) sessionStorage.setItem(TOKEN_KEY, given);
      token = given || sessionStorage.getItem(TOKEN_KEY) || "";
    } catch {
      token = given || "";
    }
    // A page in a new tab has no session yet, and asks the tabs that have one.
    const tabs = new BroadcastChannel("imgaudit-token");
    tabs.onmessage = function (message) {
      if (message.data === null && token) tabs.postMessage(token);
      if (typeof message.data === "string" && !token) {
        token = message.data;
        try { sessionStorage.setItem(TOKEN_KEY, token); } catch { /* kept for this page */ }
        fetchSaved();
      }
    };
    if (!token) tabs.postMessage(null);
  }

  // The file

  function download() {
    const all = Object.values(drafts());
    const complete = all.filter((draft) => !missing(draft));
    const content = { format: "imgaudit-decisions", format_version: 1, run_id: runId(), decisions: complete.map(record) };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 2) + "\n"], { type: "application/json" }));
    link.download = "decisions.json";
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    const left = all.length - complete.length;
    say(complete.length + (complete.length === 1 ? " decision" : " decisions") + " in decisions.json"
      + (left ? "; left out: " + left + " without a decision or a name." : "."));
  }

  // The form

  function fields() {
    const data = new FormData(form());
    const level = data.get("replication_level");
    return { decision: data.get("decision"), replication_level: level ? Number(level) : null,
      comment: data.get("comment"), reviewer: data.get("reviewer") };
  }

  function show() {
    const pending = Object.values(drafts()).filter((draft) => !draft.saved && !missing(draft));
    for (const button of document.querySelectorAll("[data-send-decisions]")) {
      button.hidden = !served || !token || pending.length === 0;
    }
    if (!form()) return;
    const shown = get(form().dataset.imageId);
    const own = form().elements;
    if (!own.reviewer.value) own.reviewer.value = reviewer();
    if (shown) {
      for (const input of own.decision) input.checked = input.value === shown.decision;
      for (const input of own.replication_level) {
        input.checked = input.value === (shown.replication_level === null ? "" : String(shown.replication_level));
      }
      if (document.activeElement !== own.comment) own.comment.value = shown.comment;
      if (shown.reviewer && document.activeElement !== own.reviewer) own.reviewer.value = shown.reviewer;
    }
    if (served && token) showSaved();
  }

  function showSaved() {
    const list = document.getElementById("decision-saved");
    const here = savedOf(form().dataset.imageId);
    if (!list || !here.length) return;
    list.replaceChildren(...here.map(function (one) {
      const item = document.createElement("li");
      const name = document.createElement("strong");
      name.textContent = one.reviewer;
      const level = one.replication_level === null ? "" : ", replication level " + one.replication_level;
      const other = one.result_sha256 === form().dataset.resultSha256 ? "" : " (on another result of this run)";
      const when = one.made.slice(0, 16).replace("T", " ") + " UTC";
      item.append(name, " " + CHOICES[one.decision] + level + other + ", " + when);
      if (one.comment) {
        const words = document.createElement("q");
        words.textContent = one.comment;
        item.append(": ", words);
      }
      return item;
    }));
  }

  function savedOf(imageId) {
    return saved.filter((one) => one.image_id === imageId).sort((a, b) => (a.reviewer < b.reviewer ? -1 : 1));
  }

  function get(imageId) {
    const draft = drafts()[imageId];
    const own = savedOf(imageId).find((one) => one.reviewer === reviewer());
    const found = own ? Object.assign(cleaned(own), { saved: true }) : null;
    return draft && (!found || Date.parse(draft.made) >= Date.parse(found.made)) ? draft : found;
  }

  function all() {
    const names = new Set([...Object.keys(drafts()), ...saved.map((one) => one.image_id)]);
    const found = {};
    for (const name of names) {
      const one = get(name);
      if (one) found[name] = one;
    }
    return found;
  }

  function wire() {
    for (const button of document.querySelectorAll("[data-save-decisions]")) button.addEventListener("click", download);
    for (const button of document.querySelectorAll("[data-send-decisions]")) {
      button.addEventListener("click", function () {
        for (const draft of Object.values(drafts())) if (!draft.saved && !missing(draft)) send(draft);
      });
    }
    addEventListener("storage", function (event) {
      if (event.key === key() || event.key === null) { tell(); show(); }
    });
    addEventListener("beforeunload", function (event) {
      if (Object.values(memory).some((draft) => !draft.saved)) event.preventDefault();
    });
    if (form()) {
      form().addEventListener("input", function () {
        const given = fields();
        if (given.reviewer) rememberReviewer(given.reviewer.trim());
        keep(draftOf(form().dataset.imageId, given));
        say(problem || "Draft kept in this browser.");
      });
      form().addEventListener("submit", function (event) {
        event.preventDefault();
        set(form().dataset.imageId, fields());
      });
    }
    show();
    fetchSaved();
    if (problem) say(problem);
  }

  takeToken();
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", wire);
  else wire();

  return {
    // The newest of this reviewer on an image: {decision, replication_level, comment, reviewer, made, saved, ...} or null.
    get: get,
    // Decide: set("0123...", {decision: "accept", replication_level: 4}). Fields that are not given stay as they were.
    set: set,
    // All of this reviewer, by image id.
    all: all,
    // What the run holds on an image, of every reviewer; empty on pages that are opened from disk.
    savedOf: savedOf,
    // fn() is called after every change; what is returned stops that.
    onChange: function (fn) { listeners.add(fn); return () => listeners.delete(fn); },
    // Download decisions.json.
    download: download,
  };
})();
