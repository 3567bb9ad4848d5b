// The timeline in words: the row that the keyboard has reached, and tables that say what the drawing shows.

/** Number of equal parts of the range in the table of times. */
const PARTS = 12;
/** The first attempt in the table of attempts. */
let firstListed = 0;

/** Names the row that the arrow keys have reached, for screen readers: a canvas may contain what it draws. */
function nameRow(at) {
  const span = shown[at], error = errorOf(span);
  const words = [
    `${nameOf(span)}, attempt ${spans.attempt[span]}: ${ENDED[spans.ended[span]]}`,
    error ? `${error.name}: ${firstLine(error.message)}` : null,
    `computed for ${duration(took(span, AT.compute))}, in total ${duration(total(span))}`,
    workerOf(spans.lane[span]),
  ];
  const row = element("div", {
    id: `row-${span}`, role: "option", "aria-selected": span === view.selected, "aria-setsize": rows.shown,
    "aria-posinset": at + 1,
  }, words.filter(Boolean).join(", "));
  $("timeline").replaceChildren(row);
  $("timeline").setAttribute("aria-activedescendant", row.id);
}

/** Shows the tables, if they are open. */
function showTables() {
  if (!$("tables").open) return;
  keepFocus(() => {
    showParts();
    showAttempts();
  });
}

/** Shows how many functions ran in each part of the range, how many tasks waited, and how attempts ended. */
function showParts() {
  const length = (view.to - view.from) / PARTS;
  const ended = Array.from({ length: PARTS }, () => [0, 0, 0]);
  for (let span = 0; span < spans.length; span++) {
    const part = Math.floor((moment(span, AT.end) - view.from) / length);
    // The last part contains its end.
    const at = moment(span, AT.end) === view.to ? PARTS - 1 : part;
    if (at >= 0 && at < PARTS) ended[at][spans.ended[span]] += spans.ended[span] === DONE ? spans.count[span] : 1;
  }
  const fine = 10 ** Math.floor(Math.log10(length / 10));
  table("parts", [["Time", "text"], ["Running"], ["Waiting"], ["Done"], ["Retried"], ["Failed"]], ended.map((counts, part) => {
    const from = view.from + part * length, to = from + length;
    const onclick = () => show(from, to);
    const words = `${tick(from, fine)} to ${tick(to, fine)}`;
    const button = element("button", { type: "button", className: "task", "data-key": part, onclick }, words);
    button.setAttribute("aria-label", `Zoom in on ${words}`);
    return element("tr", {},
      element("th", { scope: "row" }, button),
      element("td", {}, digits(Math.max(0, strips.computing.mean(from, to)))),
      element("td", {}, digits(Math.max(0, strips.waiting.mean(from, to)))),
      ...counts.map((n) => element("td", {}, number(n))));
  }));
}

/** Lists the attempts of the timeline's rows, a hundred at a time. */
function showAttempts() {
  firstListed = Math.max(0, Math.min(firstListed, Math.floor((rows.shown - 1) / SHOWN) * SHOWN));
  const listed = [...shown.subarray(firstListed, Math.min(firstListed + SHOWN, rows.shown))];
  const heads = [["Tasks", "text"], ["Attempt"], ["Outcome", "text"], ["Worker", "text"], ["Sent"], ["Compute"], ["Received"]];
  table("attempts", heads, listed.map((span) => element("tr", {},
    element("th", { scope: "row" }, taskButton(span)),
    element("td", {}, number(spans.attempt[span])),
    outcomeCell(span),
    element("td", { className: "text" }, workerOf(spans.lane[span])),
    element("td", {}, duration(moment(span, AT.start))),
    element("td", {}, duration(took(span, AT.compute))),
    element("td", {}, duration(moment(span, AT.end))))));
  const last = firstListed + listed.length;
  $("attempts-note").textContent = `Rows ${number(Math.min(firstListed + 1, last))} to ${number(last)} of ${number(rows.shown)}`;
  // A disabled button would lose the keyboard's focus.
  $("earlier").setAttribute("aria-disabled", firstListed === 0);
  $("later").setAttribute("aria-disabled", last >= rows.shown);
}

function listenToTables() {
  const turn = (by) => {
    firstListed = firstListed + by < rows.shown ? firstListed + by : firstListed;
    showTables();
  };
  $("tables").addEventListener("toggle", showTables);
  $("earlier").addEventListener("click", () => turn(-SHOWN));
  $("later").addEventListener("click", () => turn(SHOWN));
}
