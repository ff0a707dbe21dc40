// Comforts of the page. Without them everything can be read all the same.
(function () {
  "use strict";
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));

  // contents: closed on phones, with the present section marked on desks
  const contents = document.querySelector(".contents details");
  const desk = window.matchMedia("(min-width: 72rem)");
  const adapt = () => { if (contents) contents.open = desk.matches; };
  adapt();
  desk.addEventListener("change", adapt);
  const links = new Map(all(".contents a").map((link) => [decodeURIComponent(link.hash.slice(1)), link]));
  const headings = all("main h2[id], main h3[id], main h4[id]").filter((heading) => links.has(heading.id));
  const mark = () => {
    const passed = headings.filter((heading) => heading.getBoundingClientRect().top < 120).pop() || headings[0];
    for (const [id, link] of links) link.classList.toggle("here", Boolean(passed) && id === passed.id);
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; mark(); });
  }, { passive: true });
  mark();

  // figures: larger on click or tap
  const dialog = document.querySelector("dialog.enlarged");
  for (const sheet of all(".sheet")) {
    const image = sheet.querySelector("img");
    const caption = sheet.parentElement.querySelector("figcaption");
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", "Enlarge: " + image.alt);
    button.innerHTML = "<span>Enlarge</span>";
    button.addEventListener("click", () => {
      const large = dialog.querySelector("img");
      large.src = image.src;
      large.alt = image.alt;
      dialog.querySelector(".enlarged-caption").textContent = caption ? caption.textContent.trim() : "";
      dialog.showModal();
    });
    sheet.append(button);
  }
  if (dialog) dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  // tables: sorted by a column; numbers by value, words by letter, "diverged" and empty cells last
  const key = (text) => {
    const found = text.replace(/[−–](?=\d)/, "-").replace(/,(?=\d{3})/g, "").match(/^[^\w+-]*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/);
    return found ? Number(found[1]) : null;
  };
  const compare = (first, second) => {
    const a = key(first), b = key(second);
    if (a !== null && b !== null) return a - b;
    if (a !== null || b !== null) return a !== null ? -1 : 1;
    return first.localeCompare(second, "en", { numeric: true });
  };
  for (const table of all("figure.table table")) {
    const body = table.tBodies[0];
    if (!body || body.rows.length < 3) continue;
    const original = Array.from(body.rows);
    all("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort") || "none"];
        all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        const rows = original.slice();
        if (next !== "none") {
          head.setAttribute("aria-sort", next);
          const cell = (row) => row.cells[column].textContent.trim();
          const valued = (row) => key(cell(row)) !== null;
          const numeric = rows.some(valued);
          rows.sort((a, b) => (next === "descending" && (!numeric || (valued(a) && valued(b))) ? -1 : 1) * compare(cell(a), cell(b)));
        }
        body.append(...rows);
      });
    });
  }

  // cards of claims: closed, found by words, study and verdict, sorted, opened by their links, all printed
  const explorer = document.getElementById("explorer");
  if (explorer) {
    const form = explorer.querySelector("form"), list = explorer.querySelector(".cards"), inOrder = Array.from(list.children);
    const cards = all(".card", list), heads = all(".cards-of", list);
    const texts = new Map(cards.map((card) => [card, card.textContent.toLowerCase()]));
    const { words, study, verdict, order, unfold } = form.elements, output = form.querySelector("output");
    const likely = (card) => Number(card.dataset.probability), known = (card) => card.dataset.probability !== "";
    const ranks = Array.from(verdict.options, (option) => option.value), rank = (card) => ranks.indexOf(card.dataset.verdict);
    const orders = {
      verdict: (a, b) => rank(a) - rank(b) || likely(b) - likely(a),
      likely: (a, b) => known(b) - known(a) || likely(b) - likely(a),
      unlikely: (a, b) => known(b) - known(a) || likely(a) - likely(b),
    };
    const visible = () => cards.filter((card) => !card.hidden);
    const filter = () => {
      const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const card of cards) {
        const fits = (select, value) => !select.value || select.value === value;
        card.hidden = !(fits(study, card.dataset.study) && fits(verdict, card.dataset.verdict)
          && asked.every((word) => texts.get(card).includes(word)));
      }
      for (const head of heads) head.hidden = Boolean(order.value) || !visible().some((card) => card.dataset.study === head.dataset.study);
      output.textContent = visible().length + " of " + cards.length + " claims";
      count();
    };
    const count = () => { unfold.textContent = visible().every((card) => card.open) ? "Close all" : "Open all"; };
    const sort = () => {
      list.append(...(order.value ? cards.slice().sort(orders[order.value]) : inOrder));
      filter();
    };
    const follow = () => {
      let target = null;
      try { target = document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch { /* no identifier */ }
      const card = target && cards.find((each) => each.contains(target));
      if (!card && !heads.includes(target)) return;
      if (target.hidden) { form.reset(); sort(); }
      if (card) card.open = true;
      target.scrollIntoView();
    };
    for (const card of cards) { card.open = false; card.addEventListener("toggle", count); }
    form.addEventListener("input", filter);
    order.addEventListener("change", sort);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(sort));
    unfold.addEventListener("click", () => {
      const open = unfold.textContent === "Open all";
      for (const card of visible()) card.open = open;
    });
    let closed = [];
    addEventListener("beforeprint", () => { closed = cards.filter((card) => !card.open); for (const card of closed) card.open = true; });
    addEventListener("afterprint", () => { for (const card of closed) card.open = false; });
    addEventListener("hashchange", follow);
    // a link to the card that the address names already changes no address
    document.addEventListener("click", (event) => { const link = event.target.closest("a"); if (link && link.hash && link.hash === location.hash) follow(); });
    form.hidden = false;
    sort();
    follow();
  }

  // commands: copied by a button
  if (navigator.clipboard) {
    for (const command of all("code.command")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        try { await navigator.clipboard.writeText(command.textContent); button.textContent = "Copied"; }
        catch { getSelection().selectAllChildren(command); button.textContent = "Selected"; }
        setTimeout(() => { button.textContent = "Copy"; }, 1600);
      });
      command.after(button);
    }
  }

  // numbers: where they come from, on hover, tap or focus
  const origin = document.getElementById("origin");
  let shown = null;
  const line = (tag, text) => { const node = document.createElement(tag); node.textContent = text; origin.append(node); };
  const hide = () => {
    if (shown) { shown.removeAttribute("aria-expanded"); shown.removeAttribute("aria-describedby"); }
    shown = null;
    origin.hidden = true;
  };
  const show = (number) => {
    hide();
    shown = number;
    number.setAttribute("aria-expanded", "true");
    number.setAttribute("aria-describedby", "origin");
    origin.replaceChildren();
    line("b", number.dataset.key);
    if (number.dataset.values) line("div", "By seed: " + number.dataset.values);
    if (number.dataset.published) line("div", "Published: " + number.dataset.published);
    const runs = (number.dataset.runs || "").split(" ").filter(Boolean);
    if (runs.length) line("div", runs.length === 1 ? "From the run" : "From the runs");
    runs.forEach((run) => line("code", run));
    origin.hidden = false;
    const box = number.getBoundingClientRect();
    const width = origin.offsetWidth, height = origin.offsetHeight;
    const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - width - 8));
    const above = box.bottom + height + 16 > innerHeight && box.top > height + 16;
    origin.style.left = left + scrollX + "px";
    origin.style.top = (above ? box.top - height - 8 : box.bottom + 8) + scrollY + "px";
  };
  for (const number of all(".num")) {
    number.dataset.key = number.title; // its own box tells, not the tooltip
    number.removeAttribute("title");
    number.tabIndex = 0;
    number.setAttribute("role", "button");
    number.addEventListener("mouseenter", () => show(number));
    number.addEventListener("mouseleave", hide);
    number.addEventListener("focus", () => show(number));
    number.addEventListener("blur", hide);
    number.addEventListener("click", (event) => { event.stopPropagation(); show(number); });
  }
  document.addEventListener("click", hide);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
})();
