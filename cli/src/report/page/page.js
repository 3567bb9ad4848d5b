// Shows a report, and changes what is shown in response to the user.

/**
 * Shows the report of this data, in place of the one before. The zoom, the selection, the order of the rows and the
 * keyboard's focus stay. A page calls this once, with its own data; a live page calls it again with newer data.
 */
function showReport(data) {
  const isWhole = report === undefined || (view.from === begin && view.to === end);
  const [selected, focused] = [view.selected, view.focused].map(keyOf);
  load(data);
  loadStrips();
  shown = new Uint32Array(spans.length);
  band = new Uint32Array(spans.length);
  ordinal = new Uint32Array(spans.length);
  [view.selected, view.focused] = [selected, focused].map(spanOf);
  if (isWhole) [view.from, view.to] = [begin, end];
  if (view.by === "stage" && !report.stages.length) view.by = "start";
  readColours();
  keepFocus(() => {
    showHeader();
    showEnd();
    showStages();
    const all = showWhere();
    showFailures();
    showSlowestChoice(all);
    showSlowest();
    showLegend(all);
    showHistograms(all);
    if (view.selected === null) $("detail").hidden = true;
    else if (Number($("detail").dataset.attempts) !== attemptsOf(view.selected).length) showDetail(view.selected);
  });
  showRows(view.by);
  paintSwatches();
  draw();
}

/** Returns what identifies a span in newer data too. */
const keyOf = (span) => (span === null ? null : [spans.stage[span], spans.first[span], spans.attempt[span]].join());

function spanOf(key) {
  if (key === null) return null;
  const found = indices.findIndex((span) => keyOf(span) === key);
  return found < 0 ? null : found;
}

/** Returns the keyboard's focus to the same button after `change` has replaced the tables. */
function keepFocus(change) {
  const { activeElement } = document;
  const key = activeElement?.dataset.key, table = activeElement?.closest("table")?.id;
  change();
  if (key === undefined || table === undefined) return;
  const again = [...document.querySelectorAll(`#${table} button`)].find((button) => button.dataset.key === key);
  again?.focus({ preventScroll: true });
}

let due = false;
function redraw() {
  if (due) return;
  due = true;
  requestAnimationFrame(draw);
}

function draw() {
  due = false;
  const began = performance.now();
  drawTimeline($("timeline"));
  drawStrip($("computing"), strips.computing);
  drawStrip($("waiting"), strips.waiting);
  performance.clearMeasures("redraw");
  performance.measure("redraw", { start: began, end: performance.now() });
  const range = $("range");
  const fine = 10 ** Math.floor(Math.log10((view.to - view.from) / 100));
  const isWhole = view.from === begin && view.to === end;
  const part = `${tick(view.from, fine)} to ${tick(view.to, fine)}: ${duration(view.to - view.from)} of`;
  range.textContent = isWhole ? `whole job: ${duration(end - begin)}` : `${part} ${duration(end - begin)}`;
  range.dataset.from = view.from;
  range.dataset.to = view.to;
  $("rows").textContent = `${describeRows()} × failed, ○ retried.`;
  showTables();
}

/** Returns what the rows of the timeline are, and whether all of them are drawn. */
function describeRows() {
  if (view.by === "worker") return `${plural(rows.of, "attempt")}, ${plural(report.lanes.length, "worker")}, one row each.`;
  if (view.by === "stage") return `${plural(rows.of, "attempt")}, ${plural(report.stages.length, "stage")}, one row each.`;
  if (rows.shown === rows.of) return `${plural(rows.of, "attempt")}, one row each, in the order in which workers started them.`;
  const which = "the slowest and the failed always; zoom in to see the others";
  return `${number(rows.shown)} of ${number(rows.of)} rows drawn, ${which}.`;
}

/** Shows the range between two moments, limited to the duration of the job. */
function show(from, to) {
  const range = Math.min(Math.max(to - from, 20), end - begin);
  const middle = (from + to) / 2;
  view.from = Math.min(Math.max(begin, middle - range / 2), end - range);
  view.to = view.from + range;
  redraw();
}

function zoom(factor, around = (view.from + view.to) / 2) {
  show(around - (around - view.from) * factor, around + (view.to - around) * factor);
}

const move = (share) => {
  const by = Math.min(Math.max(share * (view.to - view.from), begin - view.from), end - view.to);
  show(view.from + by, view.to + by);
};

/** The element that opened the details, to which the keyboard's focus returns. */
let opener = null;

/**
 * Shows the details of a span where the reader sees them. The keyboard's focus moves to them if an element opened them,
 * but not after a click on the timeline.
 */
function select(span, from = null) {
  view.selected = span;
  showDetail(span);
  redraw();
  if (span === null) return;
  if (moment(span, AT.end) < view.from || moment(span, AT.start) > view.to) show(begin, end);
  opener = from;
  if (from !== null) $("detail").focus({ preventScroll: true });
  $("detail").scrollIntoView({ block: "nearest" });
}

function closeDetail() {
  select(null);
  (opener?.isConnected ? opener : $("timeline")).focus();
}

/** Makes the timeline less tall if it has few rows. */
function fitHeight() {
  const lines = view.by === "start" ? spans.length : lanes() * 1.6;
  $("timeline").style.height = `${Math.min(Math.max(lines * TALLEST, 96), 460) + AXIS}px`;
}

function showRows(by) {
  view.by = by;
  $("by-stage").hidden = !report.stages.length;
  for (const one of ["start", "worker", "stage"]) $(`by-${one}`).setAttribute("aria-pressed", one === by);
  fitHeight();
  redraw();
}

function showLegend(all) {
  const buttons = PHASES.map(({ name, meaning }, phase) => {
    const press = () => {
      view.alone = view.alone === phase ? null : phase;
      $("legend").classList.toggle("alone", view.alone !== null);
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", view.alone === i));
      redraw();
    };
    const pressed = view.alone === phase;
    const properties = { type: "button", title: meaning, "aria-pressed": pressed, hidden: !all[phase].max, onclick: press };
    return element("button", properties, swatch(name), name);
  });
  $("legend").replaceChildren(...buttons);
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
function showTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  const other = (theme ? theme === "dark" : prefersDark.matches) ? "light" : "dark";
  $("theme").textContent = other === "light" ? "Light" : "Dark";
  $("theme").dataset.theme = other;
  $("theme").setAttribute("aria-label", `Use the ${other} theme`);
  readColours();
  paintSwatches();
}

function start() {
  showReport(JSON.parse($("data").textContent));
  showTheme();
  $("slowest-by").addEventListener("change", showSlowest);
  for (const scale of ["log", "linear"]) $(scale).addEventListener("click", () => {
    view.isLogarithmic = scale === "log";
    showHistograms(PHASES.map((_, phase) => statistics(phase)));
    paintSwatches();
  });
  for (const by of ["start", "worker", "stage"]) $(`by-${by}`).addEventListener("click", () => showRows(by));
  $("zoom-in").addEventListener("click", () => zoom(1 / 2));
  $("zoom-out").addEventListener("click", () => zoom(2));
  $("fit").addEventListener("click", () => show(begin, end));
  $("theme").addEventListener("click", () => (showTheme($("theme").dataset.theme), redraw()));
  prefersDark.addEventListener("change", () => (showTheme(document.documentElement.dataset.theme), redraw()));
  // A page is printed in the light theme.
  let before;
  addEventListener("beforeprint", () => ((before = document.documentElement.dataset.theme), showTheme("light"), draw()));
  addEventListener("afterprint", () => (showTheme(before), redraw()));
  listenToPointer();
  listenToKeys();
  listenToTables();
  new ResizeObserver(redraw).observe($("charts"));
}

start();
