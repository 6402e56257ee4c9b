"use strict";

// The explorer: which questions are listed, and the card of the one that is open. All texts of
// models become text nodes, or elements of SAFE; the state is in the address, so it can be mailed.
(async () => {
  // -- the page's own words, in its language

  const spoken = JSON.parse(document.getElementById("words")?.textContent ?? "{}");
  const say = (text, values = {}) =>
    (spoken[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => values[name]);

  // -- what can be copied

  async function copied(button, text) {
    try { await navigator.clipboard.writeText(text); } catch {
      const area = document.createElement("textarea");
      area.value = text;
      area.setAttribute("aria-label", say("To copy"));
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    const before = button.textContent;
    button.textContent = say("Copied");
    setTimeout(() => { button.textContent = before; }, 1200);
  }

  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", () =>
      copied(button, button.dataset.copy.replaceAll("\u00a0", " ")));
  }

  // -- the explorer

  const room = document.getElementById("explorer");
  const source = document.getElementById("rows");
  if (!room || !source) return;

  const SAFE = new Set(("a blockquote br code del em h5 h6 hr li ol p pre s span strong table tbody "
    + "td th thead tr ul").split(" "));
  const OUTCOMES = { won: say("won"), tied: say("tied"), lost: say("lost"),
    unreadable: say("unreadable") };
  const PAGE = 100; // lines of the list at once

  const data = JSON.parse(source.type === "application/json" ? source.textContent
    : await unpacked(source.textContent));
  const byId = new Map(data.questions.map((question, place) => [question.id, place]));
  const lines = [...room.querySelectorAll(".questions li")];
  const card = room.querySelector(".reading");
  const tools = room.querySelector(".tools");

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), sign => sign.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  // -- making elements

  function el(tag, values = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(values)) {
      if (name === "on") made.addEventListener("click", value);
      else if (value === true) made.setAttribute(name, "");
      else if (value !== false && value != null) made.setAttribute(name, value);
    }
    made.append(...children.flat(Infinity).filter(child => child != null && child !== false));
    return made;
  }

  // A second look at what the sanitizer let through: only elements and attributes named here.
  function safe(html) {
    const found = document.createDocumentFragment();
    const copy = (from, to) => {
      for (const node of from.childNodes) {
        if (node.nodeType === Node.TEXT_NODE) to.append(node.data);
        if (node.nodeType !== Node.ELEMENT_NODE) continue;
        const made = SAFE.has(node.localName) ? document.createElement(node.localName) : to;
        const address = node.getAttribute("href") ?? "";
        if (node.localName === "a" && /^https?:\/\//i.test(address)) {
          made.href = address;
          made.rel = "noopener noreferrer nofollow";
        }
        if (/^(hl-[a-z]+|address)$/.test(node.className)) made.className = node.className;
        copy(node, made);
        if (made !== to) to.append(made);
      }
    };
    copy(new DOMParser().parseFromString(html, "text/html").body, found);
    return found;
  }

  const judgings = data.judgings.map(([judge, prompt, vote]) =>
    ({ names: [judge, vote ? say("a vote") : prompt], prompt, vote }));
  const listed = texts => texts.filter(Boolean).join(", ");

  // -- what is asked for

  const pairs = [...new Map(data.questions.flatMap(question => question.met)
    .map(met => [JSON.stringify([met[1], met[2]]), [met[1], met[2]]])).values()];
  pairs.sort((one, other) => (one[0] !== data.baseline) - (other[0] !== data.baseline));
  const first = pairs.find(([a, b]) => a === data.pair?.[0] && b === data.pair?.[1]) ?? pairs[0];

  const CHIPS = [
    ["all", say("All"), () => true],
    ["lost", say("Lost"), question => met(question).some(each => each[3] === "lost")],
    ["won", say("Won"), question => met(question).some(each => each[3] === "won")],
    ["tied", say("Tied"), question => met(question).some(each => each[3] === "tied")],
    ["orders", say("Orders disagree"), question => met(question).some(each => each[5])],
    ["judges", say("Judges disagree"), judgesDisagree],
    ["unreadable", say("Unreadable"), question =>
      met(question).some(each => each[3] === "unreadable") || reviewsOf(question).some(review => review.unreadable)],
    ["short", say("Empty or cut"), question => shownModels(question)
      .some(model => question.answers[model]?.empty
        || question.answers[model]?.finish_reason === "length")],
    ["starred", say("Starred"), question => question.id in stars],
  ];
  const SORTS = [
    ["bank", say("in the order of the bank"), null],
    ["gap", say("widest gap in scores"), question => -widest(met(question).map(each => each[4]))],
    ["length", say("widest gap in length"), question => -lengthGap(question)],
    ["disagreement", say("disagreement first"), question =>
      -met(question).filter(each => each[5]).length - judgesDisagree(question)],
  ];

  const state = { q: null, pair: first ?? null, f: "all", c: "", j: "", s: "", o: "bank" };
  let raw = false, prompts = false, shown = [];

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    if (!location.hash.includes("=")) return false;
    state.q = byId.has(given.get("q")) ? given.get("q") : null;
    const [a, b] = [given.get("a"), given.get("b")];
    if (a !== null) state.pair = pairs.find(pair => pair[0] === a && pair[1] === b) ?? null;
    state.f = CHIPS.some(chip => chip[0] === given.get("f")) ? given.get("f") : "all";
    state.c = given.get("c") ?? "";
    state.j = judgings[given.get("j")] ? given.get("j") : "";
    state.s = given.get("s") ?? "";
    state.o = SORTS.some(sort => sort[0] === given.get("o")) ? given.get("o") : "bank";
    return true;
  }

  function address() {
    const told = new URLSearchParams();
    const all = { q: state.q, a: state.pair?.[0] ?? "", b: state.pair?.[1] ?? "", f: state.f,
      c: state.c, j: state.j, s: state.s, o: state.o };
    for (const [name, value] of Object.entries(all)) {
      const usual = name === "f" ? "all" : name === "o" ? "bank" : "";
      if (value !== null && (value !== usual || name === "a")) told.set(name, value);
    }
    return `#${told}`;
  }

  // The outcomes of a question that are asked for; kept until another pair or judge is.
  let keptFor = [], kept = new Map();
  function met(question) {
    if (keptFor[0] !== state.pair || keptFor[1] !== state.j) {
      [keptFor, kept] = [[state.pair, state.j], new Map()];
    }
    let found = kept.get(question);
    if (!found) {
      found = question.met.filter(each => (state.j === "" || each[0] === +state.j)
        && (!state.pair || (each[1] === state.pair[0] && each[2] === state.pair[1])));
      kept.set(question, found);
    }
    return found;
  }
  const shownModels = question => state.pair ?? Object.keys(question.answers);
  const reviewsOf = question => question.reviews.filter(review =>
    (state.j === "" || review.judging === +state.j)
    && (!state.pair || review.shown.every(model => state.pair.includes(model))));
  const widest = values => Math.max(0, ...values.map(Math.abs));

  function judgesDisagree(question) {
    if (judgings.length < 2) return false;
    const said = new Map();
    for (const each of met(question)) {
      if (each[3] === "unreadable") continue;
      const key = JSON.stringify([each[1], each[2]]);
      said.set(key, (said.get(key) ?? new Set()).add(each[3]));
    }
    return [...said.values()].some(words => words.size > 1);
  }

  function lengthGap(question) {
    const lengths = shownModels(question).map(model => question.answers[model]?.characters ?? 0);
    return Math.max(0, ...lengths) - Math.min(...lengths, Infinity);
  }

  // -- stars: kept in this browser

  const shelf = `evalkit:${data.bank}`;
  let stars = {};
  try { stars = JSON.parse(localStorage.getItem(shelf)) ?? {}; } catch { /* no storage here */ }

  function keep() {
    try { localStorage.setItem(shelf, JSON.stringify(stars)); } catch { /* no storage here */ }
  }

  function exported() {
    const rows = Object.entries(stars).map(([question, note]) =>
      JSON.stringify({ bank: data.bank, question, note, pair: state.pair }));
    const link = el("a", { download: `${data.bank}.starred.jsonl` });
    link.href = URL.createObjectURL(new Blob([rows.map(row => `${row}\n`).join("")]));
    link.click();
    URL.revokeObjectURL(link.href);
  }

  // -- the list

  function choice(label, name, options, value) {
    const select = el("select", { "aria-label": label },
      options.map(([key, text]) => el("option", { value: key, selected: key === value }, text)));
    select.addEventListener("change", () => {
      most = PAGE;
      if (name === "pair") state.pair = pairs[select.value] ?? null;
      else state[name] = select.value;
      update();
    });
    return select;
  }

  function drawTools() {
    const here = data.questions.filter(question => inCategory(question) && isSought(question));
    const chips = CHIPS.map(([key, text, fits], place) => {
      const many = here.filter(fits).length;
      return el("button", { type: "button", class: "chip", "aria-pressed": String(state.f === key),
        "data-f": key, title: say("key {n}", { n: place + 1 }),
        "data-none": many === 0 && key !== "starred", on: () => choose(key) },
        `${text} `, el("span", { class: "n" }, String(many)));
    });
    const categories = [...new Set(data.questions.map(question => question.category))];
    const search = tools.querySelector("input") ?? el("input", { type: "search",
      placeholder: say("search"), "aria-label": say("Search in questions and answers") });
    if (!search.isConnected) {
      search.addEventListener("input", () => { state.s = search.value; update(); });
    }
    if (search.value !== state.s) search.value = state.s;
    const focused = document.activeElement;
    const again = focused?.dataset?.f;
    const label = tools.contains(focused) ? focused.getAttribute("aria-label") : null;
    tools.replaceChildren(
      el("div", { class: "chips", role: "group", "aria-label": say("Which questions") }, chips),
      el("div", { class: "choices" },
        choice(say("Pair of models"), "pair", [["", say("every pair")],
          ...pairs.map(([a, b], place) => [String(place), say("{b} against {a}", { a, b })])],
          state.pair ? String(pairs.indexOf(state.pair)) : ""),
        judgings.length > 1 && choice(say("Judge"), "j", [["", say("every judge")],
          ...judgings.map((each, n) => [String(n), listed(each.names)])], state.j),
        choice(say("Category"), "c",
          [["", say("every category")], ...categories.map(c => [c, c])], state.c),
        choice(say("Order"), "o", SORTS.map(([key, text]) => [key, text]), state.o),
        search,
        el("button", { type: "button", class: "chip", on: exported }, say("Export starred")),
        el("button", { type: "button", class: "chip", on: help }, say("Keys"))));
    if (again) tools.querySelector(`[data-f="${again}"]`).focus();
    else if (label) {
      [...tools.querySelectorAll("[aria-label]")]
        .find(each => each.getAttribute("aria-label") === label)?.focus();
    }
  }

  const inCategory = question => !state.c || question.category === state.c;

  function isSought(question) {
    if (!state.s) return true;
    question.sought ??= [question.id, ...(question.turns ?? []),
      ...Object.values(question.answers).flatMap(answer => answer.turns.map(turn => turn.raw))]
      .join("\n").toLowerCase();
    return question.sought.includes(state.s.toLowerCase());
  }

  function drawList() {
    const fits = CHIPS.find(chip => chip[0] === state.f)[2];
    const rank = SORTS.find(sort => sort[0] === state.o)[2];
    shown = data.questions.filter(question => inCategory(question) && isSought(question)
      && fits(question));
    if (rank) {
      const ranks = new Map(shown.map(question => [question, rank(question)]));
      shown.sort((one, other) => ranks.get(one) - ranks.get(other));
    }
    const at = shown.findIndex(question => question.id === state.q);
    most = Math.max(most, PAGE * Math.ceil((at + 1) / PAGE));
    const wanted = new Set(shown.slice(0, most));
    data.questions.forEach((question, place) => {
      const hidden = !wanted.has(question);
      if (lines[place].hidden !== hidden) lines[place].hidden = hidden;
    });
    const list = room.querySelector(".questions");
    const order = (rank ? shown : data.questions).map(question => lines[byId.get(question.id)]);
    if (order.some((line, place) => list.children[place] !== line)) list.prepend(...order);
    more.hidden = shown.length <= most;
    drawDots();
    room.querySelector(".count").textContent =
      say("{n} of {of} questions", { n: shown.length, of: data.questions.length });
  }

  let most = PAGE;
  const more = el("li", { class: "more", hidden: true }, el("button", { type: "button",
    class: "chip", on: () => {
      most += PAGE;
      drawList();
    } }, say("{n} more", { n: PAGE })));
  room.querySelector(".questions").append(more);

  let drawnFor = null;
  function drawDots() {
    const key = JSON.stringify([state.pair, state.j]);
    if (key === drawnFor) return;
    drawnFor = key;
    data.questions.forEach((question, place) => {
      const outcomes = met(question);
      const dots = lines[place].querySelector(".dots");
      dots.replaceChildren(...outcomes.map(each =>
        el("i", { class: each[3] }, data.signs[each[3]])));
      dots.setAttribute("aria-label", outcomes.map(each => OUTCOMES[each[3]]).join(", ")
        || say("not judged"));
    });
  }

  // -- the card

  function drawCard() {
    const question = data.questions[byId.get(state.q)];
    for (const line of lines) {
      line.firstElementChild.toggleAttribute("aria-current", line === lines[byId.get(state.q)]);
    }
    if (!question) {
      card.replaceChildren(el("p", { class: "quiet" }, say("No question is like that.")));
      return;
    }
    const pair = state.pair ?? pairOf(question);
    const models = pair ?? Object.keys(question.answers);
    card.replaceChildren(
      head(question), asked(question),
      question.met.length > 1 && table(question),
      el("div", { class: "sides" }, models.map(model => side(question, model))),
      el("h4", {}, say("What the judge said")), ...said(question, models));
  }

  const pairOf = question => {
    const each = met(question)[0] ?? question.met[0];
    return each ? [each[1], each[2]] : null;
  };

  function head(question) {
    const starred = question.id in stars;
    const star = el("button", { type: "button", class: "chip", "aria-pressed": String(starred),
      on: () => toggleStar() }, starred ? `★ ${say("starred")}` : `☆ ${say("star")}`);
    const link = el("button", { type: "button", class: "chip", on: event =>
      copied(event.target, location.href) }, say("Copy link"));
    const json = el("button", { type: "button", class: "chip", on: event => {
      const { sought, ...row } = question;
      copied(event.target, JSON.stringify(row, null, 1));
    } }, say("Copy JSON"));
    const form = el("button", { type: "button", class: "chip", "aria-pressed": String(raw),
      on: () => { raw = !raw; drawCard(); } }, raw ? say("Raw") : say("Rendered"));
    const note = starred && el("input", { class: "note", value: stars[question.id],
      placeholder: say("a note"), "aria-label": say("Note") });
    note && note.addEventListener("input", () => { stars[question.id] = note.value; keep(); });
    return el("header", {}, el("h3", { tabindex: "-1" }, question.id, " ",
      el("span", { class: "quiet" }, question.category)),
      el("div", { class: "chips" }, form, star, link, json), note);
  }

  function asked(question) {
    if (data.redacted) return leftOut(question);
    return el("div", { class: "asked" },
      question.turns.map((turn, n) => el("p", { class: "words", dir: "auto" },
        question.turns.length > 1 && el("span", { class: "quiet" },
          say("turn {n}", { n: n + 1 }), ": "), turn)),
      [[say("Reference"), question.reference], [say("Checklist"), question.checklist]]
        .map(([name, texts]) => texts.length > 0 && el("details", {}, el("summary", {}, name),
          texts.map(text => el("p", { class: "words", dir: "auto" }, text)))));
  }

  // Every pair on this question, each leading to its two answers.
  function table(question) {
    return el("details", {}, el("summary", {}, say("All {n} outcomes", { n: question.met.length })),
      el("ul", { class: "outcomes-all" }, question.met.map(each => el("li", {},
        el("button", { type: "button", class: "link", on: () => {
          state.pair = pairs.find(pair => pair[0] === each[1] && pair[1] === each[2]);
          update();
        } }, el("i", { class: each[3] }, data.signs[each[3]]), " ",
          say("{b} against {a}", { a: each[1], b: each[2] })),
        el("span", { class: "quiet" }, " ", listed([...judgings[each[0]].names,
          each[6] && say("a tie by rule"), each[5] && say("orders disagree")]))))));
  }

  function side(question, model) {
    const answer = question.answers[model];
    if (!answer) {
      return el("article", {}, el("h4", {}, model), el("p", { class: "quiet" }, say("no answer")));
    }
    const facts = [say("{n} characters", { n: answer.characters.toLocaleString("en") }),
      answer.tokens && say("{n} tokens", { n: answer.tokens.toLocaleString("en") }),
      answer.served && answer.served !== model && say("answered by {served}", answer)];
    const odd = [answer.empty && say("empty answer"),
      answer.finish_reason === "length" && say("cut at max_tokens"),
      answer.finish_reason === "content_filter" && say("cut by a content filter")].filter(Boolean);
    const scores = scoresOf(question, model);
    return el("article", {},
      el("h4", {}, el("span", {}, model),
        scores.length > 0 && el("span", { class: "score" }, scores.join(" · "))),
      el("p", { class: "quiet" }, facts.filter(Boolean).join(" · "),
        odd.map(text => el("strong", { class: "odd" }, ` ${text}`))),
      data.redacted ? leftOut(answer) : body(answer));
  }

  const leftOut = row => el("p", { class: "quiet" }, say("left out; its hash is {hash}", row));

  function body(answer) {
    const texts = answer.turns.map((turn, n) => [
      answer.turns.length > 1 && el("p", { class: "quiet" }, say("turn {n}", { n: n + 1 })),
      raw || turn.html === undefined ? el("pre", { class: "words", dir: "auto" }, turn.raw)
        : el("div", { class: "rendered", dir: "auto" }, safe(turn.html))]);
    if (answer.turns.every(turn => turn.html !== undefined)) return el("div", {}, texts);
    const n = answer.characters.toLocaleString("en");
    return el("details", {}, el("summary", {}, say("show all {n} characters", { n })), texts);
  }

  function scoresOf(question, model) {
    return reviewsOf(question).filter(review => review.scores && review.shown.includes(model)
      && !judgings[review.judging].vote
      && (state.pair || (pairOf(question) ?? []).includes(model)))
      .map(review => String(review.scores[review.shown.indexOf(model)]));
  }

  function said(question, models) {
    const reviews = reviewsOf(question).filter(review =>
      review.shown.every(model => models.includes(model)));
    if (!reviews.length) return [el("p", { class: "quiet" }, say("No review of these two."))];
    return reviews.map(review => {
      const { names, prompt, vote } = judgings[review.judging];
      const scores = review.shown.map((model, place) =>
        `${model} ${review.scores ? review.scores[place] : "–"}`).join(", ");
      return el("article", { class: "review" },
        el("p", {}, el("strong", {}, scores), el("span", { class: "quiet" },
          " ", listed([...names,
            review.shown.length > 1 && (review.order_lost ? say("in an order that was not kept")
              : say("{model} shown first", { model: review.shown[0] })),
            review.sample && say("asked again ({n})", { n: review.sample }),
            ...(review.flags ?? []).map(flag => flag.replaceAll("_", " "))])),
          review.unreadable && el("strong", { class: "odd" }, " ",
            say("no score can be read: {unreadable}", review))),
        data.redacted ? null : el("p", { class: "words", dir: "auto" }, review.text ?? ""),
        review.reasoning && el("details", {}, el("summary", {}, say("Its reasoning")),
          el("p", { class: "words", dir: "auto" }, review.reasoning)),
        vote ? null : saw(question, review, prompt));
    });
  }

  function saw(question, review, prompt) {
    const facts = [[say("model"), review.served], ...Object.entries(review.sampling ?? {}),
      [say("how it was read"), review.rung], ["finish_reason", review.finish_reason],
      [say("dollars"), review.dollars], [say("time"), review.time], ["batch", review.batch],
      [say("hash of the request"), review.asked], [say("hash of the prompt"), review.prompt_hash],
      [say("characters cut"), review.cut]];
    const told = review.prompt_hash && question.told[prompt];
    return el("details", { open: prompts }, el("summary", {}, say("What the judge saw")),
      el("dl", { class: "facts" }, facts.filter(([, value]) => value != null)
        .map(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))])),
      told ? told.map(([role, text]) => [el("p", { class: "quiet" }, role),
        el("pre", { class: "words", dir: "auto" }, text)])
        : el("p", { class: "quiet" }, data.redacted ? say("Its words are left out.")
          : say("Another tool asked: its words are not known here.")));
  }

  // -- moving about

  function open(place) {
    if (!shown[place]) return;
    state.q = shown[place].id;
    update({ moved: true });
  }

  function choose(chip) {
    most = PAGE;
    state.f = chip;
    update();
  }

  function toggleStar() {
    if (state.q in stars) delete stars[state.q];
    else stars[state.q] = "";
    keep();
    update();
  }

  function update({ moved = false } = {}) {
    drawTools();
    drawList();
    if (!shown.some(question => question.id === state.q)) state.q = shown[0]?.id ?? null;
    drawCard();
    history.replaceState(null, "", address());
    if (moved && state.q !== null) {
      lines[byId.get(state.q)].scrollIntoView({ block: "nearest" });
    }
  }

  const dialog = room.querySelector("dialog");
  function help() { dialog.showModal(); }
  dialog.querySelector("button").addEventListener("click", () => dialog.close());

  room.querySelector(".questions").addEventListener("click", event => {
    const line = event.target.closest("li");
    if (!lines.includes(line)) return;
    event.preventDefault();
    state.q = data.questions[lines.indexOf(line)].id;
    update();
    card.querySelector("h3").focus({ preventScroll: true });
    if (card.getBoundingClientRect().top > innerHeight * 0.7) card.scrollIntoView();
  });

  addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    if (event.target.closest?.("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const at = shown.findIndex(question => question.id === state.q);
    const acts = {
      j: () => open(at + 1),
      k: () => open(at - 1),
      r: () => { raw = !raw; drawCard(); },
      p: () => { prompts = !prompts; drawCard(); },
      s: toggleStar,
      "?": help,
      "/": () => { tools.querySelector("input").focus(); room.scrollIntoView(); },
    };
    CHIPS.forEach(([key], place) => {
      acts[String(place + 1)] = () => choose(key);
    });
    if (!Object.hasOwn(acts, event.key)) return;
    event.preventDefault();
    acts[event.key]();
    const box = room.getBoundingClientRect();
    if ("jk".includes(event.key) && (box.top > innerHeight / 2 || box.bottom < 0)) {
      room.scrollIntoView();
    }
  });

  addEventListener("hashchange", () => {
    if (!read()) return;
    raw = false;
    update({ moved: true });
    room.scrollIntoView();
  });

  room.classList.add("ready");
  const asked_for = read();
  const before = location.hash;
  update({ moved: asked_for });
  if (!asked_for) history.replaceState(null, "", before || location.pathname);
  else room.scrollIntoView();
})();
