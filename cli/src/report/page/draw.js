// Draws the timeline, and the time axis that it shares with the strips below it.

const LEFT = 78, RIGHT = 12, AXIS = 22, TALLEST = 24;
const begin = Math.min(...report.runs.map((run) => run[0]), 0);
const end = Math.max(...report.runs.map((run) => run[1]), begin + 1);
const view = { from: begin, to: end, byWorker: false, alone: null, selected: null, focused: null };

/** The colours of the current theme. */
let colours = {};
function readColours() {
  const probe = document.body.appendChild(element("span", { hidden: true }));
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  for (const name of ["paper", "panel", "ink", "soft", "line", "idle", "accent", "failed"]) colours[name] = read(name);
  colours.phases = PHASES.map(({ name }) => read(name));
  // In the byte order of image pixels, without opacity.
  colours.packed = colours.phases.map((colour) => colour.match(/\d+/g).slice(0, 3).reduceRight((all, n) => (all << 8) | n, 0));
  colours.patterns = colours.phases.map((colour, phase) => hatched(colour, PHASES[phase].name));
  colours.swatches = Object.fromEntries(PHASES.map(({ name }, phase) => [name, colours.patterns[phase]]));
  for (const name of IDLE) colours.swatches[name] = hatched(colours.idle, name);
  probe.remove();
}

/** The parts of the wall time that are not phases. */
const IDLE = ["concurrency", "tail", "pause", "driver"];

/** Patterns that distinguish the parts without colours: lines and dots in a tile of 8 × 8 pixels. */
const LINES = {
  start: [[-2, 10, 10, -2], [-2, 2, 2, -2], [6, 10, 10, 6]],
  setup: [[0, 8, 8, 0], [0, 0, 8, 8]],
  fetch: [[0, 2.5, 8, 2.5], [0, 6.5, 8, 6.5]],
  commit: [[2.5, 0, 2.5, 8], [6.5, 0, 6.5, 8]],
  observe: [[-2, -2, 10, 10], [6, -2, 10, 2], [-2, 6, 2, 10]],
  concurrency: [[0, 4.5, 8, 4.5]],
  tail: [[4.5, 0, 4.5, 8]],
  pause: [[0, 4.5, 8, 4.5], [4.5, 0, 4.5, 8]],
};
const DOTS = { turn: [[1, 1], [5, 5]], driver: [[3, 3]] };

function hatched(colour, name) {
  const tile = element("canvas", { width: 8, height: 8 });
  const pen = tile.getContext("2d");
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 8, 8);
  pen.strokeStyle = pen.fillStyle = "rgb(0 0 0 / 45%)";
  for (const [x0, y0, x1, y1] of LINES[name] ?? []) {
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  }
  for (const [x, y] of DOTS[name] ?? []) pen.fillRect(x, y, 2, 2);
  return pen.createPattern(tile, "repeat");
}

/** Fills a canvas with the pattern of a phase or of another part of the wall time. */
function paintSwatch(canvas) {
  canvas.width = Math.max(1, canvas.clientWidth || 18);
  canvas.height = Math.max(1, canvas.clientHeight || 13);
  const pen = canvas.getContext("2d");
  pen.fillStyle = colours.swatches[canvas.dataset.swatch];
  pen.fillRect(0, 0, canvas.width, canvas.height);
}

function swatch(name) {
  return element("canvas", { className: "swatch", "data-swatch": name, "aria-hidden": "true" });
}

function paintSwatches() {
  document.querySelectorAll("canvas[data-swatch]").forEach(paintSwatch);
}

/** The indices of all spans, and the two orders in which they are drawn, from top to bottom. */
const indices = Uint32Array.from({ length: spans.length }, (_, i) => i);
const byStart = indices.slice().sort((a, b) => moment(a, 3) - moment(b, 3) || a - b);
const byWorker = indices.slice().sort((a, b) => spans.lane[a] - spans.lane[b] || moment(a, 3) - moment(b, 3));
const shown = new Uint32Array(spans.length);
/** The band in which each span of `shown` is drawn. A band contains one or more rows. */
let rows = { count: 0, shown: 0, band: new Uint32Array(spans.length), bands: 0, height: 0 };

/** Selects the spans in the view's range, and assigns them to bands. */
function arrange(height) {
  // By start, an attempt is visible from when it was sent; by worker, only while its worker was busy with it.
  const [first, last] = view.byWorker ? [2, 7] : [1, 8];
  const { moments } = spans;
  let count = 0;
  for (const span of view.byWorker ? byWorker : byStart) {
    if (moments[9 * span + first] <= view.to && moments[9 * span + last] >= view.from) shown[count++] = span;
  }
  const lines = view.byWorker ? report.lanes.length : count;
  const bands = Math.max(1, Math.min(lines, Math.floor(height)));
  for (let at = 0; at < count; at++) {
    const line = view.byWorker ? spans.lane[shown[at]] : at;
    rows.band[at] = Math.floor((line * bands) / lines);
  }
  rows = { ...rows, count: lines, shown: count, bands, height: Math.min(view.byWorker ? 3 * TALLEST : TALLEST, height / bands) };
}

/** Clears a canvas, and returns its context in CSS pixels and its size. */
function pen(canvas) {
  const [width, height, scale] = [canvas.clientWidth, canvas.clientHeight, window.devicePixelRatio || 1];
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = '11.5px system-ui, -apple-system, "Segoe UI", sans-serif';
  return { pen, width, height, plot: Math.max(1, width - LEFT - RIGHT) };
}

const xOf = (time, plot) => LEFT + ((time - view.from) / (view.to - view.from)) * plot;
const timeAt = (x, plot) => view.from + ((x - LEFT) / plot) * (view.to - view.from);

/** Returns the distance between the marks of an axis that has about `most` marks. */
function step(range, most) {
  const seconds = [60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400].map((s) => s * 1e6);
  const least = range / most;
  if (least > 30e6) return seconds.find((s) => s >= least) ?? Math.ceil(least / 86400e6) * 86400e6;
  const power = 10 ** Math.floor(Math.log10(least));
  return Math.max(1, power * [1, 2, 5, 10].find((n) => n * power >= least));
}

function tick(time, step) {
  if (step >= 60e6) {
    const minutes = Math.round(time / 60e6);
    return minutes < 60 || time === 0 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60}`;
  }
  const [unit, size] = view.to >= 1e6 ? ["s", 1e6] : view.to >= 1e3 ? ["ms", 1e3] : ["µs", 1];
  return `${(time / size).toLocaleString("en-US", { maximumFractionDigits: Math.max(0, Math.ceil(-Math.log10(step / size) - 1e-9)) })} ${unit}`;
}

function drawGrid({ pen, height, plot }, labels) {
  const every = step(view.to - view.from, plot / 95);
  pen.strokeStyle = colours.line;
  pen.fillStyle = colours.soft;
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  pen.lineWidth = 1;
  for (let time = Math.ceil(view.from / every) * every; time <= view.to; time += every) {
    const x = Math.round(xOf(time, plot)) + 0.5;
    pen.beginPath();
    pen.moveTo(x, 0);
    pen.lineTo(x, height - AXIS + 4);
    pen.stroke();
    if (labels) pen.fillText(tick(time, every), Math.min(x, LEFT + plot - 14), height - 6);
  }
  // The moments at which the job was resumed.
  pen.strokeStyle = colours.ink;
  pen.setLineDash([4, 3]);
  report.runs.forEach(([time], run) => {
    if (run === 0 || time < view.from || time > view.to) return;
    const x = Math.round(xOf(time, plot)) + 0.5;
    pen.beginPath();
    pen.moveTo(x, 0);
    pen.lineTo(x, height - AXIS);
    pen.stroke();
    pen.textAlign = "left";
    if (labels) pen.fillText(`run ${run + 1}`, x + 4, 11);
  });
  pen.setLineDash([]);
}

/**
 * Weights of the phases where several attempts share a pixel. Waiting has a low weight, because many waiting
 * attempts would hide the few that have a worker.
 */
const WEIGHTS = [0.15, 0.3, 1, 1, 0.3, 1, 1, 0.3];
/** Draws attempts that are so thin that several share a pixel: each pixel shows the phase that covers most of it. */
function drawCovered(canvas, area) {
  const { pen, plot } = area;
  const width = Math.max(1, Math.floor(plot)), stride = width + 2;
  const { bands, shown: count, band: bandOf } = rows;
  const { from, to, alone, byWorker } = view;
  const { moments } = spans;
  const scale = width / (to - from);
  const [first, last] = byWorker ? [SETUP, COMMIT] : [QUEUE, 7];
  const full = byWorker ? 1 : rows.count / bands;
  // One row for each phase. The running sum of a row is how much of each pixel the phase covers.
  const cover = new Float32Array(8 * stride);
  const covered = new Float32Array(width), most = new Float32Array(width), winner = new Int8Array(width);
  const image = pen.createImageData(width, bands);
  const pixels = new Uint32Array(image.data.buffer);
  for (let at = 0, band = 0; band < bands; band++) {
    let present = 0;
    for (; at < count && bandOf[at] === band; at++) {
      const base = 9 * shown[at];
      for (let phase = first; phase <= last; phase++) {
        let a = (moments[base + phase] - from) * scale, b = (moments[base + phase + 1] - from) * scale;
        if (b <= 0 || a >= width || a === b) continue;
        a = Math.max(a, 0);
        b = Math.min(b, width);
        const left = Math.floor(a), right = Math.floor(b), row = phase * stride;
        present |= 1 << phase;
        if (left === right) {
          cover[row + left] += b - a;
          cover[row + left + 1] -= b - a;
        } else {
          cover[row + left] += left + 1 - a;
          cover[row + left + 1] += a - left;
          cover[row + right] -= right + 1 - b;
          cover[row + right + 1] -= b - right;
        }
      }
    }
    if (!present) continue;
    covered.fill(0);
    most.fill(0.003);
    winner.fill(-1);
    for (let phase = first; phase <= last; phase++) {
      if (!(present & (1 << phase))) continue;
      const weight = alone === null || alone === phase ? WEIGHTS[phase] : 0;
      let level = 0;
      for (let x = 0, place = phase * stride; x < width; x++, place++) {
        level += cover[place];
        covered[x] += level;
        if (weight * level > most[x]) {
          most[x] = weight * level;
          winner[x] = phase;
        }
      }
    }
    for (let x = 0, pixel = band * width; x < width; x++, pixel++) {
      if (winner[x] < 0) continue;
      const opacity = Math.min(255, 102 + (153 * covered[x]) / full);
      pixels[pixel] = colours.packed[winner[x]] | (opacity << 24);
    }
    cover.fill(0);
  }
  canvas.width = width;
  canvas.height = bands;
  canvas.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(canvas, LEFT, 0, width, bands * rows.height);
}

/** Draws attempts that have their own rows, hatched. */
function drawRows({ pen, plot }) {
  const gap = rows.height > 5 ? 1 : 0;
  const [first, last] = view.byWorker ? [SETUP, COMMIT] : [QUEUE, 7];
  for (let at = 0; at < rows.shown; at++) {
    const y = rows.band[at] * rows.height;
    for (let phase = first; phase <= last; phase++) {
      const from = Math.max(moment(shown[at], phase), view.from), to = Math.min(moment(shown[at], phase + 1), view.to);
      if (to <= from) continue;
      const x = xOf(from, plot);
      pen.globalAlpha = view.alone === null || view.alone === phase ? 1 : 0.12;
      pen.fillStyle = colours.patterns[phase];
      pen.fillRect(x, y, Math.max(0.4, xOf(to, plot) - x - (view.byWorker && phase === COMPUTE ? 0.6 : 0)), rows.height - gap);
    }
  }
  pen.globalAlpha = 1;
}

/** Draws a cross where a task failed, and a circle where it was retried. */
function drawMarks({ pen, plot }) {
  const seen = new Set();
  pen.lineWidth = 1.6;
  for (let at = 0; at < rows.shown; at++) {
    const ended = spans.ended[shown[at]];
    if (ended === DONE) continue;
    const time = moment(shown[at], view.byWorker ? 7 : 8);
    if (time < view.from || time > view.to) continue;
    const x = xOf(time, plot), y = (rows.band[at] + 0.5) * rows.height;
    const cell = `${ended} ${Math.round(x / 4)} ${Math.round(y / 4)}`;
    if (seen.has(cell)) continue;
    seen.add(cell);
    pen.beginPath();
    if (ended === FAILED) {
      pen.moveTo(x - 3.5, y - 3.5);
      pen.lineTo(x + 3.5, y + 3.5);
      pen.moveTo(x - 3.5, y + 3.5);
      pen.lineTo(x + 3.5, y - 3.5);
    } else {
      pen.arc(x, y, 3.4, 0, 7);
    }
    pen.strokeStyle = colours.paper;
    pen.lineWidth = 4;
    pen.stroke();
    pen.strokeStyle = ended === FAILED ? colours.failed : colours.ink;
    pen.lineWidth = 1.7;
    pen.stroke();
  }
}

function outline({ pen, plot }, span, colour) {
  const at = span === null ? -1 : shown.subarray(0, rows.shown).indexOf(span);
  if (at < 0) return;
  const x0 = Math.max(LEFT, xOf(moment(span, view.byWorker ? 2 : 0), plot)), x1 = Math.min(LEFT + plot, xOf(moment(span, view.byWorker ? 7 : 8), plot));
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  pen.strokeRect(x0 - 1, rows.band[at] * rows.height - 1, Math.max(3, x1 - x0) + 2, Math.max(3, rows.height) + 1);
  // An arrow points at the row, which may be thin.
  const y = (rows.band[at] + 0.5) * rows.height;
  pen.fillStyle = colour;
  pen.beginPath();
  pen.moveTo(LEFT, y - 6);
  pen.lineTo(LEFT + 9, y);
  pen.lineTo(LEFT, y + 6);
  pen.fill();
}

const buffer = document.createElement("canvas");

function drawTimeline(canvas) {
  const area = pen(canvas);
  const height = area.height - AXIS;
  arrange(height);
  drawGrid(area, true);
  area.pen.save();
  area.pen.beginPath();
  area.pen.rect(LEFT, 0, area.plot, height);
  area.pen.clip();
  if (rows.height >= 4 && rows.shown <= 2000) drawRows(area);
  else drawCovered(buffer, area);
  outline(area, view.focused, colours.ink);
  outline(area, view.selected, colours.accent);
  area.pen.restore();
  drawMarks(area);
  area.pen.fillStyle = colours.soft;
  area.pen.textAlign = "right";
  area.pen.textBaseline = "middle";
  if (view.byWorker) {
    const every = Math.max(1, Math.ceil((13 * rows.count) / (rows.bands * rows.height)));
    for (let lane = 0; lane < rows.count; lane += every) {
      const [instance, worker] = report.lanes[lane];
      area.pen.fillText(instance === null ? `worker ${worker}` : instance.slice(0, 8), LEFT - 6, Math.max(6, ((lane + 0.5) * rows.bands * rows.height) / rows.count));
    }
  } else {
    // Each row is an attempt; the labels count them from the top.
    const every = Math.max(1, step(rows.count, 6));
    for (let row = every; row <= rows.count; row += every) {
      area.pen.fillText(number(row), LEFT - 6, Math.min((row / rows.count) * rows.bands * rows.height, height - 5));
    }
  }
}
