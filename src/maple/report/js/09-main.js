// Build the page once, then draw what is in sight.

/** What follows the state at once, in sight or not. */
function showControls() {
  for (const section of document.querySelectorAll("section.task")) section.showMetric();
  const select = document.getElementById("figure-table");
  if (select) select.show();
}

document.body.append(tip);
buildFilters(document.getElementById("filters"));
buildResults();
buildFigures();
for (const host of document.querySelectorAll("[data-grid]")) {
  filteredGrid(host, data.grids[host.dataset.grid], host.dataset.grid);
}
const browser = document.getElementById("item-browser");
if (browser) buildItems(browser);

readAddress();
derive();
showCounts();
showControls();
redraw();

window.addEventListener("hashchange", () => {
  if (location.hash !== "" && !location.hash.startsWith("#?")) return;
  readAddress();
  changed();
});
// Links within the page must not overwrite the state in the address.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  if (!link) return;
  event.preventDefault();
  const target = document.getElementById(link.getAttribute("href").slice(1));
  if (!target) return;
  target.scrollIntoView();
  target.setAttribute("tabindex", "-1");
  target.focus({ preventScroll: true });
});
dark.addEventListener("change", () => {
  for (const one of views) one.drawn = -1;
  redraw();
});
window.addEventListener("beforeprint", redrawAll);
