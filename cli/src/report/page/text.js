// Shows the facts, tables, details and small charts.

function fact(name, value, more) {
  return element("div", {}, element("dt", {}, name), element("dd", {}, value, more ? element("small", {}, more) : null));
}

function showHeader() {
  const { job, summary } = report;
  $("title").textContent = job.name ?? job.function;
  const where = `${plural(job.workers, "worker")} (${job.backend})`;
  const when = new Date(job.started_unix_ms).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "medium" });
  const { stages } = report;
  const what = stages.length ? `run ${job.id} of ${plural(stages.length, "stage")}` : `job ${job.id}`;
  const parts = [job.name ? job.function : null, what, where, when, job.runs > 1 ? plural(job.runs, "run") : null];
  $("about").textContent = parts.filter(Boolean).join(" · ");

  const wall = job.wall_s * 1e6;
  const speedUp = summary.speed_up ?? (job.runs === 1 && wall > 0 ? (job.compute_s * 1e6) / wall : null);
  const efficiency = summary.efficiency ?? (speedUp === null ? null : speedUp / job.workers);
  const rate = summary.throughput_per_s ?? (job.runs === 1 && wall > 0 ? job.done / job.wall_s : null);
  const sum = (column) => column.reduce((sum, n) => sum + n, 0);
  const [bytesIn, bytesOut] = [summary.bytes_in ?? sum(spans.bytesIn), summary.bytes_out ?? sum(spans.bytesOut)];
  const peak = summary.peak_mb ?? job.peak_mb, limit = summary.memory_mb ?? report.memory_mb;
  const usd = summary.usd ?? job.usd;
  const shared = summary.large_values ? `${plural(summary.large_values, "large argument")} of ${bytes(summary.large_bytes)}, sent ${plural(summary.sent_values, "time")}` : null;
  const facts = [
    fact("State", job.state, job.failed ? `${number(job.failed)} failed` : null),
    fact("Tasks done", number(job.done), job.tasks !== null ? `of ${number(job.tasks)}` : null),
    fact("Wall time", duration(wall)),
    fact("Compute time", duration(job.compute_s * 1e6), "all workers together"),
    speedUp === null ? null : fact("Speed-up", `${digits(speedUp)}×`, efficiency === null ? null : `${percent(efficiency)} of ${plural(job.workers, "worker")}`),
    rate === null ? null : fact("Throughput", `${digits(rate)}/s`, "tasks"),
    fact("Retried", number(job.retried), "attempts"),
    peak ? fact("Peak memory", `${number(peak)} MB`, limit ? `limit ${number(limit)} MB` : null) : null,
    fact("Data", bytes(bytesIn + bytesOut), `${bytes(bytesIn)} in, ${bytes(bytesOut)} out`),
    shared ? fact("Large arguments", bytes(summary.sent_bytes), shared) : null,
    usd ? fact("Cost", `$${usd.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 4 })}`) : null,
  ];
  $("facts").replaceChildren(...facts.filter(Boolean));
  $("footer").textContent = `Created by cargo wren report ${report.wren}. Times are by the driver's clock${report.clock_error_us ? `; times from other machines are accurate to ${duration(report.clock_error_us)}` : ""}.`;
}

/** Says at the top of the page that the job ended early or still runs, and why. */
function showEnd() {
  const { job } = report;
  const failed = unsuccessful.find((span) => spans.ended[span] === FAILED);
  const error = failed === undefined ? null : errorOf(failed);
  const first = error ? `: ${nameOf(failed).toLowerCase()}, ${error.name}: ${firstLine(error.message)}` : ".";
  const why = job.reason ? `: ${firstLine(job.reason)}` : null;
  const done = job.tasks === null ? `${plural(job.done, "task")} were done` : `${number(job.done)} of ${plural(job.tasks, "task")} were done`;
  const words = {
    running: `The job is running: this page shows its first ${duration(job.wall_s * 1e6)}, in which ${done}.`,
    failed: why ? `The job ended early, when ${done}${why}` : `The job ended early, at a failure, when ${done}${first}`,
    cancelled: `The job was cancelled when ${done}${why ?? ", by its program or with Ctrl-C."}`,
    interrupted: `The job ended early, when ${done}, because its program was killed or called \`exit\`.`,
    done: job.failed ? `The job ran all its tasks, but ${number(job.failed)} failed${first}` : "",
  }[job.state] ?? "";
  $("ended").textContent = words;
  $("ended").hidden = !words;
  $("ended").className = job.state === "running" || job.state === "done" ? "ended" : "ended early";
}

/** Shows the stages of a computation: when each ran, and what it did. */
function showStages() {
  const { stages } = report;
  $("stages-section").hidden = !stages.length;
  const heads = [["Stage", "text"], ["State", "text"], ["Tasks"], ["Failed"], ["Started"], ["Took"], ["Compute"], ["When", "text"]];
  table("stages", heads, stages.map(({ name, time: [from, to], job }) => {
    const bar = element("div", { className: "when", "aria-hidden": "true" }, element("div"));
    const [left, width] = [(from - begin) / (end - begin), (to - from) / (end - begin)];
    Object.assign(bar.firstChild.style, { marginLeft: `${100 * left}%`, width: `${Math.max(0.5, 100 * width)}%` });
    const zoomIn = () => (show(from, to), $("when").scrollIntoView());
    const button = element("button", { type: "button", className: "task", "data-key": name, onclick: zoomIn }, name);
    button.setAttribute("aria-label", `${name}: zoom in on this stage`);
    return element("tr", {},
      element("th", { scope: "row" }, button, element("span", { className: "meaning" }, job.function)),
      element("td", { className: `text ${job.state === "done" ? "" : "bad"}` }, job.state),
      element("td", {}, job.tasks === null ? number(job.done) : `${number(job.done)} of ${number(job.tasks)}`),
      element("td", {}, number(job.failed)),
      element("td", {}, duration(from)),
      element("td", {}, duration(to - from)),
      element("td", {}, duration(job.compute_s * 1e6)),
      element("td", { className: "text wide" }, bar));
  }));
}

function showWhere() {
  const all = PHASES.map((_, phase) => statistics(phase));
  const path = report.summary.critical_path ?? {};
  $("sentences").replaceChildren(...(path.sentences ?? []).map((sentence) => element("li", {}, sentence)));
  const whole = all.reduce((sum, phase) => sum + phase.sum, 0);
  const shares = path.shares ?? (whole ? all.map(({ name, sum }) => ({ name, share: sum / whole })) : []);
  $("shares").replaceChildren(...sharesBar(shares.filter(({ share }) => share > 0), path.shares ? "Parts of the wall time" : "Parts of the total time of all attempts"));

  table("phases", [["Phase", "text"], ["Count"], ["Mean"], ["Std"], ["p50"], ["p95"], ["p99"], ["Max"]], phaseRows(all));
  $("phases-note").textContent = spans.length ? "" : "No attempt has ended yet.";
  return all;
}

/** Returns the rows of the summary's phases; if it has none, those of the spans. */
function phaseRows(all) {
  const computed = all.map((one) => ({ name: one.name, count: one.count, mean_us: one.mean, std_us: one.std, p50_us: one.p50, p95_us: one.p95, p99_us: one.p99, max_us: one.max }));
  return (report.summary.phases ?? computed).map((row) => {
    const name = row.name.split(/\W/)[0];
    const meaning = PHASES.find((phase) => phase.name === name)?.meaning ?? "";
    const numbers = ["mean_us", "std_us", "p50_us", "p95_us", "p99_us", "max_us"].map((key) => row[key]);
    return element("tr", { className: row.max_us ? "" : "none" },
      element("th", { scope: "row" }, swatch(name), element("span", { className: "name" }, row.name), " ", element("span", { className: "meaning" }, meaning)),
      element("td", {}, number(row.count)),
      ...numbers.map((us) => element("td", {}, us === undefined || us === null ? "" : row.max_us ? duration(us) : "0")));
  });
}

function sharesBar(shares, title) {
  if (!shares.length) return [];
  const bar = element("div", { className: "whole", "aria-hidden": "true" });
  const list = element("ul", { "aria-label": title });
  for (const { name, share } of shares) {
    const part = swatch(name);
    part.className = "";
    part.style.flex = `${share} 1 0`;
    part.style.width = "0";
    bar.append(part);
    list.append(element("li", {}, swatch(name), `${name} ${percent(share)}`));
  }
  return [element("p", { className: "note" }, title), bar, list];
}

function taskButton(span) {
  const stage = report.stages[spans.stage[span]];
  const name = stage ? `${stage.name} ${tasksOf(span)}` : tasksOf(span);
  const onclick = ({ currentTarget }) => select(span, currentTarget);
  const button = element("button", { type: "button", className: "task", "data-key": keyOf(span), onclick }, name);
  button.setAttribute("aria-label", `${nameOf(span)}, attempt ${spans.attempt[span]}: details`);
  return button;
}

function outcomeCell(span) {
  const ended = spans.ended[span], mark = ["", "○ ", "× "][ended];
  return element("td", { className: `text ${ended === FAILED ? "bad" : ""}` }, `${mark}${ENDED[ended]}`);
}

function table(id, heads, rows) {
  const head = heads.map(([name, className]) => element("th", { scope: "col", className: className ?? "" }, name));
  $(id).replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}

function showFailures() {
  const ended = (how) => [...unsuccessful.filter((span) => spans.ended[span] === how)];
  const failures = [...ended(FAILED), ...ended(RETRIED)];
  $("failures").textContent = failures.length ? "What failed" : "No failures";
  $("failed").parentElement.hidden = !failures.length;
  const counts = new Map();
  for (const span of failures) {
    const key = `${errorOf(span)?.name ?? "unknown"}, ${ENDED[spans.ended[span]]}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const retries = report.summary.retries;
  const words = retries && !failures.some((span) => spans.ended[span] === FAILED)
    ? retries.map(({ class: name, count }) => `${number(count)} × ${name}, retried`)
    : [...counts].sort((a, b) => b[1] - a[1]).map(([key, count]) => `${number(count)} × ${key}`);
  $("classes").textContent = words.join("; ");
  // On a narrow screen, the columns of class `extra` are left out: the details of the task have them too.
  const heads = [["Tasks"], ["Outcome"], ["Message", "wide"], ["Attempt", "extra"], ["Time", "extra"], ["Worker", "extra"]];
  table("failed", heads, failures.slice(0, SHOWN).map((span) => {
    const error = errorOf(span);
    const message = firstLine(error?.message ?? ""), cause = element("strong", {}, error?.name ?? "unknown");
    return element("tr", {},
      element("th", { scope: "row" }, taskButton(span)),
      outcomeCell(span),
      element("td", { className: "wide" }, cause, message ? `: ${message}` : ""),
      element("td", { className: "extra" }, number(spans.attempt[span])),
      element("td", { className: "extra" }, duration(moment(span, AT.end))),
      element("td", { className: "extra" }, workerOf(spans.lane[span])));
  }));
  const rest = failures.length - SHOWN;
  $("failed-note").textContent = rest > 0 ? `and ${number(rest)} more, which only the timeline shows` : "";
}

/** Offers the phases that took any time, in place of those offered before. */
function showSlowestChoice(all) {
  const choice = $("slowest-by"), before = choice.value;
  const phases = PHASES.flatMap(({ name }, phase) => (phase === AT.compute || !all[phase].max ? [] : [[phase, name]]));
  const options = [[AT.compute, "compute"], [-1, "total"], ...phases];
  choice.replaceChildren(...options.map(([value, name]) => element("option", { value }, name)));
  if (options.some(([value]) => String(value) === before)) choice.value = before;
}

function showSlowest() {
  const by = Number($("slowest-by").value);
  const value = by < 0 ? total : (span) => took(span, by);
  const order = largest(value, SHOWN);
  const heads = [["Tasks", "text"], ["Attempt"], ["Outcome", "text"], ["Worker", "text"], ["Total"]];
  for (const { name } of PHASES) heads.push([name[0].toUpperCase() + name.slice(1)]);
  table("slowest", heads, order.map((span) => element("tr", {},
    element("th", { scope: "row" }, taskButton(span)),
    element("td", {}, number(spans.attempt[span])),
    outcomeCell(span),
    element("td", { className: "text" }, workerOf(spans.lane[span]), spans.cold[span] ? " (cold)" : ""),
    element("td", {}, duration(total(span))),
    ...PHASES.map((_, phase) => element("td", {}, took(span, phase) ? duration(took(span, phase)) : "0")))));
  const rest = spans.length - order.length;
  $("slowest-note").textContent = rest > 0 ? `${number(order.length)} of ${plural(spans.length, "attempt")}` : "";
}

/** Returns all attempts at the tasks of a span, in the order in which they ended. */
function attemptsOf(span) {
  const first = spans.first[span], last = first + spans.count[span], stage = spans.stage[span];
  const overlaps = (i) => spans.stage[i] === stage && spans.first[i] < last && spans.first[i] + spans.count[i] > first;
  return [...indices.filter(overlaps)].sort((a, b) => moment(a, AT.end) - moment(b, AT.end));
}

/** Shows the details of an attempt, and of the other attempts of its tasks. */
function showDetail(span) {
  const detail = $("detail");
  detail.hidden = span === null;
  if (span === null) return;
  const first = spans.first[span], others = attemptsOf(span);
  detail.dataset.attempts = others.length;
  const attempts = others.slice(0, 20).flatMap((i) => {
    const error = errorOf(i);
    const facts = [
      ["outcome received at", duration(moment(i, AT.end))],
      ["on", `${workerOf(spans.lane[i])}${spans.cold[i] ? " (cold)" : ""}`],
      report.requests[i] ? ["request ID", report.requests[i]] : null,
      ["total", duration(total(i))],
      ...PHASES.map(({ name }, phase) => (took(i, phase) ? [name, duration(took(i, phase))] : null)),
      spans.bytesIn[i] || spans.bytesOut[i] ? ["data", `${bytes(spans.bytesIn[i])} in, ${bytes(spans.bytesOut[i])} out`] : null,
      spans.peak[i] ? ["peak memory of the worker", `${number(spans.peak[i])} MB`] : null,
    ].filter(Boolean);
    const bar = element("div", { className: "attempt", "aria-hidden": "true" });
    PHASES.forEach((_, phase) => {
      if (!took(i, phase)) return;
      const part = swatch(PHASES[phase].name);
      part.className = "";
      part.style.flex = `${took(i, phase) / total(i)} 1 0`;
      part.style.width = "0";
      bar.append(part);
    });
    const state = error ? `${ENDED[spans.ended[i]]}: ${error.name}` : ENDED[spans.ended[i]];
    return [
      element("h4", {}, `Attempt ${spans.attempt[i]}${spans.count[i] > 1 ? `, tasks ${tasksOf(i)} together` : ""}: `, element("span", { className: spans.ended[i] === FAILED ? "bad" : "" }, state)),
      bar,
      element("dl", {}, ...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
      error ? element("pre", {}, error.message) : null,
    ];
  });
  const output = report.outputs[spans.stage[span]]?.[first];
  detail.replaceChildren(
    element("div", { className: "bar" },
      element("h3", {}, `${nameOf(span)}${spans.count[span] > 1 ? `, a batch of ${number(spans.count[span])}` : ""}`),
      element("button", { type: "button", onclick: closeDetail }, "Close")),
    ...attempts.filter(Boolean),
    ...(output ? [element("h4", {}, "Output"), element("pre", {}, output)] : []),
    element("p", { className: "note" }, "To run the task on this machine: ", element("code", {}, `cargo wren replay ${jobOf(span).id} ${first}`)),
  );
  paintSwatches();
}

const SVG = "http://www.w3.org/2000/svg";
function svg(name, attributes, text) {
  const created = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value);
  if (text !== undefined) created.textContent = text;
  return created;
}

function histogram(phase, { values, max, p50, p99, count }, logarithmic) {
  const [width, height, base, bars] = [260, 96, 76, 40];
  let least = Infinity, zeros = 0;
  values.forEach((value, i) => {
    if (value > 0) least = Math.min(least, value);
    else zeros += spans.count[i];
  });
  const low = logarithmic ? Math.floor(Math.log10(least)) : 0;
  const high = logarithmic ? Math.max(low + 1, Math.ceil(Math.log10(max))) : max;
  const place = (value) => (((logarithmic ? Math.log10(value) : value) - low) / (high - low)) * bars;
  const heights = new Float64Array(bars);
  values.forEach((value, i) => {
    if (value > 0) heights[Math.min(bars - 1, Math.floor(place(value)))] += spans.count[i];
  });
  const highest = Math.max(...heights);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${PHASES[phase].name}: median ${duration(p50)}, 99th percentile ${duration(p99)}, maximum ${duration(max)}` });
  heights.forEach((n, bar) => {
    if (!n) return;
    const tall = Math.max(1, (n / highest) * (base - 8));
    const one = svg("rect", { x: (bar / bars) * width, y: base - tall, width: width / bars - 0.8, height: tall });
    one.append(svg("title", {}, plural(n, "task")));
    chart.append(one);
  });
  chart.append(svg("line", { x1: 0, x2: width, y1: base, y2: base }));
  if (p50 > 0) {
    const x = (place(p50) / bars) * width;
    chart.append(svg("line", { class: "median", x1: x, x2: x, y1: 2, y2: base }));
  }
  const marks = logarithmic ? Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)) : [0, max / 2, max];
  const every = Math.ceil(marks.length / 5);
  marks.filter((_, i) => i % every === 0).forEach((mark) => {
    const x = mark === 0 ? 0 : (place(mark) / bars) * width;
    const anchor = x < 8 ? "start" : x > width - 8 ? "end" : "middle";
    chart.append(svg("text", { x, y: height - 4, "text-anchor": anchor }, mark === 0 ? "0" : duration(mark)));
  });
  const box = element("div", {}, element("h3", {}, swatch(PHASES[phase].name), PHASES[phase].name),
    element("p", { className: "note" }, `p50 ${duration(p50)} · p99 ${duration(p99)}${zeros ? ` · ${percent(zeros / count)} took no time` : ""}`), chart);
  box.style.setProperty("--fill", `var(--${PHASES[phase].name}, var(--other))`);
  return box;
}

function showHistograms(all) {
  const boxes = all.flatMap((phase, i) => (phase.max > 0 ? [histogram(i, phase, view.isLogarithmic)] : []));
  $("histograms").replaceChildren(...boxes);
  $("log").setAttribute("aria-pressed", view.isLogarithmic);
  $("linear").setAttribute("aria-pressed", !view.isLogarithmic);
}
