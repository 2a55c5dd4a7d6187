// Tables: sorted by any column, a page at a time, saved as CSV, LaTeX and Markdown.

const LATEX = {
  "\\": "\\textbackslash{}",
  "{": "\\{",
  "}": "\\}",
  $: "\\$",
  "&": "\\&",
  "#": "\\#",
  "%": "\\%",
  _: "\\_",
  "^": "\\textasciicircum{}",
  "~": "\\textasciitilde{}",
  "<": "\\textless{}",
  ">": "\\textgreater{}",
  [MINUS]: "$-$",
  "\u2013": "--",
  [UP]: "$\\blacktriangle$",
  [DOWN]: "$\\blacktriangledown$",
  "\u2192": "$\\rightarrow$",
};

/** On one line, without control characters. */
function plain(text) {
  return text
    .replace(/\p{C}/gu, " ")
    .replace(/\s+/g, " ")
    .trim();
}

/** A text as one of CSV: numbers plain, and nothing that a spreadsheet would run as a formula. */
function csvText(text) {
  const number = text.replaceAll(MINUS, "-").replaceAll(",", "");
  if (/^[+-]?\d+(\.\d+)?$/.test(number)) return number.replace(/^\+/, "");
  const guarded = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
}

function toCsv(columns, rows) {
  return [columns, ...rows].map((row) => row.map(csvText).join(",")).join("\n") + "\n";
}

function toLatex(columns, rows) {
  const escaped = (text) =>
    [...plain(text)].map((character) => LATEX[character] ?? character).join("");
  const line = (row) => `${row.map(escaped).join(" & ")} \\\\\n`;
  return (
    `\\begin{tabular}{${"l".repeat(columns.length)}}\n\\toprule\n${line(columns)}\\midrule\n` +
    `${rows.map(line).join("")}\\bottomrule\n\\end{tabular}\n`
  );
}

function toMarkdown(columns, rows) {
  const escaped = (text) => plain(text).replace(/[\\`*_{}[\]<>#|~!&$]/g, "\\$&");
  const line = (row) => `| ${row.map(escaped).join(" | ")} |\n`;
  return `${line(columns)}|${" --- |".repeat(columns.length)}\n${rows.map(line).join("")}`;
}

/** Buttons that save a table; `content` gives its columns and all its rows as texts. */
function saveButtons(name, content) {
  const kinds = [
    ["CSV", "csv", "text/csv", toCsv],
    ["LaTeX", "tex", "text/x-tex", toLatex],
    ["Markdown", "md", "text/markdown", toMarkdown],
  ];
  return kinds.map(([label, ending, type, write]) =>
    el(
      "button",
      {
        type: "button",
        "aria-label": `Save table as ${label}`,
        onclick: () => {
          const { columns, rows } = content(ending);
          saveText(`${name()}.${ending}`, type, write(columns, rows));
        },
      },
      label,
    ),
  );
}

/** What a shown text sorts by: its first number (times and sizes by their unit), else itself. */
function sortKey(text) {
  const time = /^(?:(\d+) h )?(\d+(?:\.\d+)?) (?:min(?: (\d+) s)?|s)$/.exec(text);
  if (time) {
    if (/ min/.test(text)) return 3600 * (time[1] ?? 0) + 60 * time[2] + Number(time[3] ?? 0);
    return Number(time[2]);
  }
  const number = /^[+\u2212-]?\d[\d,]*(\.\d+)?/.exec(text);
  if (number === null) return text;
  return Number(number[0].replaceAll(",", "").replace(MINUS, "-"));
}

/** Numbers before texts, missing ones last whatever the direction. */
function compareKeys(a, b, descending) {
  const missing = (key) => key === null || key === "" || key === "\u2013";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  const order = typeof a === "number" ? a - b : a.localeCompare(b, "en");
  return descending ? -order : order;
}

/** Heading that sorts: first down (numbers) or up (texts), then the other way, then not at all. */
function sortHeading(sorting, column, content, again, attributes = {}) {
  const active = sorting.column === column;
  const order = active ? (sorting.descending ? "descending" : "ascending") : "none";
  const next = () => {
    const numeric = column !== 0;
    if (!active) Object.assign(sorting, { column, descending: numeric });
    else if (sorting.descending === numeric) sorting.descending = !numeric;
    else sorting.column = null;
    again();
  };
  const arrow = el("span", { class: "arrow", "aria-hidden": "true" });
  arrow.textContent = active ? (sorting.descending ? "\u2193" : "\u2191") : "";
  return el(
    "th",
    { scope: "col", "aria-sort": order, ...attributes },
    el("button", { type: "button", class: "sort", onclick: next }, content, arrow),
  );
}

/** "1–30 of 96", with buttons to move; nothing where all fits. */
function pager(paging, total, size, again) {
  if (total <= size) return null;
  const last = Math.ceil(total / size) - 1;
  paging.page = Math.min(paging.page, last);
  const move = (step) => () => {
    paging.page = Math.max(0, Math.min(last, paging.page + step));
    paging.moved = step;
    again();
  };
  const first = paging.page * size;
  const button = (label, step, off) =>
    el("button", { type: "button", onclick: move(step), disabled: off, "data-step": step }, label);
  return el(
    "div",
    { class: "pager", role: "group", "aria-label": "Pages of the table" },
    button("Previous", -1, paging.page === 0),
    el("span", {}, `${first + 1}\u2013${Math.min(total, first + size)} of ${total}`),
    button("Next", 1, paging.page === last),
  );
}

/** Keep the reader's place: what had the focus has it again after a table was built anew. */
function keepingFocus(host, build) {
  const focused = host.contains(document.activeElement) ? document.activeElement : null;
  const all = () => [...host.querySelectorAll("button, select, input, [tabindex]")];
  const place = focused ? all().indexOf(focused) : -1;
  const scroller = host.querySelector(".scroll");
  const left = scroller ? scroller.scrollLeft : 0;
  build();
  const again = host.querySelector(".scroll");
  if (again) again.scrollLeft = left;
  if (place >= 0) all()[Math.min(place, all().length - 1)]?.focus({ preventScroll: true });
}

const GRID_PAGE = 40;

/**
 * A plain table. `content` gives columns, and rows of texts, the first of each its heading;
 * `marked` names the rows to stress.
 */
function gridTable(host, caption, name, content, notes = []) {
  const sorting = { column: null, descending: false };
  const paging = { page: 0 };
  const sorted = () => {
    const { columns, rows } = content();
    if (sorting.column === null) return { columns, rows };
    const keyed = rows.map((row) => [sortKey(row[sorting.column]), row]);
    keyed.sort((a, b) => compareKeys(a[0], b[0], sorting.descending));
    return { columns, rows: keyed.map((pair) => pair[1]) };
  };
  const build = () => {
    const { columns, rows } = sorted();
    const head = columns.map((column, place) => sortHeading(sorting, place, column, again));
    const pages = pager(paging, rows.length, GRID_PAGE, again);
    const first = paging.page * GRID_PAGE;
    const body = rows.slice(first, first + GRID_PAGE).map((row) =>
      el(
        "tr",
        {},
        row.map((text, place) =>
          place === 0
            ? el("th", { scope: "row" }, el("bdi", {}, text))
            : el("td", { class: text === "failed" ? "failed" : null }, el("bdi", {}, text)),
        ),
      ),
    );
    if (rows.length === 0) {
      const nothing = "Nothing to show with these filters.";
      body.push(el("tr", {}, el("td", { colspan: columns.length, class: "waiting" }, nothing)));
    }
    host.replaceChildren(
      el(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
        el(
          "table",
          { class: "grid" },
          el("caption", {}, caption),
          el("thead", {}, el("tr", {}, head)),
          el("tbody", {}, body),
        ),
      ),
      el("div", { class: "tools" }, pages, el("span", { class: "saves" }, saveButtons(() => name, sorted))),
      ...notes.map((note) => el("p", { class: "small" }, note)),
    );
  };
  const again = () => keepingFocus(host, build);
  return again;
}

/** A table of the data that the filters act on. */
function filteredGrid(host, grid, name) {
  const [cells, languages, tasks] = grid.about.length ? grid.about : [[], [], []];
  const titles = new Set();
  const passing = (row) =>
    !(cells[row] && !cells[row].some((cell) => shown.cells[cell])) &&
    !(languages[row] !== null && languages[row] !== undefined && !shown.languages[languages[row]]) &&
    !(tasks[row] && !titles.has(tasks[row]));
  const content = () => {
    titles.clear();
    data.tables.forEach((table, place) => shown.tables[place] && titles.add(table.title));
    const rows = grid.rows
      .filter((_, place) => passing(place))
      .map((row) => row.map((text) => grid.texts[text]));
    return { columns: grid.columns, rows };
  };
  view(host, gridTable(host, grid.caption, name, content, grid.notes));
}
