// Draws the timeline's view, and changes it in response to the user.

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
  const all = view.from === begin && view.to === end;
  range.textContent = all ? `whole job: ${duration(end - begin)}` : `${tick(view.from, fine)} to ${tick(view.to, fine)}: ${duration(view.to - view.from)} of ${duration(end - begin)}`;
  range.dataset.from = view.from;
  range.dataset.to = view.to;
  const order = view.byWorker ? `${plural(report.lanes.length, "worker")}, one row each` : "one row each, in the order in which workers started them";
  $("rows").textContent = `${plural(rows.shown, "attempt")}, ${order}. × failed, ○ retried.`;
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

function select(span, scroll = false) {
  view.selected = span;
  showDetail(span);
  if (scroll && span !== null) {
    if (moment(span, 8) < view.from || moment(span, 1) > view.to) show(begin, end);
    $("when").scrollIntoView({ block: "start" });
    $("detail").focus({ preventScroll: true });
  }
  redraw();
}

/** Returns the attempt at a point of the timeline, and how many attempts share the point. */
function hit(x, y) {
  const plot = $("timeline").clientWidth - LEFT - RIGHT;
  if (x < LEFT || x > LEFT + plot) return null;
  const band = Math.floor(y / rows.height), time = timeAt(x, plot), near = 3 * ((view.to - view.from) / plot);
  const [first, last] = view.byWorker ? [2, 7] : [0, 8];
  let found = null, nearest = Infinity, count = 0;
  for (let at = 0; at < rows.shown; at++) {
    if (rows.band[at] !== band) continue;
    const span = shown[at];
    const away = Math.max(moment(span, first) - time, time - moment(span, last), 0);
    if (away > near) continue;
    count++;
    if (away < nearest || (away === nearest && spans.ended[span] > spans.ended[found])) [found, nearest] = [span, away];
  }
  return found === null ? null : { span: found, count };
}

function showTip(x, y, span, count) {
  const tip = $("tip"), canvas = $("timeline"), plot = canvas.clientWidth - LEFT - RIGHT;
  const time = Math.min(Math.max(timeAt(x, plot), view.from), view.to);
  const now = `${duration(time)}: ${number(strips.computing.at(time))} running, ${number(strips.waiting.at(time))} waiting`;
  const lines = [element("div", {}, now)];
  if (span !== null) {
    const error = errorOf(span);
    const name = spans.count[span] > 1 ? `Tasks ${tasksOf(span)}` : `Task ${tasksOf(span)}`;
    lines.unshift(element("strong", {}, `${name}, attempt ${spans.attempt[span]}: ${ENDED[spans.ended[span]]}`));
    const row = (phase) => element("tr", {}, element("td", {}, PHASES[phase].name), element("td", {}, duration(took(span, phase))));
    lines.push(element("table", {}, element("tbody", {}, ...[...PHASES.keys()].filter((phase) => took(span, phase)).map(row))));
    if (error) lines.push(element("div", { className: "bad" }, `${error.name}: ${error.message.split("\n")[0].slice(0, 160)}`));
    if (count > 1) lines.push(element("div", { className: "note" }, `one of ${number(count)} attempts here`));
  }
  tip.replaceChildren(...lines);
  tip.hidden = false;
  const left = x + 16 + tip.offsetWidth > canvas.clientWidth ? x - 16 - tip.offsetWidth : x + 16;
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${y + 34}px`;
}

const hideTip = () => ($("tip").hidden = true);

function listenToPointer() {
  const canvas = $("timeline");
  const selection = element("div", { hidden: true });
  Object.assign(selection.style, { position: "absolute", background: "var(--accent)", opacity: "0.2", pointerEvents: "none" });
  $("charts").append(selection);
  let drag = null;
  const plot = () => canvas.clientWidth - LEFT - RIGHT;
  const inside = (x) => Math.min(Math.max(x, LEFT), LEFT + plot());
  for (const over of [canvas, $("computing"), $("waiting")]) {
    over.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      drag = { x: inside(event.offsetX), moves: event.shiftKey, from: view.from, to: view.to };
      over.setPointerCapture(event.pointerId);
    });
    over.addEventListener("pointermove", (event) => {
      const x = inside(event.offsetX);
      if (drag === null) {
        const found = over === canvas ? hit(event.offsetX, event.offsetY) : null;
        if (view.focused !== (found?.span ?? null)) {
          view.focused = found?.span ?? null;
          redraw();
        }
        showTip(x, over.offsetTop - canvas.offsetTop + event.offsetY, found?.span ?? null, found?.count ?? 0);
      } else if (drag.moves) {
        const by = ((drag.x - x) / plot()) * (drag.to - drag.from);
        const limited = Math.min(Math.max(by, begin - drag.from), end - drag.to);
        show(drag.from + limited, drag.to + limited);
      } else {
        selection.hidden = Math.abs(x - drag.x) < 4;
        Object.assign(selection.style, {
          left: `${Math.min(x, drag.x)}px`, width: `${Math.abs(x - drag.x)}px`, top: `${canvas.offsetTop}px`,
          height: `${$("waiting").offsetTop + $("waiting").offsetHeight - canvas.offsetTop}px`,
        });
        hideTip();
      }
    });
    over.addEventListener("pointerup", (event) => {
      if (drag === null) return;
      const x = inside(event.offsetX), { x: from, moves } = drag;
      drag = null;
      selection.hidden = true;
      if (Math.abs(x - from) >= 4) {
        if (!moves) show(timeAt(Math.min(x, from), plot()), timeAt(Math.max(x, from), plot()));
      } else if (over === canvas) {
        select(hit(event.offsetX, event.offsetY)?.span ?? null);
      }
    });
    over.addEventListener("pointercancel", () => {
      drag = null;
      selection.hidden = true;
    });
    over.addEventListener("pointerleave", () => {
      hideTip();
      view.focused = null;
      redraw();
    });
    over.addEventListener("dblclick", () => show(begin, end));
    over.addEventListener("wheel", (event) => {
      // Without focus on the timeline, the wheel scrolls the page.
      if (document.activeElement !== canvas && !event.ctrlKey) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) move(event.deltaX / plot());
      else zoom(1.0015 ** event.deltaY, timeAt(inside(event.offsetX), plot()));
    }, { passive: false });
  }
}

/** Steps to the next or the previous attempt that the timeline shows. */
function stepBy(by) {
  const current = view.focused ?? view.selected;
  const at = current === null ? -1 : shown.subarray(0, rows.shown).indexOf(current);
  const next = at < 0 ? (by > 0 ? 0 : rows.shown - 1) : Math.min(Math.max(at + by, 0), rows.shown - 1);
  if (rows.shown === 0) return;
  view.focused = shown[next];
  const plot = $("timeline").clientWidth - LEFT - RIGHT;
  const middle = xOf((moment(view.focused, COMPUTE) + moment(view.focused, COMMIT)) / 2, plot);
  showTip(Math.min(Math.max(middle, LEFT), LEFT + plot), (rows.band[next] + 1) * rows.height, view.focused, 1);
  redraw();
}

function listenToKeys() {
  const keys = {
    ArrowLeft: () => move(-0.15),
    ArrowRight: () => move(0.15),
    "+": () => zoom(1 / 1.5),
    "=": () => zoom(1 / 1.5),
    "-": () => zoom(1.5),
    0: () => show(begin, end),
    Home: () => show(begin, end),
    ArrowDown: () => stepBy(1),
    ArrowUp: () => stepBy(-1),
    Enter: () => view.focused !== null && select(view.focused),
    Escape: () => (hideTip(), select(null)),
  };
  $("timeline").addEventListener("keydown", (event) => {
    const act = event.ctrlKey || event.metaKey || event.altKey ? null : keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  $("timeline").addEventListener("blur", hideTip);
}

/** Makes the timeline less tall if it has few rows. */
function fitHeight() {
  const lines = view.byWorker ? report.lanes.length * 1.6 : spans.length;
  $("timeline").style.height = `${Math.min(Math.max(lines * TALLEST, 96), 460) + AXIS}px`;
}

function showRows(byWorker) {
  view.byWorker = byWorker;
  $("by-worker").setAttribute("aria-pressed", byWorker);
  $("by-start").setAttribute("aria-pressed", !byWorker);
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
    return element("button", { type: "button", title: meaning, "aria-pressed": "false", hidden: !all[phase].max, onclick: press }, swatch(name), name);
  });
  $("legend").append(...buttons);
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
function showTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  const dark = theme ? theme === "dark" : prefersDark.matches;
  $("theme").textContent = dark ? "Light" : "Dark";
  $("theme").setAttribute("aria-pressed", dark);
  readColours();
  paintSwatches();
}

function start() {
  readColours();
  showHeader();
  const all = showWhere();
  showFailures();
  $("slowest-by").append(element("option", { value: COMPUTE }, "compute"), element("option", { value: -1 }, "total"),
    ...PHASES.flatMap(({ name }, phase) => (phase === COMPUTE || !all[phase].max ? [] : [element("option", { value: phase }, name)])));
  $("slowest-by").addEventListener("change", showSlowest);
  showSlowest();
  showLegend(all);
  showHistograms(all, true);
  $("log").addEventListener("click", () => showHistograms(all, true));
  $("linear").addEventListener("click", () => showHistograms(all, false));
  $("by-start").addEventListener("click", () => showRows(false));
  $("by-worker").addEventListener("click", () => showRows(true));
  $("zoom-in").addEventListener("click", () => zoom(1 / 2));
  $("zoom-out").addEventListener("click", () => zoom(2));
  $("fit").addEventListener("click", () => show(begin, end));
  $("theme").addEventListener("click", () => (showTheme($("theme").textContent.toLowerCase()), redraw()));
  prefersDark.addEventListener("change", () => (showTheme(document.documentElement.dataset.theme), redraw()));
  // A page is printed in the light theme.
  let before;
  addEventListener("beforeprint", () => ((before = document.documentElement.dataset.theme), showTheme("light"), draw()));
  addEventListener("afterprint", () => (showTheme(before), redraw()));
  listenToPointer();
  listenToKeys();
  new ResizeObserver(redraw).observe($("charts"));
  fitHeight();
  showTheme();
  draw();
}

start();
