// Reactions of the timeline to pointer and keys.

/** Returns the attempt at a point of the timeline, and how many attempts share the point. */
function hit(x, y) {
  const plot = $("timeline").clientWidth - LEFT - RIGHT;
  if (x < LEFT || x > LEFT + plot) return null;
  const line = Math.floor(y / rows.height), time = timeAt(x, plot), near = 3 * ((view.to - view.from) / plot);
  const first = drawn()[0], last = drawn()[1] + 1;
  let found = null, nearest = Infinity, count = 0;
  for (let at = 0; at < rows.shown; at++) {
    if (band[at] !== line) continue;
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
    lines.unshift(element("strong", {}, `${nameOf(span)}, attempt ${spans.attempt[span]}: ${ENDED[spans.ended[span]]}`));
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
  const middle = xOf((moment(view.focused, AT.compute) + moment(view.focused, AT.compute + 1)) / 2, plot);
  showTip(Math.min(Math.max(middle, LEFT), LEFT + plot), (band[next] + 1) * rows.height, view.focused, 1);
  nameRow(next);
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
    PageDown: () => stepBy(10),
    PageUp: () => stepBy(-10),
    Enter: () => view.focused !== null && select(view.focused, $("timeline")),
    " ": () => view.focused !== null && select(view.focused, $("timeline")),
    Escape: () => (hideTip(), select(null)),
  };
  $("timeline").addEventListener("keydown", (event) => {
    const act = event.ctrlKey || event.metaKey || event.altKey ? null : keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  $("timeline").addEventListener("blur", hideTip);
  $("detail").addEventListener("keydown", (event) => event.key === "Escape" && closeDetail());
}

