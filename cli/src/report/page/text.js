// Shows the facts, tables, details and small charts.

function fact(name, value, more) {
  return element("div", {}, element("dt", {}, name), element("dd", {}, value, more ? element("small", {}, more) : null));
}

function showHeader() {
  const { job, summary } = report;
  $("title").textContent = job.name ?? job.function;
  const where = `${plural(job.workers, "worker")} (${job.backend})`;
  const when = new Date(job.started_unix_ms).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "medium" });
  const parts = [job.name ? job.function : null, `job ${job.id}`, where, when, job.runs > 1 ? plural(job.runs, "run") : null];
  $("about").textContent = parts.filter(Boolean).join(" · ");

  const wall = job.wall_s * 1e6;
  const speedUp = summary.speed_up ?? (job.runs === 1 && wall > 0 ? (job.compute_s * 1e6) / wall : null);
  const efficiency = summary.efficiency ?? (speedUp === null ? null : speedUp / job.workers);
  const rate = summary.throughput_per_s ?? (job.runs === 1 && wall > 0 ? job.done / job.wall_s : null);
  const sum = (column) => column.reduce((sum, n) => sum + n, 0);
  const [bytesIn, bytesOut] = [summary.bytes_in ?? sum(spans.bytesIn), summary.bytes_out ?? sum(spans.bytesOut)];
  const peak = summary.peak_mb ?? job.peak_mb, limit = summary.memory_mb ?? report.memory_mb;
  const usd = summary.usd ?? job.usd;
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
    usd ? fact("Cost", `$${usd.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 4 })}`) : null,
  ];
  $("facts").append(...facts.filter(Boolean));
  $("footer").textContent = `Created by cargo wren report ${report.wren}. Times are by the driver's clock${report.clock_error_us ? `; times from other machines are accurate to ${duration(report.clock_error_us)}` : ""}.`;
}

function showWhere() {
  const all = PHASES.map((_, phase) => statistics(phase));
  const path = report.summary.critical_path ?? {};
  $("sentences").append(...(path.sentences ?? []).map((sentence) => element("li", {}, sentence)));
  const whole = all.reduce((sum, phase) => sum + phase.sum, 0);
  const shares = path.shares ?? (whole ? all.map(({ name, sum }) => ({ name, share: sum / whole })) : []);
  $("shares").append(...sharesBar(shares.filter(({ share }) => share > 0), path.shares ? "Parts of the wall time" : "Parts of the total time of all attempts"));

  const head = ["Mean", "Std", "p50", "p95", "p99", "Max"];
  $("phases").append(
    element("thead", {}, element("tr", {}, element("th", { scope: "col", className: "text" }, "Phase"), element("th", { scope: "col", className: "text" }), element("th", { scope: "col" }, "Count"), ...head.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...phaseRows(all)),
  );
  $("phases-note").textContent = spans.length ? "" : "No attempt has ended yet.";
  return all;
}

/** Returns the rows of the summary's phases; if it has none, those of the spans. */
function phaseRows(all) {
  const computed = all.map((one) => ({ name: one.name, count: one.count, mean_us: one.mean, std_us: one.std, p50_us: one.p50, p95_us: one.p95, p99_us: one.p99, max_us: one.max }));
  return (report.summary.phases ?? computed).map((row) => {
    const phase = PHASES.find(({ name }) => row.name.split(/\W/)[0] === name);
    const numbers = ["mean_us", "std_us", "p50_us", "p95_us", "p99_us", "max_us"].map((key) => row[key]);
    return element("tr", { className: row.max_us ? "" : "none" },
      element("th", { scope: "row" }, swatch(phase.name), row.name),
      element("td", { className: "text" }, element("span", { className: "meaning" }, phase.meaning)),
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
  return element("button", { type: "button", className: "task", onclick: () => select(span, true) }, tasksOf(span));
}

function table(id, heads, rows) {
  const head = heads.map(([name, className]) => element("th", { scope: "col", className: className ?? "" }, name));
  $(id).replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}

function showFailures() {
  const failures = [...indices.filter((span) => spans.ended[span] === FAILED), ...indices.filter((span) => spans.ended[span] === RETRIED)];
  if (!failures.length) {
    $("failures").textContent = "No failures";
    return;
  }
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
  table("failed", [["Tasks"], ["Attempt"], ["Outcome"], ["Cause"], ["Time"], ["Worker"], ["Message"]], failures.slice(0, SHOWN).map((span) => {
    const error = errorOf(span);
    const [first, ...rest] = (error?.message ?? "").trim().split("\n");
    return element("tr", {},
      element("td", {}, taskButton(span)),
      element("td", {}, number(spans.attempt[span])),
      element("td", { className: spans.ended[span] === FAILED ? "bad" : "" }, spans.ended[span] === FAILED ? "× failed" : "○ retried"),
      element("td", {}, error?.name ?? ""),
      element("td", {}, duration(moment(span, 8))),
      element("td", {}, workerOf(spans.lane[span])),
      element("td", { className: "wide" }, first.length > 240 ? `${first.slice(0, 240)}…` : first, rest.length ? " …" : ""));
  }));
  if (failures.length > SHOWN) $("failed-note").textContent = `and ${number(failures.length - SHOWN)} more, which only the timeline shows`;
}

function showSlowest() {
  const by = Number($("slowest-by").value);
  const value = by < 0 ? total : (span) => took(span, by);
  const order = indices.slice().sort((a, b) => value(b) - value(a) || a - b).subarray(0, SHOWN);
  const heads = [["Tasks", "text"], ["Attempt"], ["Outcome", "text"], ["Worker", "text"], ["Total"]];
  for (const { name } of PHASES) heads.push([name[0].toUpperCase() + name.slice(1)]);
  table("slowest", heads, [...order].map((span) => element("tr", {},
    element("td", { className: "text" }, taskButton(span)),
    element("td", {}, number(spans.attempt[span])),
    element("td", { className: `text ${spans.ended[span] === FAILED ? "bad" : ""}` }, ENDED[spans.ended[span]]),
    element("td", { className: "text" }, workerOf(spans.lane[span]), spans.cold[span] ? " (cold)" : ""),
    element("td", {}, duration(total(span))),
    ...PHASES.map((_, phase) => element("td", {}, took(span, phase) ? duration(took(span, phase)) : "0")))));
  const rest = spans.length - order.length;
  $("slowest-note").textContent = rest > 0 ? `${number(order.length)} of ${plural(spans.length, "attempt")}` : "";
}

/** Shows the details of an attempt, and of the other attempts of its tasks. */
function showDetail(span) {
  const detail = $("detail");
  detail.hidden = span === null;
  if (span === null) return;
  const first = spans.first[span], last = first + spans.count[span];
  const others = [...indices.filter((i) => spans.first[i] < last && spans.first[i] + spans.count[i] > first)];
  others.sort((a, b) => moment(a, 8) - moment(b, 8));
  const attempts = others.slice(0, 20).flatMap((i) => {
    const error = errorOf(i);
    const facts = [
      ["outcome received at", duration(moment(i, 8))],
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
  const output = report.outputs[first];
  detail.replaceChildren(
    element("div", { className: "bar" },
      element("h3", {}, spans.count[span] > 1 ? `Tasks ${tasksOf(span)}, a batch of ${number(spans.count[span])}` : `Task ${tasksOf(span)}`),
      element("button", { type: "button", onclick: () => select(null) }, "Close")),
    ...attempts.filter(Boolean),
    ...(output ? [element("h4", {}, "Output"), element("pre", {}, output)] : []),
    element("p", { className: "note" }, "To run the task on this machine: ", element("code", {}, `cargo wren replay ${report.job.id} ${first}`)),
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
  box.style.setProperty("--fill", `var(--${PHASES[phase].name})`);
  return box;
}

function showHistograms(all, logarithmic) {
  const boxes = all.flatMap((phase, i) => (phase.max > 0 ? [histogram(i, phase, logarithmic)] : []));
  $("histograms").replaceChildren(...boxes);
  $("log").setAttribute("aria-pressed", logarithmic);
  $("linear").setAttribute("aria-pressed", !logarithmic);
  paintSwatches();
}
