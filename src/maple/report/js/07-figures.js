// Figures: rows from the data as selected, drawn by Vega from the specifications of specs.py.

const LEAST_REACH = 5;
const LOUD = 0.62;
const GROUPS = ["high (classes 4\u20135)", "low (classes 0\u20133)", "class unknown"];
const FOREST_ROWS = 30;
const NARROW = 560;

const dark = window.matchMedia("(prefers-color-scheme: dark)");

const tip = el("div", { id: "tip", "aria-hidden": "true", hidden: true });

function showTip(handler, event, item, value) {
  tip.hidden = typeof value !== "string" || value === "";
  if (tip.hidden) return;
  tip.textContent = value;
  const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
  const top = Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight - 8);
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}

/** A specification with its values in place of the strings that begin with "$". */
function filledIn(part, values) {
  if (Array.isArray(part)) return part.map((one) => filledIn(one, values));
  if (part !== null && typeof part === "object") {
    return Object.fromEntries(
      Object.entries(part).map(([key, value]) => [key, filledIn(value, values)]),
    );
  }
  return typeof part === "string" && part.startsWith("$") ? values[part.slice(1)] : part;
}

/** Number of the table that the figures show: the chosen one, else the first of those selected. */
function figureTable() {
  const possible = data.tables.map((_, number) => number).filter((number) => shown.tables[number]);
  const chosen = possible.find((number) => data.tables[number].anchor === state.chosen.table);
  return chosen ?? possible.find((number) => data.tables[number].primary) ?? possible[0] ?? null;
}

function tableName(table) {
  return `${table.title}, ${table.metric}`;
}

const inPoints = (value) => (value === null ? null : value / 1000);

/** Colours are full at the largest value there is, and at 5 points at the earliest. */
function reachOf(spreads) {
  const values = spreads.filter((one) => one !== null).map((one) => Math.abs(one.value) / 1000);
  return Math.max(LEAST_REACH, ...values);
}

function shadeFields(mean, reach) {
  return {
    delta: mean === null ? null : mean.value / 1000,
    loud: mean !== null && Math.abs(mean.value) / 1000 > LOUD * reach,
  };
}

const bars = (mean) => ({
  delta: mean.value / 1000,
  low: inPoints(mean.low ?? mean.value),
  high: inPoints(mean.high ?? mean.value),
});

const numberTexts = (mean) =>
  mean === null ? ["", "", ""] : [signed(mean.value), ...(mean.low === null ? ["", ""] : [signed(mean.low), signed(mean.high)])];

/** The tuned lines of a table that are selected, with their cells. */
function tunedLines(number) {
  const table = data.tables[number];
  return shown.lines[number]
    .map((line) => ({ line, cell: data.cells[table.lines[line]] }))
    .filter((one) => !one.cell.untuned);
}

function grouped(items, keyOf) {
  const found = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(item);
  }
  return found;
}

const panelOf = (cell) => [cell.base, cell.data, cell.method].filter((part) => part).join("; ");

/** By bits in training, then in evaluation. */
function precisionOrder(cell) {
  return 100 * Number(cell.precision.split(" ")[0]) + cell.bits;
}

/** Number the panels of rows as they come; how many there are. */
function inOrder(rows) {
  const panels = [...new Set(rows.map((row) => row.panel))];
  for (const row of rows) row.panel_order = panels.indexOf(row.panel);
  return panels.length;
}

function heatmap(number) {
  const table = data.tables[number];
  const ranked = tunedLines(number).filter((one) => one.cell.r !== null);
  const places = grouped(ranked, (one) =>
    JSON.stringify([panelOf(one.cell), one.cell.r, one.cell.precision]),
  );
  const means = [...places].map(([key, own]) => {
    const parts = own.map((one) => wholeDelta(table, one.line, shown.subsets[number]));
    return { key: JSON.parse(key), cell: own[0].cell, parts: parts.filter((one) => one !== null), planned: own.length };
  });
  for (const one of means) one.mean = meanOfCells(one.parts);
  if (!means.some((one) => one.mean !== null)) return null;
  const reach = reachOf(means.map((one) => one.mean));
  const rows = means.map(({ key: [panel, r, bits], cell, mean, parts, planned }) => ({
    panel,
    r: String(r),
    r_order: r,
    bits,
    bits_order: precisionOrder(cell),
    ...shadeFields(mean, reach),
    text: mean === null ? "unfinished" : `${signed(mean.value)} ${direction(mean)}`.trim(),
    interval: mean === null ? "" : interval(mean, signed),
    about: `${panel}\nr ${r}, ${bits} bits: ${mean === null ? "unfinished" : difference(mean)}\n${parts.length} of ${plural(planned, "cell")}`,
  }));
  const panels = inOrder(rows);
  const bits = new Set(rows.map((row) => row.bits)).size;
  return {
    rows,
    values: { low: -reach, high: reach },
    panel: 104 * bits + 60,
    panels,
    columns: ["panel", "rank", "bits", "difference", "low", "high", "cells averaged"],
    texts: means.map(({ key: [panel, r, bits_], mean, parts, planned }) => [
      panel, String(r), bits_, ...numberTexts(mean), `${parts.length} of ${planned}`,
    ]),
  };
}

function slopes(number) {
  const table = data.tables[number];
  const groupOf = (subset) => {
    const known = data.languages[table.subsets[subset].language].class;
    return GROUPS[known === null ? 2 : known >= 4 ? 0 : 1];
  };
  const classes = grouped(shown.subsets[number], groupOf);
  const ranked = tunedLines(number).filter((one) => one.cell.r !== null);
  const found = new Map();
  for (const { line, cell } of ranked) {
    const panel = `${cell.base}; ${cell.precision} bits`;
    for (const group of GROUPS.filter((name) => classes.has(name))) {
      const mean = wholeDelta(table, line, classes.get(group));
      if (mean === null) continue;
      const key = JSON.stringify([panel, group, cell.r]);
      if (!found.has(key)) found.set(key, []);
      found.get(key).push(mean);
    }
  }
  const means = [...found].map(([key, parts]) => [JSON.parse(key), meanOfCells(parts), parts.length]);
  const ranks = [...new Set(means.map(([key]) => key[2]))].sort((a, b) => a - b);
  if (ranks.length < 2) return null;
  const rows = means.map(([[panel, group, r], mean, cells]) => ({
      panel, group, r, ...bars(mean),
      about: `${panel}, ${group}\nr ${r}: ${difference(mean)}\nmean of ${plural(cells, "cell")}`,
  }));
  return {
    rows,
    values: { ranks, groups: GROUPS.filter((name) => classes.has(name)) },
    panel: 290,
    panels: inOrder(rows),
    across: new Set(ranked.map((one) => one.cell.precision)).size,
    columns: ["panel", "languages", "rank", "difference", "low", "high", "cells averaged"],
    texts: means.map(([[panel, group, r], mean, cells]) => [
      panel, group, String(r), ...numberTexts(mean), String(cells),
    ]),
  };
}

const LANGUAGE_ORDERS = {
  class: (a, b) => (b.language.class ?? -1) - (a.language.class ?? -1),
  family: (a, b) => a.language.family.localeCompare(b.language.family, "en"),
  name: () => 0,
  "mean difference": (a, b) => (b.mean ?? -Infinity) - (a.mean ?? -Infinity),
};

function languageLabel(table, subset, order) {
  const { label, language } = table.subsets[subset];
  const known = data.languages[language];
  const detail = order === "family" ? known.family : known.class === null ? "?" : known.class;
  return `${label} (${detail})`;
}

function languageMap(number) {
  const table = data.tables[number];
  const tuned = tunedLines(number);
  const order = state.chosen.languages ?? "class";
  const subsets = shown.subsets[number].map((subset) => {
    const parts = tuned
      .map((one) => languageSpread(table, one.line, subset, "delta"))
      .filter((one) => one !== null);
    const mean = parts.length ? parts.reduce((sum, one) => sum + one.value, 0) / parts.length : null;
    return { subset, mean, language: data.languages[table.subsets[subset].language], label: table.subsets[subset].label };
  });
  subsets.sort((a, b) => LANGUAGE_ORDERS[order](a, b) || a.label.localeCompare(b.label, "en"));
  const all = tuned.flatMap((one) => subsets.map((own) => languageSpread(table, one.line, own.subset, "delta")));
  if (!all.some((one) => one !== null)) return null;
  const reach = reachOf(all);
  const texted = tuned.length <= 12;
  const rows = [];
  const texts = [];
  subsets.forEach((own, y) => {
    tuned.forEach(({ line, cell }, x) => {
      const delta = languageSpread(table, line, own.subset, "delta");
      const label = languageLabel(table, own.subset, order);
      const mark = delta === null ? "" : direction(delta);
      const told = delta === null ? stateOf(table, line, own.subset) || "no difference" : difference(delta);
      rows.push({
        x: cellName(cell), x_order: x, y: label, y_order: y, ...shadeFields(delta, reach),
        text: texted && delta !== null ? `${signed(delta.value)} ${mark}`.trim() : "",
        mark, inside: false,
        about: `${own.label}, class ${classOf(own.language)}, ${own.language.family}\n${cellName(cell)}\n${told}`,
      });
      texts.push([own.label, classOf(own.language), own.language.family, cellName(cell), ...numberTexts(delta)]);
    });
  });
  return {
    rows,
    values: { low: -reach, high: reach, width: texted ? 62 : 15, height: texted ? 22 : 16, angle: texted ? -60 : -90 },
    columns: ["language", "class", "family", "cell", "difference", "low", "high"],
    texts,
  };
}

function transfer(number) {
  const table = data.tables[number];
  const sets = grouped(
    tunedLines(number).filter((one) => one.cell.data !== ""),
    (one) => (data.severalBases ? `${one.cell.base}: ${one.cell.data}` : one.cell.data),
  );
  const subsets = shown.subsets[number];
  const found = [...sets].flatMap(([name, own], y) =>
    subsets.map((subset, x) => {
      const parts = own
        .map((one) => languageSpread(table, one.line, subset, "delta"))
        .filter((one) => one !== null);
      const inside = own[0].cell.languages.includes(table.subsets[subset].language);
      return { name, y, x, subset, inside, mean: meanOfCells(parts), cells: parts.length };
    }),
  );
  if (!found.some((one) => one.mean !== null)) return null;
  const reach = reachOf(found.map((one) => one.mean));
  const texted = subsets.length <= 14;
  return {
    rows: found.map(({ name, y, x, subset, inside, mean, cells }) => ({
      x: languageLabel(table, subset, "class"), x_order: x, y: name, y_order: y, ...shadeFields(mean, reach),
      text: texted && mean !== null ? `${signed(mean.value)} ${direction(mean)}`.trim() : "",
      mark: mean === null ? "" : direction(mean),
      inside,
      about: `${name}\n${table.subsets[subset].label}, ${inside ? "in" : "not in"} the training set\n${mean === null ? "nothing finished" : difference(mean)}\nmean of ${plural(cells, "cell")}`,
    })),
    values: { low: -reach, high: reach, width: texted ? 62 : 20, height: 26, angle: -60 },
    columns: ["training set", "language", "in the training set", "difference", "low", "high", "cells averaged"],
    texts: found.map(({ name, subset, inside, mean, cells }) => [
      name, table.subsets[subset].label, inside ? "yes" : "no", ...numberTexts(mean), String(cells),
    ]),
  };
}

/** Every selected cell's difference on every English subset, over all tasks, the worst first. */
function english(_, width) {
  const found = data.tables.flatMap((table, number) =>
    table.primary && shown.tables[number]
      ? table.subsets.flatMap((own, subset) =>
          data.languages[own.language].key === "eng_Latn"
            ? tunedLines(number).map(({ line, cell }) => ({
                name: `${table.title}: ${cellName(cell)}`,
                cells: [cellName(cell), table.title, own.label],
                delta: languageSpread(table, line, subset, "delta"),
              }))
            : [],
        )
      : [],
  );
  const known = found.filter((one) => one.delta !== null);
  if (known.length === 0) return null;
  known.sort((a, b) => a.delta.value - b.delta.value);
  return {
    rows: known.slice(0, FOREST_ROWS).map(({ name, cells, delta }, place) => ({
      label: cells[2] === "English" ? name : `${name}, ${cells[2]}`,
      label_order: place, ...bars(delta),
      clear: direction(delta) === DOWN,
      about: `${name}\n${difference(delta)}`,
    })),
    values:
      width < NARROW
        ? { width: width - 24, limit: width - 24, step: 36, align: "left", padding: -2, offset: -13 }
        : { width: 300, limit: Math.min(560, width - 330), step: 17, align: "right", padding: 6, offset: 0 },
    note: known.length > FOREST_ROWS ? `The ${FOREST_ROWS} worst of ${known.length}; all are in its table.` : "",
    columns: ["cell", "task", "subset", "difference", "low", "high"],
    texts: known.map(({ cells, delta }) => [...cells, ...numberTexts(delta)]),
  };
}

const COSTS = {
  seconds: { label: "training time, seconds", scale: 1 },
  memory: { label: "peak memory of training, MB", scale: 1e-6 },
  size: { label: "size of the adapter, MB", scale: 1e-6 },
};

function pareto(number, width) {
  const table = data.tables[number];
  const kind = state.chosen.cost ?? "seconds";
  const found = tunedLines(number)
    .map(({ line, cell }) => ({ cell, mean: wholeDelta(table, line, shown.subsets[number]) }))
    .filter(({ cell, mean }) => mean !== null && cell[kind] > 0);
  if (found.length === 0) return null;
  found.sort((a, b) => a.cell[kind] - b.cell[kind] || b.mean.value - a.mean.value);
  // Of one base alone: what a point costs on one model says nothing about another.
  const beats = (one, other) =>
    one.cell.base === other.cell.base &&
    one.cell[kind] <= other.cell[kind] &&
    one.mean.value >= other.mean.value &&
    (one.cell[kind] < other.cell[kind] || one.mean.value > other.mean.value);
  for (const one of found) {
    one.front = !found.some((other) => beats(other, one));
    one.cost = one.cell[kind] * COSTS[kind].scale;
  }
  return {
    rows: found.map(({ cell, mean, front, cost }) => ({
      cost, front, ...bars(mean), group: `${cell.precision} bits`, group_order: precisionOrder(cell), shape: cell.base,
      about: `${cellName(cell)}\n${difference(mean)}\n${COSTS[kind].label}: ${cost.toPrecision(4)}${front ? "\non the front" : ""}`,
    })),
    values: { cost: COSTS[kind].label, width: Math.max(220, Math.min(620, width - 90)) },
    columns: ["cell", COSTS[kind].label, "difference", "low", "high", "on the front"],
    texts: found.map(({ cell, mean, front, cost }) => [
      cellName(cell), cost.toPrecision(4), ...numberTexts(mean), front ? "yes" : "no",
    ]),
  };
}

function trainingCurves() {
  const trains = new Set(data.cells.filter((_, place) => shown.cells[place]).map((cell) => cell.train));
  const rows = [];
  const texts = [];
  for (const panel of data.curves) {
    for (const run of panel.runs.filter((one) => trains.has(one.train))) {
      for (const [held, [steps, losses]] of [["", run.loss], ...Object.entries(run.held)]) {
        steps.forEach((step, place) => {
          const loss = losses[place];
          if (loss === null) return;
          rows.push({
            panel: `${panel.title}; ${panel.smoothed}`,
            series: run.series, bits: `${run.bits} bits`, run: run.train, held, step, loss,
            about: `${run.label}\n${held || "training"}, step ${step}: ${loss.toFixed(3)}`,
          });
          texts.push([panel.title, run.label, held || "training", String(step), loss.toFixed(4)]);
        });
      }
    }
  }
  if (!rows.some((row) => row.held === "")) return null;
  return {
    rows,
    values: {},
    panel: 370,
    panels: inOrder(rows),
    columns: ["panel", "adapter", "of", "step", "loss"],
    texts,
  };
}

const SELECTS = {
  languages: { label: "Languages by", values: Object.keys(LANGUAGE_ORDERS), usual: "class" },
  cost: { label: "Cost", values: Object.keys(COSTS), usual: "seconds" },
};

const FIGURES = {
  heatmap: {
    title: "Rank and bits", spec: "heatmap", of: heatmap,
    note: "Mean difference to the untuned base at the same precision, in points, with its 95 % interval; blue is above the base, orange below, and a triangle says that the interval excludes 0. Seeds are averaged, with the mean of their standard errors.",
  },
  slopes: {
    title: "Rank by resource class", spec: "slopes", of: slopes,
    note: "Mean difference over the languages of a group against rank (logarithmic), with 95 % intervals. Training sets, methods and seeds that share a rank are averaged, with the mean of their standard errors.",
  },
  map: {
    title: "Languages and cells", spec: "matrix", of: languageMap, select: "languages", canvas: true,
    note: "Difference to the untuned base of every language and cell; in brackets the language's resource class. A dot or triangle: the interval excludes 0, as about 1 in 20 would without any difference.",
  },
  transfer: {
    title: "Transfer from training sets", spec: "matrix", of: transfer,
    note: "Mean difference over a training set's adapters, with the mean of their standard errors. Framed: the language is in the training set.",
  },
  english: {
    title: "English ledger", spec: "forest", of: english, everyTask: true,
    note: "Every cell's difference to its own untuned base on every English subset, the worst first, with 95 % intervals; orange: the interval is wholly below 0.",
  },
  pareto: {
    title: "Cost and gain", spec: "pareto", of: pareto, select: "cost",
    note: "Mean difference against cost (logarithmic), with 95 % intervals. The dashed line joins the cells of a base that no other beats in cost and difference at once; by the point estimates, so it is itself uncertain.",
  },
  curves: {
    title: "Training and held-out loss", spec: "curves", of: trainingCurves, everyTask: true,
    note: "Nats a labelled token by optimiser step. Lines: training loss, smoothed as the heading says. Points: held-out loss, by language where the languages can be told apart.",
  },
};

function controlSelect(name) {
  const { label, values, usual } = SELECTS[name];
  const select = el(
    "select",
    { "data-select": name, onchange: (event) => choose(name, event.target.value) },
    values.map((value) => el("option", { value }, name === "cost" ? COSTS[value].label : value)),
  );
  select.show = () => {
    select.value = state.chosen[name] ?? usual;
  };
  return { select, label: el("label", {}, `${label} `, select) };
}

function buildFigure(host, key) {
  const figure = FIGURES[key];
  const drawing = el("div", { class: "drawing", tabindex: 0 });
  const tableHost = el("div", { class: "data", hidden: true });
  const note = el("p", { class: "small" }, figure.note);
  const extra = el("p", { class: "small", hidden: true });
  const control = figure.select ? controlSelect(figure.select) : null;
  const subtitle = el("span", { class: "of" });
  let result = null;
  let embedded = null;
  let turn = 0;
  let rebuildTable = null;
  const name = () => slug(`${key} ${figure.everyTask ? "" : subtitle.textContent}`);
  const content = () => ({ columns: result?.columns ?? [], rows: result?.texts ?? [] });
  const toggle = el(
    "button",
    {
      type: "button", "aria-pressed": "false", "data-action": "table",
      onclick: () => {
        tableHost.hidden = !tableHost.hidden;
        toggle.setAttribute("aria-pressed", String(!tableHost.hidden));
        if (!tableHost.hidden) showTable();
      },
    },
    "Table",
  );
  const showTable = () => {
    rebuildTable ??= gridTable(tableHost, figure.title, slug(`${key} table`), content);
    rebuildTable();
  };
  const image = (kind, scale) => async () => {
    if (embedded) save(`${name()}.${kind}`, await embedded.view.toImageURL(kind, scale));
  };
  const tools = el(
    "div",
    { class: "tools" },
    control?.label,
    toggle,
    el(
      "span",
      { class: "saves" },
      el("button", { type: "button", "aria-label": "Save figure as PNG", onclick: image("png", 2) }, "PNG"),
      el("button", { type: "button", "aria-label": "Save figure as SVG", onclick: image("svg", 1) }, "SVG"),
      saveButtons(name, content),
    ),
  );
  host.append(
    el("figure", { id: `figure-${key}` }, el("figcaption", {}, figure.title, " ", subtitle), note, drawing, extra, tools, tableHost),
  );
  const render = async () => {
    const own = ++turn;
    const number = figure.everyTask ? null : figureTable();
    subtitle.textContent = number === null ? "" : tableName(data.tables[number]);
    control?.select.show();
    const width = drawing.clientWidth || 600;
    result = number === null && !figure.everyTask ? null : figure.of(number, width);
    extra.textContent = result?.note ?? "";
    extra.hidden = extra.textContent === "";
    if (!tableHost.hidden) showTable();
    for (const button of tools.querySelectorAll("button")) button.disabled = result === null;
    if (result === null) {
      embedded?.finalize();
      embedded = null;
      drawing.replaceChildren(el("p", { class: "waiting" }, "Nothing finished to draw with these filters."));
      return;
    }
    const theme = data.themes[dark.matches ? "dark" : "light"];
    const fitting = Math.floor(width / (result.panel ?? width));
    const columns = Math.max(1, Math.min(result.panels ?? 1, fitting, result.across ?? 4));
    const spec = filledIn(data.specs[figure.spec], { ...theme.values, ...result.values, columns });
    const target = el("div", {
      role: "img",
      "aria-label": `${figure.title}, ${subtitle.textContent}: ${plural(result.texts.length, "value")}; the button Table shows them`,
    });
    const made = await maple.embed(
      target,
      { ...spec, datasets: { rows: result.rows }, config: theme.config },
      { ast: true, logLevel: 1, actions: false, defaultStyle: false, renderer: figure.canvas && result.rows.length > 400 ? "canvas" : "svg", tooltip: showTip },
    );
    if (own !== turn) {
      made.finalize();
      return;
    }
    embedded?.finalize();
    embedded = made;
    drawing.replaceChildren(target);
  };
  view(host, render);
}

function buildFigures() {
  const select = document.getElementById("figure-table");
  if (select) {
    select.addEventListener("change", () => choose("table", select.value));
    select.show = () => {
      const possible = data.tables.filter((_, number) => shown.tables[number]);
      select.replaceChildren(...possible.map((table) => el("option", { value: table.anchor }, tableName(table))));
      const number = figureTable();
      if (number !== null) select.value = data.tables[number].anchor;
    };
  }
  for (const host of document.querySelectorAll("[data-figure]")) buildFigure(host, host.dataset.figure);
}
