// The main table of each task: a row a cell, a column a language, with the mean in front.

const CELLS_AT_ONCE = 1240;

function valueCell(score, delta, note) {
  if (score === null && note === "failed") {
    return el("td", { class: "value failed" }, el("a", { href: "#failures" }, note));
  }
  if (score === null) return el("td", { class: "value waiting" }, note);
  const parts = [
    el(
      "div",
      { class: "pair" },
      el("b", {}, points(score.value)),
      el("span", {}, interval(score, points) || "no interval"),
    ),
  ];
  if (delta !== null) {
    const sign = mark(delta);
    parts.push(
      el(
        "div",
        { class: sign ? "pair delta marked" : "pair delta" },
        el("b", {}, signed(delta.value)),
        el("span", {}, `${interval(delta, signed) || "no interval"} ${sign}`.trim()),
      ),
    );
  }
  if (note) parts.push(el("div", { class: "note" }, note));
  return el("td", { class: "value" }, parts);
}

/** What stands in a cell where there is no score, or beside one that is not whole. */
function stateOf(table, line, subset) {
  const place = line * table.subsets.length + subset;
  const name = data.states[table.state[place]];
  if (name === "done") return "";
  return name === "failed, fewer items" ? `failed after ${table.n[place]} items` : name;
}

function meanState(table, line, subsets) {
  const found = new Set(subsets.map((subset) => stateOf(table, line, subset)));
  return found.size === 1 ? [...found][0] : "pending";
}

function cellName(cell) {
  return data.severalBases ? `${cell.base}: ${cell.label}` : cell.label;
}
data.severalBases = new Set(data.cells.map((cell) => cell.base)).size > 1;

function resultsTable(host, number) {
  const table = data.tables[number];
  const sorting = { column: null, descending: true };
  const paging = { page: 0 };
  const kind = () => state.chosen.sort ?? "score";

  const keyOf = (line, subsets) => {
    if (sorting.column === 0) return cellName(data.cells[table.lines[line]]);
    const found =
      sorting.column === 1
        ? lineMean(table, line, kind(), subsets).mean
        : languageSpread(table, line, subsets[sorting.column - 2], kind());
    return found === null ? null : found.value;
  };

  const ordered = () => {
    const subsets = shown.subsets[number];
    const lines = [...shown.lines[number]];
    if (sorting.column !== null && sorting.column < subsets.length + 2) {
      const keys = new Map(lines.map((line) => [line, keyOf(line, subsets)]));
      lines.sort((a, b) => compareKeys(keys.get(a), keys.get(b), sorting.descending));
    }
    return { lines, subsets };
  };

  const long = () => {
    const { lines, subsets } = ordered();
    const columns = ["base", "cell", "language", "score", "low", "high", "difference"];
    columns.push("difference low", "difference high", "items");
    const number_ = (value) => (value === null ? "" : (value / 1000).toFixed(3));
    const numbers = (score, delta) =>
      [score, delta].flatMap((one) =>
        one === null ? ["", "", ""] : [one.value, one.low, one.high].map(number_),
      );
    const rows = lines.flatMap((line) => {
      const cell = data.cells[table.lines[line]];
      const score = lineMean(table, line, "score", subsets).mean;
      const delta = lineMean(table, line, "delta", subsets).mean;
      const mean = [cell.base, cell.label, "mean of languages", ...numbers(score, delta), ""];
      const each = subsets.map((subset) => [
        cell.base,
        cell.label,
        table.subsets[subset].label,
        ...numbers(
          languageSpread(table, line, subset, "score"),
          languageSpread(table, line, subset, "delta"),
        ),
        String(table.n[line * table.subsets.length + subset] ?? ""),
      ]);
      return [mean, ...each];
    });
    return { columns, rows };
  };

  const wide = () => {
    const { lines, subsets } = ordered();
    const columns = ["cell", "mean", ...subsets.map((subset) => table.subsets[subset].label)];
    const text = (score, delta) => {
      if (score === null) return "";
      const parts = [points(score.value), interval(score, points)];
      if (delta !== null) parts.push(`(${difference(delta)})`);
      return parts.filter((part) => part).join(" ");
    };
    const rows = lines.map((line) => [
      cellName(data.cells[table.lines[line]]),
      text(...["score", "delta"].map((one) => lineMean(table, line, one, subsets).mean)),
      ...subsets.map((subset) =>
        text(...["score", "delta"].map((one) => languageSpread(table, line, subset, one))),
      ),
    ]);
    return { columns, rows };
  };

  const row = (line, subsets) => {
    const cell = data.cells[table.lines[line]];
    const score = lineMean(table, line, "score", subsets);
    const delta = lineMean(table, line, "delta", subsets);
    const missing = score.mean && score.done < score.of;
    const note = missing
      ? `${score.done} of ${plural(score.of, "language")}`
      : score.mean
        ? ""
        : meanState(table, line, subsets);
    const base = data.severalBases && sorting.column !== null ? el("small", {}, cell.base) : null;
    return el(
      "tr",
      { class: cell.untuned ? "untuned" : null },
      el("th", { scope: "row" }, el("bdi", {}, cell.label), base),
      valueCell(score.mean, delta.mean, note),
      subsets.map((subset) =>
        valueCell(
          languageSpread(table, line, subset, "score"),
          languageSpread(table, line, subset, "delta"),
          stateOf(table, line, subset),
        ),
      ),
    );
  };

  const build = () => {
    const { lines, subsets } = ordered();
    const size = Math.max(6, Math.min(30, Math.floor(CELLS_AT_ONCE / (subsets.length + 1))));
    const pages = pager(paging, lines.length, size, again);
    const page = lines.slice(paging.page * size, (paging.page + 1) * size);
    const body = [];
    let base = null;
    for (const line of page) {
      const cell = data.cells[table.lines[line]];
      if (sorting.column === null && cell.base !== base) {
        base = cell.base;
        const heading = el("th", { scope: "rowgroup", colspan: subsets.length + 2 });
        heading.append(el("span", {}, base));
        body.push(el("tr", { class: "base" }, heading));
      }
      body.push(row(line, subsets));
    }
    if (lines.length === 0 || subsets.length === 0) {
      const nothing = "Nothing to show with these filters.";
      body.splice(0, body.length, el("tr", {}, el("td", { class: "waiting" }, nothing)));
    }
    const heads = [
      sortHeading(sorting, 0, "cell", again),
      sortHeading(sorting, 1, ["mean", el("small", {}, `of ${plural(subsets.length, "language")}`)], again),
      ...subsets.map((subset, place) => {
        const language = data.languages[table.subsets[subset].language];
        const known = language.class === null ? "class unknown" : `class ${language.class}`;
        const content = [table.subsets[subset].label, el("small", {}, known)];
        return sortHeading(sorting, place + 2, content, again);
      }),
    ];
    const caption = `${table.title}: ${table.metric}, with the difference to the untuned base below each score`;
    const by = el(
      "select",
      { "aria-label": "Sort columns by", onchange: (event) => choose("sort", event.target.value) },
      ["score", "delta"].map((one) =>
        el("option", { value: one, selected: kind() === one }, one === "delta" ? "difference" : one),
      ),
    );
    host.replaceChildren(
      el(
        "div",
        { class: "scroll tall", tabindex: 0, role: "region", "aria-label": `${table.title}, ${table.metric}` },
        el(
          "table",
          { class: "main" },
          el("caption", {}, caption),
          el("thead", {}, el("tr", {}, heads)),
          el("tbody", {}, body),
        ),
      ),
      el(
        "div",
        { class: "tools" },
        pages,
        el("label", {}, "Columns sort by ", by),
        el("span", { class: "saves" }, saveButtons(() => table.anchor, (ending) => (ending === "csv" ? long() : wide()))),
      ),
    );
    const fewer = subsets.length < table.subsets.length && subsets.length > 0;
    if (fewer) {
      host.append(
        el(
          "p",
          { class: "small" },
          `Mean over ${subsets.length} of ${table.subsets.length} languages: its intervals are computed from those of the languages, whose mean correlation is ${table.rho.score.toFixed(2)} in scores and ${table.rho.delta.toFixed(2)} in differences.`,
        ),
      );
    }
  };
  const again = () => keepingFocus(host, build);
  return again;
}

function buildResults() {
  for (const section of document.querySelectorAll("section.task")) {
    const parts = [...section.querySelectorAll(".metric")];
    const tables = parts.map((part) => Number(part.dataset.table));
    const name = `metric-${data.tables[tables[0]].anchor}`;
    const current = () =>
      tables.find((table) => data.tables[table].anchor === state.chosen[name]) ?? tables[0];
    const select = el(
      "select",
      {
        "aria-label": "Metric",
        onchange: (event) => choose(name, event.target.value),
      },
      tables.map((table) => el("option", { value: data.tables[table].anchor }, data.tables[table].metric)),
    );
    if (tables.length > 1) {
      section.querySelector("h2").after(el("p", { class: "control" }, el("label", {}, "Metric ", select)));
    }
    section.showMetric = () => {
      select.value = data.tables[current()].anchor;
      section.hidden = !shown.tables[tables[0]];
      parts.forEach((part, place) => {
        part.hidden = tables[place] !== current();
      });
    };
    for (const [place, part] of parts.entries()) {
      view(part.querySelector(".slot"), resultsTable(part.querySelector(".slot"), tables[place]));
    }
  }
}
