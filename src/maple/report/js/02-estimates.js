// Means over a selection of languages and cells, with intervals. maple/report/selection.py computes
// the same and says why; a test compares the two.

const Z = 1.96;

const data = JSON.parse(document.getElementById("data").textContent);

/** Standard error of a value from its 95 % interval; null without one. */
function errorOf(spread) {
  return spread.low === null ? null : (spread.high - spread.low) / (2 * Z);
}

/**
 * The mean over languages, each weighing the same, and its interval.
 *
 * With k languages, standard errors s_i = (high - low) / (2 * 1.96) and the mean correlation rho
 * between them, the squared error of the mean is
 *
 *     ((1 - rho) * sum(s_i^2) + rho * (sum(s_i))^2) / k^2.
 *
 * Languages are correlated since their items are translations of each other. rho is a number a
 * table: the one with which this formula gives the intervals that resampling gave the means over
 * all languages. null for no part; no interval where a part has none.
 */
function meanOfLanguages(parts, rho) {
  if (parts.length === 0) return null;
  const k = parts.length;
  const value = parts.reduce((sum, part) => sum + part.value, 0) / k;
  const errors = parts.map(errorOf);
  if (errors.includes(null)) return { value, low: null, high: null };
  const squares = errors.reduce((sum, error) => sum + error * error, 0);
  const total = errors.reduce((sum, error) => sum + error, 0);
  const reach = (Z * Math.sqrt((1 - rho) * squares + rho * total * total)) / k;
  return { value, low: value - reach, high: value + reach };
}

/**
 * The mean over cells that share a place in a figure (seeds, training sets). Its error is the mean
 * of theirs, so it is never narrower than one cell's: they answer the same items.
 */
function meanOfCells(parts) {
  if (parts.length < 2) return parts.length ? parts[0] : null;
  const value = parts.reduce((sum, part) => sum + part.value, 0) / parts.length;
  const errors = parts.map(errorOf);
  if (errors.includes(null)) return { value, low: null, high: null };
  const reach = (Z * errors.reduce((sum, error) => sum + error, 0)) / parts.length;
  return { value, low: value - reach, high: value + reach };
}

/** `sure` has a "1" where a p-value counts after correction. */
function spreadAt(columns, place, sure = "") {
  const value = columns.value[place];
  if (value === null) return null;
  return { value, low: columns.low[place], high: columns.high[place], sure: sure[place] === "1" };
}

/** Score or delta of one language of a line; null where there is none. */
function languageSpread(table, line, subset, kind) {
  const place = line * table.subsets.length + subset;
  return spreadAt(table[kind], place, kind === "delta" ? table.sure : "");
}

/**
 * Mean over some languages of a line, score or delta.
 *
 * Over all languages of the table it is the stored one, which was resampled; over fewer it is
 * computed from theirs. `done` counts the languages that are finished.
 */
function lineMean(table, line, kind, subsets) {
  if (subsets.length === table.subsets.length) {
    return {
      mean: spreadAt(table.mean[kind], line, kind === "delta" ? table.mean.sure : ""),
      done: table.mean.done[line],
      of: subsets.length,
    };
  }
  const parts = subsets
    .map((subset) => languageSpread(table, line, subset, kind))
    .filter((part) => part !== null);
  return {
    mean: meanOfLanguages(parts, table.rho[kind]),
    done: parts.length,
    of: subsets.length,
  };
}

/** The mean difference of a line where every language of the selection is finished, else null. */
function wholeDelta(table, line, subsets) {
  const found = lineMean(table, line, "delta", subsets);
  return found.done === found.of ? found.mean : null;
}
