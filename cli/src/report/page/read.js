// Reads the page's data into arrays, formats numbers and texts, and creates elements.

const [DONE, RETRIED, FAILED] = [0, 1, 2];
const ENDED = ["done", "retried", "failed"];
/** Maximum number of rows in a table. */
const SHOWN = 100;

/** The job's data as it was read last. `showReport` replaces all of it. */
let report, spans, PHASES;
/** Index of each phase by its name; `AT.end` is that of the last moment. */
let AT;
/** The whole time of the job. */
let begin, end;
/** The indices of all spans, and of those of tasks that failed or were retried. */
let indices, unsuccessful;
/** The spans in several orders, each sorted when it is first used: sorting takes most of the time of a large page. */
let orders;
const ORDERS = {
  start: (a, b) => moment(a, AT.fetch) - moment(b, AT.fetch) || a - b,
  lane: (a, b) => spans.lane[a] - spans.lane[b] || moment(a, AT.fetch) - moment(b, AT.fetch),
  slowness: (a, b) => tookPerTask(b, AT.compute) - tookPerTask(a, AT.compute) || a - b,
};
const ordered = (name) => (orders[name] ??= indices.slice().sort(ORDERS[name]));

/** Reads the data of `showReport`. */
function load(data) {
  report = data;
  report.summary ??= {};
  PHASES = report.phases;
  AT = Object.fromEntries(PHASES.map(({ name }, at) => [name, at]));
  AT.end = PHASES.length;
  spans = read(report.spans);
  begin = Math.min(...report.runs.map((run) => run[0]), 0);
  end = Math.max(...report.runs.map((run) => run[1]), begin + 1);
  indices = Uint32Array.from({ length: spans.length }, (_, i) => i);
  orders = {};
  unsuccessful = indices.filter((span) => spans.ended[span] !== DONE);
}

/** Decodes numbers in LEB128, in base64. */
function column(text, length, Type = Float64Array) {
  const bytes = atob(text);
  const numbers = new Type(length);
  for (let at = 0, i = 0; i < length; i++) {
    let byte, scale = 1, number = 0;
    do {
      byte = bytes.charCodeAt(at++);
      number += (byte & 127) * scale;
      scale *= 128;
    } while (byte & 128);
    numbers[i] = number;
  }
  return numbers;
}

function read(columns) {
  const { length } = columns;
  // The moments of span i, one more than phases, start at index `stride * i`.
  const stride = PHASES.length + 1;
  const moments = new Float64Array(stride * length);
  const queued = column(columns.queued, length);
  for (let i = 0; i < length; i++) moments[stride * i] = queued[i];
  columns.took.forEach((text, phase) => {
    const took = column(text, length);
    for (let i = 0; i < length; i++) moments[stride * i + phase + 1] = moments[stride * i + phase] + took[i];
  });
  const stage = new Uint32Array(length);
  report.stages.forEach(({ spans: [from, to] }, at) => stage.fill(at, from, to));
  const ended = column(columns.ended, length, Uint8Array);
  return {
    length,
    stride,
    moments,
    stage,
    ended: ended.map((bits) => bits >> 1),
    cold: ended.map((bits) => bits & 1),
    first: column(columns.first, length),
    count: column(columns.count, length),
    attempt: column(columns.attempt, length, Uint32Array),
    run: column(columns.run, length, Uint32Array),
    lane: column(columns.lane, length, Uint32Array),
    // Index in `report.errors`, plus one; 0 if there is no error.
    error: column(columns.error, length, Uint32Array),
    bytesIn: column(columns.bytes_in, length),
    bytesOut: column(columns.bytes_out, length),
    peak: column(columns.peak_mb, length),
  };
}

const moment = (span, at) => spans.moments[spans.stride * span + at];
const took = (span, phase) => moment(span, phase + 1) - moment(span, phase);
const total = (span) => moment(span, AT.end) - moment(span, 0);
/** Duration of a phase for one task of the span. */
const tookPerTask = (span, phase) => (AT.decode <= phase && phase <= AT.encode ? took(span, phase) / spans.count[span] : took(span, phase));

/** Formats by their maximum number of decimals. `toLocaleString` would create one for each number, which is slow. */
const formats = [];

function rounded(n, decimals) {
  formats[decimals] ??= new Intl.NumberFormat("en-US", { maximumFractionDigits: decimals });
  return formats[decimals].format(n);
}

function number(n) {
  return rounded(n, 0);
}

function digits(n) {
  return rounded(n, n < 10 ? 2 : n < 100 ? 1 : 0);
}

function duration(us) {
  if (us < 999.5) return `${number(us)} µs`;
  if (us < 999_500) return `${digits(us / 1e3)} ms`;
  if (us < 120e6) return `${digits(us / 1e6)} s`;
  const seconds = Math.round(us / 1e6);
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${number(Math.floor(seconds / 3600))} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function bytes(n) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) if (n >= size) return `${digits(n / size)} ${unit}`;
  return `${number(n)} B`;
}

const percent = (share) => (share > 0 && share < 0.00005 ? "under 0.01%" : `${digits(100 * share)}%`);

function plural(n, one, many = `${one}s`) {
  return `${number(n)} ${n === 1 ? one : many}`;
}

function tasksOf(span) {
  const first = spans.first[span], count = spans.count[span];
  return count === 1 ? number(first) : `${number(first)}–${number(first + count - 1)}`;
}

/** Returns the job that ran a span: that of its stage, if there are several. */
const jobOf = (span) => report.stages[spans.stage[span]]?.job ?? report.job;

/** Returns what a span is called in a sentence: "Task 7" or "Tasks 0–9", and its stage, if there are several. */
function nameOf(span) {
  const stage = report.stages[spans.stage[span]];
  return `${spans.count[span] > 1 ? "Tasks" : "Task"} ${tasksOf(span)}${stage ? ` of ${stage.name}` : ""}`;
}

function workerOf(lane) {
  const [instance, worker] = report.lanes[lane];
  return instance === null ? `worker ${worker}` : `instance ${instance.slice(0, 8)}`;
}

function errorOf(span) {
  const error = spans.error[span];
  return error === 0 ? null : { name: report.errors[error - 1][0], message: report.errors[error - 1][1] };
}

/** Returns the first line of a text, cut if it is long. */
function firstLine(text) {
  const [first, ...rest] = text.trim().split("\n");
  return first.length > 240 ? `${first.slice(0, 240)}…` : `${first}${rest.length ? " …" : ""}`;
}

const $ = (id) => document.getElementById(id);

/** Creates an element. Children that are not elements become text, whatever they contain. */
function element(name, properties = {}, ...children) {
  const created = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "scope" || key === "role") created.setAttribute(key, value);
    else created[key] = value;
  }
  created.append(...children.filter((child) => child !== null && child !== undefined));
  return created;
}

/** Returns the first index in sorted `numbers` whose number exceeds `limit`. */
function after(numbers, limit) {
  let low = 0, high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] > limit) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Returns the `count` spans with the largest values, the largest first. */
function largest(value, count) {
  const values = Float64Array.from(indices, value);
  // Numbers alone are sorted much faster than spans by their numbers.
  const least = values.slice().sort()[Math.max(0, values.length - count)];
  const above = indices.filter((span) => values[span] > least);
  const equal = indices.filter((span) => values[span] === least).subarray(0, count - above.length);
  return [...above, ...equal].sort((a, b) => values[b] - values[a] || a - b);
}

/** Returns statistics of a phase's durations. Each task of a batch is counted. */
function statistics(phase) {
  const values = new Float64Array(spans.length);
  let count = 0, sum = 0, squares = 0, batches = false;
  for (let i = 0; i < spans.length; i++) {
    const value = tookPerTask(i, phase), weight = spans.count[i];
    values[i] = value;
    batches ||= weight !== 1;
    count += weight;
    sum += weight * value;
  }
  const mean = count ? sum / count : 0;
  for (let i = 0; i < spans.length; i++) squares += spans.count[i] * (values[i] - mean) ** 2;
  let quantile;
  if (batches) {
    const order = Uint32Array.from(values.keys()).sort((a, b) => values[a] - values[b]);
    const counted = new Float64Array(order.length);
    let reached = 0;
    order.forEach((span, at) => (counted[at] = reached += spans.count[span]));
    quantile = (q) => values[order[Math.min(after(counted, Math.ceil(q * count) - 1), order.length - 1)]] ?? 0;
  } else {
    const sorted = values.slice().sort();
    quantile = (q) => sorted[Math.max(0, Math.ceil(q * count) - 1)] ?? 0;
  }
  const std = count > 1 ? Math.sqrt(squares / (count - 1)) : 0;
  return { name: PHASES[phase].name, count, sum, mean, std, p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99), max: quantile(1), values };
}
