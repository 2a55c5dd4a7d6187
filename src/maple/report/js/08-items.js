// The item browser: one item at a time, with what the untuned base and an adapter answered.

const RIGHT = 50;

function buildItems(host) {
  const sample = data.items;
  if (!sample) return;
  const label = (text, control) => el("label", {}, `${text} `, control);
  const tasks = el("select", { id: "item-task" });
  const languages = el("select", { id: "item-language" });
  const cells = el("select", { id: "item-cell" });
  const which = el("select", { id: "item-which" });
  const place = el("p", { id: "item-place", role: "status", "aria-live": "polite" });
  const shownItem = el("div", { id: "item" });
  const kinds = [
    ["all", "all"],
    ["changed", "score changed"],
    ["lost", "base right, tuned wrong"],
    ["gained", "base wrong, tuned right"],
  ];
  which.append(...kinds.map(([value, text]) => el("option", { value }, text)));
  const at = { item: 0 };
  const previous = el("button", { type: "button", id: "item-previous", onclick: () => step(-1) }, "Previous");
  const next = el("button", { type: "button", id: "item-next", onclick: () => step(1) }, "Next");
  host.append(
    el("p", { class: "small" }, `${sample.drawn} Right means a score of at least ${RIGHT} of 100.`),
    el(
      "div",
      { class: "choices" },
      label("Task", tasks),
      label("Language", languages),
      label("Adapter", cells),
      label("Show", which),
    ),
    el("div", { class: "tools" }, previous, next, place),
    shownItem,
  );
  const fill = (select, options) => {
    const before = select.value;
    select.replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
    if (options.some(([value]) => value === before)) select.value = before;
  };
  const subsetsHere = () => sample.subsets.filter((one) => String(one.table) === tasks.value);
  const current = () => subsetsHere().find((one) => String(one.subset) === languages.value);
  /** The untuned base at the precision of a cell, where the sample has its answers. */
  const baseOf = (subset, number) => {
    const tuned = data.cells[number];
    return Object.keys(subset.answers).find((other) => {
      const cell = data.cells[other];
      return cell.untuned && cell.base === tuned.base && cell.bits === tuned.bits;
    });
  };
  const pairs = () => {
    const subset = current();
    if (!subset || cells.value === "") return [];
    const base = baseOf(subset, cells.value);
    return subset.items
      .map((item, number) => ({
        item,
        subset,
        base: base === undefined ? null : { cell: data.cells[base], ...subset.answers[base][number] },
        tuned: { cell: data.cells[cells.value], ...subset.answers[cells.value][number] },
      }))
      .filter(({ base: before, tuned: after }) => {
        if (which.value === "all") return true;
        if (!before || typeof before.score !== "number" || typeof after.score !== "number") return false;
        if (which.value === "changed") return before.score !== after.score;
        const [was, is] = [before.score >= RIGHT, after.score >= RIGHT];
        return which.value === "lost" ? was && !is : !was && is;
      });
  };
  const step = (by) => {
    at.item += by;
    display();
  };
  const display = () => {
    const found = pairs();
    at.item = Math.max(0, Math.min(found.length - 1, at.item));
    previous.disabled = at.item === 0 || found.length === 0;
    next.disabled = found.length === 0 || at.item === found.length - 1;
    place.textContent = found.length === 0 ? "No such item in the sample" : `Item ${at.item + 1} of ${found.length}`;
    shownItem.replaceChildren(...(found.length ? [itemView(found[at.item])] : []));
  };
  const options = () => {
    const possible = sample.subsets.filter((one) => shown.tables[one.table]);
    const numbers = [...new Set(possible.map((one) => one.table))];
    fill(tasks, numbers.map((number) => [String(number), data.tables[number].title]));
    const spoken = (one) => data.tables[one.table].subsets[one.subset];
    const here = subsetsHere().filter((one) => shown.languages[spoken(one).language]);
    fill(languages, here.map((one) => [String(one.subset), spoken(one).label]));
    const subset = current();
    const answered = subset ? Object.keys(subset.answers).map(Number) : [];
    const tuned = answered.filter((cell) => shown.cells[cell] && !data.cells[cell].untuned);
    const alone = tuned.length ? tuned : answered.filter((cell) => shown.cells[cell]);
    fill(cells, alone.map((cell) => [String(cell), cellName(data.cells[cell])]));
    display();
  };
  for (const select of [tasks, languages, cells, which]) {
    select.addEventListener("change", () => {
      at.item = 0;
      options();
    });
  }
  view(host, options);
}

/** A text of the data set or of a model, in its language and in the direction of its letters. */
function said(tag, text, language, attributes = {}) {
  return el(tag, { lang: language, dir: "auto", ...attributes }, text);
}

function scoreText(answer) {
  const score = typeof answer.score === "number" ? `score ${answer.score}` : "not scored";
  return answer.shortened ? `${score}; the prompt was shortened to fit` : score;
}

/** What the model was given, word for word. */
function promptView(item, subset, spoken) {
  if (item.prompt === undefined) return subset.lost ? el("p", { class: "small" }, subset.lost) : null;
  const shared = subset.prefix
    ? [el("p", { class: "small" }, "Before every item of this subset:"), said("pre", subset.prefix, spoken, { class: "prompt dim" })]
    : [];
  return el(
    "details",
    { class: "asked" },
    el("summary", {}, "The prompt as it was asked"),
    shared,
    shared.length ? el("p", { class: "small" }, "This item:") : null,
    said("pre", item.prompt, spoken, { class: "prompt" }),
  );
}

function itemView({ item, subset, base, tuned }) {
  const table = data.tables[subset.table];
  const language = data.languages[table.subsets[subset.subset].language];
  const spoken = language.bcp47;
  const list = el("dl", {});
  const answers = [base, tuned].filter((one) => one !== null && one.cell);
  const alone = answers.length === 2 && answers[0].cell === answers[1].cell ? answers.slice(1) : answers;
  for (const [name, text] of item.fields) {
    list.append(el("dt", {}, name), said("dd", text, spoken, { class: "said" }));
  }
  if (item.golds) {
    list.append(el("dt", { class: "key" }, "accepted"), said("dd", item.golds.join(" \u00b7 "), spoken, { class: "said" }));
  }
  const title = el("h3", {}, `${table.title}, ${table.subsets[subset.subset].label} `, el("span", { class: "id" }, item.id));
  const made = el("article", { class: "sample" }, title, promptView(item, subset, spoken), list);
  if (!item.choices) {
    for (const answer of alone) {
      list.append(el("dt", { class: "key" }, answer.cell.label));
      if (answer.text === undefined) {
        list.append(el("dd", { class: "waiting" }, "not answered"));
        continue;
      }
      const text = answer.text.trim() === "" ? el("i", { class: "dim" }, "(empty)") : said("span", answer.text, spoken, { class: "said" });
      list.append(el("dd", {}, text, el("span", { class: "score" }, scoreText(answer))));
    }
    return made;
  }
  const head = alone.map((answer) => el("th", { scope: "col" }, answer.cell.label, el("small", {}, scoreText(answer))));
  const rows = item.choices.map((text, number) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, said("span", text, spoken), number === item.target ? el("span", { class: "right" }, " \u2713 right") : null),
      alone.map((answer) => {
        if (!answer.logprobs) return el("td", { class: "waiting" }, "not answered");
        const best = Math.max(...answer.logprobs) === answer.logprobs[number];
        return el("td", { class: best ? "best" : null }, answer.logprobs[number].toFixed(2).replace("-", MINUS), best ? el("span", { class: "sr" }, " highest") : null);
      }),
    ),
  );
  made.append(
    el(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Choices and their log-probabilities" },
      el(
        "table",
        { class: "grid" },
        el("caption", {}, "Log-probability of each choice in nats; the highest is preferred"),
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "choice"), head)),
        el("tbody", {}, rows),
      ),
    ),
  );
  return made;
}
