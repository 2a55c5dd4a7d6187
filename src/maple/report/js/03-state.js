// What is selected: cells, languages and tasks by their facets, and what the reader has chosen to
// look at. All of it is in the address, so that a view can be linked.

/** Value of a language's class and of a cell's facet, as shown. */
const classOf = (language) => (language.class === null ? "unknown" : String(language.class));

const CELL_FACETS = [
  { key: "base", label: "Base", of: (cell) => cell.base },
  { key: "source", label: "Training set", of: (cell) => (cell.data === "" ? null : cell.data) },
  { key: "method", label: "Method", of: (cell) => cell.method },
  { key: "r", label: "Rank", of: (cell) => (cell.r === null ? null : String(cell.r)) },
  { key: "bits", label: "Bits", of: (cell) => String(cell.bits) },
  { key: "seed", label: "Seed", of: (cell) => (cell.seed === null ? null : String(cell.seed)) },
];
const LANGUAGE_FACETS = [
  { key: "language", label: "Language", of: (language) => language.name },
  { key: "family", label: "Family", of: (language) => language.family },
  { key: "class", label: "Class", of: classOf },
];
const TASK_FACET = { key: "task", label: "Task", of: (table) => table.title };

function distinct(values) {
  const found = [...new Set(values.filter((value) => value !== null))];
  return found.every((value) => /^\d+$/.test(value)) ? found.sort((a, b) => a - b) : found;
}

for (const facet of CELL_FACETS) facet.values = distinct(data.cells.map(facet.of));
for (const facet of LANGUAGE_FACETS) facet.values = distinct(data.languages.map(facet.of));
LANGUAGE_FACETS[1].values.sort();
TASK_FACET.values = distinct(data.tables.map(TASK_FACET.of));
const FACETS = [...CELL_FACETS, TASK_FACET, ...LANGUAGE_FACETS];

const state = {
  /** Per facet the values that are left out. */
  excluded: Object.fromEntries(FACETS.map((facet) => [facet.key, new Set()])),
  /** What else the reader chose, by name: the table of the figures, sorting, cost. */
  chosen: {},
  /** Counts changes; a view that shows it carries it as data-revision. */
  revision: 0,
};

/** Derived from the state at each change. */
const shown = { cells: [], languages: [], tables: [], lines: [], subsets: [] };

function passes(facets, item) {
  return facets.every((facet) => {
    const value = facet.of(item);
    return value === null || !state.excluded[facet.key].has(value);
  });
}

function derive() {
  shown.cells = data.cells.map((cell) => passes(CELL_FACETS, cell));
  shown.languages = data.languages.map((language) => passes(LANGUAGE_FACETS, language));
  shown.tables = data.tables.map((table) => passes([TASK_FACET], table));
  shown.lines = data.tables.map((table) =>
    table.lines.map((_, line) => line).filter((line) => shown.cells[table.lines[line]]),
  );
  shown.subsets = data.tables.map((table) =>
    table.subsets
      .map((_, subset) => subset)
      .filter((subset) => shown.languages[table.subsets[subset].language]),
  );
}

function count(flags) {
  return flags.reduce((sum, flag) => sum + (flag ? 1 : 0), 0);
}

function readAddress() {
  for (const facet of FACETS) state.excluded[facet.key].clear();
  state.chosen = {};
  if (!location.hash.startsWith("#?")) return;
  const stated = new URLSearchParams(location.hash.slice(2));
  for (const facet of FACETS) {
    const only = stated.getAll(facet.key);
    const without = stated.getAll(`not-${facet.key}`);
    for (const value of facet.values) {
      const out = stated.has(facet.key) ? !only.includes(value) : without.includes(value);
      if (out) state.excluded[facet.key].add(value);
    }
  }
  for (const [name, value] of stated) {
    if (name.startsWith("show-")) state.chosen[name.slice(5)] = value;
  }
}

function writeAddress() {
  const stated = new URLSearchParams();
  for (const facet of FACETS) {
    const out = state.excluded[facet.key];
    const kept = facet.values.filter((value) => !out.has(value));
    if (out.size === 0) continue;
    if (kept.length === 0) stated.append(facet.key, "");
    else if (kept.length <= out.size) kept.forEach((value) => stated.append(facet.key, value));
    else out.forEach((value) => stated.append(`not-${facet.key}`, value));
  }
  for (const [name, value] of Object.entries(state.chosen)) stated.append(`show-${name}`, value);
  const text = stated.toString();
  const address = text === "" ? location.pathname + location.search : `#?${text}`;
  history.replaceState(null, "", address);
}

/** Take over a change of the state: everything that is in sight is drawn again at once. */
function changed() {
  state.revision += 1;
  derive();
  writeAddress();
  showCounts();
  showControls();
  redraw();
}

function choose(name, value) {
  state.chosen[name] = value;
  changed();
}

// Views: parts of the page that are drawn when they come near the reader's sight.

const views = [];

const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const view = views.find((one) => one.host === entry.target);
      view.near = entry.isIntersecting;
      draw(view);
    }
  },
  { rootMargin: "500px 0px" },
);

/** Have `render` fill `host` again after each change, as soon as the host is near the window. */
function view(host, render) {
  const made = { host, render, near: false, drawn: -1 };
  views.push(made);
  watcher.observe(host);
  return made;
}

function draw(one, force = false) {
  if (!(one.near || force) || one.drawn === state.revision) return;
  one.drawn = state.revision;
  const revision = state.revision;
  Promise.resolve(one.render()).then(() => {
    one.host.dataset.revision = String(revision);
  });
}

function redraw() {
  document.documentElement.dataset.revision = String(state.revision);
  for (const one of views) draw(one);
}

function redrawAll() {
  for (const one of views) {
    one.drawn = -1;
    draw(one, true);
  }
}
