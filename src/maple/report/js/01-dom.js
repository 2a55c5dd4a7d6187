// Elements and numbers. Texts become text nodes and nothing else: no data is ever parsed as HTML.

const MINUS = "\u2212";
const UP = "\u25b2";
const DOWN = "\u25bc";

/** An element; `attributes` whose name begins with "on" are listeners, null ones are left out. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) made.append(child);
  }
  return made;
}

/** A value of 1/1000 point in whole tenths, halves to the even one as Python does. */
function tenths(value) {
  const scaled = value / 100;
  const rounded = Math.round(scaled);
  const half = Math.abs(scaled % 1) === 0.5;
  return (half && rounded % 2 !== 0 ? rounded - 1 : rounded) + 0;
}

/** "60.0": a score in points, of 1/1000 point. */
function points(value) {
  return (tenths(value) / 10).toFixed(1).replace("-", MINUS);
}

/** "+1.2": a difference in points, its sign always written; 0.0 has none. */
function signed(value) {
  const rounded = tenths(value);
  return (rounded > 0 ? "+" : "") + (rounded / 10).toFixed(1).replace("-", MINUS);
}

/** "[48.1, 60.0]"; "" without an interval. Ends as `labels.interval` has them. */
function interval(spread, shown) {
  if (spread.low === null) return "";
  const end = shown === signed && direction(spread) ? besideZero : shown;
  return `[${end(spread.low)}, ${end(spread.high)}]`;
}

/** A difference that is not 0 with as many decimals as show that. */
function besideZero(value) {
  if (signed(value) !== "0.0" || value === 0) return signed(value);
  return (value > 0 ? "+" : MINUS) + (Math.abs(value) / 1000).toPrecision(1);
}

/** A triangle where the interval lies wholly above or below 0, else "". */
function direction(spread) {
  if (spread.low !== null && spread.low > 0) return UP;
  if (spread.high !== null && spread.high < 0) return DOWN;
  return "";
}

/** `direction`, doubled where the p-value counts after correction, too. */
function mark(spread) {
  return direction(spread).repeat(spread.sure ? 2 : 1);
}

/** "+1.2 [0.3, 2.1] ▲" of a difference. */
function difference(spread) {
  return [signed(spread.value), interval(spread, signed), mark(spread)]
    .filter((part) => part !== "")
    .join(" ");
}

function plural(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Hand a file to the reader. */
function save(name, url) {
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

function saveText(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  save(name, url);
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** A word in a file's name. */
function slug(text) {
  return text.replace(/[^A-Za-z0-9]+/g, "-").replace(/^-|-$/g, "").toLowerCase();
}
