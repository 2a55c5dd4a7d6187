// The bar of filters: a list of checkboxes a facet, with all, none and a count.

function facetBox(facet, groups) {
  const summary = el("summary", {});
  const boxes = [];
  const body = el("fieldset", {}, el("legend", { class: "sr" }, facet.label));
  const out = state.excluded[facet.key];
  const setAll = (keep) => {
    for (const value of facet.values) keep ? out.delete(value) : out.add(value);
    changed();
  };
  body.append(
    el(
      "p",
      { class: "allnone" },
      el("button", { type: "button", onclick: () => setAll(true) }, "All"),
      el("button", { type: "button", onclick: () => setAll(false) }, "None"),
    ),
  );
  for (const value of facet.values) {
    const box = el("input", { type: "checkbox", value });
    box.addEventListener("change", () => {
      box.checked ? out.delete(value) : out.add(value);
      changed();
    });
    boxes.push(box);
    const detail = groups ? el("small", {}, groups(value)) : null;
    body.append(el("label", {}, box, el("bdi", {}, value), detail));
  }
  const made = el("details", { class: "facet", "data-facet": facet.key }, summary, body);
  made.addEventListener("toggle", () => {
    if (!made.open) return;
    for (const other of document.querySelectorAll("details.facet[open]")) {
      if (other !== made) other.open = false;
    }
  });
  facet.show = () => {
    const kept = facet.values.length - out.size;
    summary.replaceChildren(
      `${facet.label} `,
      el("span", { class: "count" }, `${kept} of ${facet.values.length}`),
    );
    made.classList.toggle("narrowed", out.size > 0);
    for (const box of boxes) box.checked = !out.has(box.value);
  };
  return made;
}

function buildFilters(host) {
  const classes = new Map(data.languages.map((one) => [one.name, `class ${classOf(one)}`]));
  const facets = FACETS.filter((facet) => facet.values.length > 0);
  const boxes = facets.map((facet) =>
    facetBox(facet, facet.key === "language" ? (name) => classes.get(name) : null),
  );
  const reset = el(
    "button",
    {
      type: "button",
      id: "reset",
      onclick: () => {
        for (const facet of FACETS) state.excluded[facet.key].clear();
        changed();
      },
    },
    "Reset",
  );
  const live = el("p", { id: "shown", role: "status", "aria-live": "polite" });
  const bar = el(
    "details",
    { id: "bar" },
    el("summary", { id: "bar-summary" }, "Filters"),
    el("div", { class: "facets" }, boxes, reset),
  );
  bar.open = window.matchMedia("(min-width: 52rem)").matches;
  host.append(bar, live);
  document.addEventListener("keydown", (event) => {
    const open = event.key === "Escape" && document.querySelector("details.facet[open]");
    if (!open) return;
    open.open = false;
    open.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => {
    for (const open of document.querySelectorAll("details.facet[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  });
}

function showCounts() {
  for (const facet of FACETS) if (facet.show) facet.show();
  const narrowed = FACETS.filter((facet) => state.excluded[facet.key].size > 0);
  const cells = plural(count(shown.cells), "cell");
  const languages = plural(count(shown.languages), "language");
  document.getElementById("shown").textContent = `${cells}, ${languages} shown`;
  document.getElementById("reset").disabled = narrowed.length === 0;
  document.getElementById("bar-summary").textContent =
    narrowed.length === 0
      ? "Filters"
      : `Filters: ${narrowed.map((facet) => facet.label.toLowerCase()).join(", ")}`;
}
