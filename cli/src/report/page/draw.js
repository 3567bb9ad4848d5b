// Draws the timeline, and the time axis that it shares with the strips below it.

const LEFT = 78, RIGHT = 12, AXIS = 22;

/** The colours of the current theme. */
let colours = {};
function readColours() {
  const probe = document.body.appendChild(element("span", { hidden: true }));
  const read = (name) => {
    probe.style.color = `var(--${name}, var(--other))`;
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
  decode: [[-2, 10, 10, -2], [0, 4.5, 8, 4.5]],
  encode: [[-2, -2, 10, 10], [4.5, 0, 4.5, 8]],
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
  return `${rounded(time / size, Math.max(0, Math.ceil(-Math.log10(step / size) - 1e-9)))} ${unit}`;
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
}

/** Draws the moments at which the job was resumed, or its stages started. */
function drawStarts({ pen, height, plot }) {
  pen.strokeStyle = colours.ink;
  pen.lineWidth = 1;
  pen.textBaseline = "alphabetic";
  pen.setLineDash([4, 3]);
  const resumed = report.runs.slice(1).map(([time], run) => [time, `run ${run + 2}`]);
  const marks = report.stages.length ? report.stages.map(({ time, name }) => [time[0], name]) : resumed;
  let free = -Infinity;
  marks.forEach(([time, name]) => {
    if (time < view.from || time > view.to) return;
    const x = Math.round(xOf(time, plot)) + 0.5;
    pen.beginPath();
    pen.moveTo(x, 0);
    pen.lineTo(x, height - AXIS);
    pen.stroke();
    pen.textAlign = "left";
    // A name that would cover the previous one is left out.
    if (x < free) return;
    pen.save();
    pen.setLineDash([]);
    pen.strokeStyle = colours.paper;
    pen.lineWidth = 3;
    pen.strokeText(name, x + 4, 11);
    pen.fillStyle = colours.ink;
    pen.fillText(name, x + 4, 11);
    pen.restore();
    free = x + 12 + pen.measureText(name).width;
  });
  pen.setLineDash([]);
}

/**
 * Weights of the phases where several attempts share a pixel. Waiting has a low weight, because many waiting
 * attempts would hide the few that have a worker.
 */
const WEIGHTS = { queue: 0.15, start: 0.3, turn: 0.3, observe: 0.3 };
/** Draws attempts that are so thin that several share a pixel: each pixel shows the phase that covers most of it. */
function drawCovered(canvas, area) {
  const { pen, plot } = area;
  const width = Math.max(1, Math.floor(plot)), stride = width + 2;
  const { bands, shown: count } = rows;
  const { from, to, alone } = view;
  const { moments, stride: perSpan } = spans;
  const scale = width / (to - from);
  const [first, last] = drawn();
  const full = view.by === "start" ? rows.count / bands : 1;
  const weights = PHASES.map(({ name }) => WEIGHTS[name] ?? 1);
  // One row for each phase. The running sum of a row is how much of each pixel the phase covers.
  const cover = new Float32Array(PHASES.length * stride);
  const covered = new Float32Array(width), most = new Float32Array(width), winner = new Int8Array(width);
  const image = pen.createImageData(width, bands);
  const pixels = new Uint32Array(image.data.buffer);
  const bandOf = band;
  for (let at = 0, line = 0; line < bands; line++) {
    let present = 0;
    for (; at < count && bandOf[at] === line; at++) {
      const base = perSpan * shown[at];
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
      const weight = alone === null || alone === phase ? weights[phase] : 0;
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
    for (let x = 0, pixel = line * width; x < width; x++, pixel++) {
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
  const [first, last] = drawn(), byWorker = view.by === "worker";
  for (let at = 0; at < rows.shown; at++) {
    const y = band[at] * rows.height;
    for (let phase = first; phase <= last; phase++) {
      const from = Math.max(moment(shown[at], phase), view.from), to = Math.min(moment(shown[at], phase + 1), view.to);
      if (to <= from) continue;
      const x = xOf(from, plot);
      pen.globalAlpha = view.alone === null || view.alone === phase ? 1 : 0.12;
      pen.fillStyle = colours.patterns[phase];
      pen.fillRect(x, y, Math.max(0.4, xOf(to, plot) - x - (byWorker && phase === AT.compute ? 0.6 : 0)), rows.height - gap);
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
    const time = moment(shown[at], drawn()[1] + 1);
    if (time < view.from || time > view.to) continue;
    const x = xOf(time, plot), y = (band[at] + 0.5) * rows.height;
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
  const [first, last] = drawn();
  const x0 = Math.max(LEFT, xOf(moment(span, first), plot));
  const x1 = Math.min(LEFT + plot, xOf(moment(span, last + 1), plot));
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  pen.strokeRect(x0 - 1, band[at] * rows.height - 1, Math.max(3, x1 - x0) + 2, Math.max(3, rows.height) + 1);
  // An arrow points at the row, which may be thin.
  const y = (band[at] + 0.5) * rows.height;
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
  // Attempts of one stage run at the same time, so they share pixels.
  if (rows.height >= 4 && rows.shown <= 2000 && view.by !== "stage") drawRows(area);
  else drawCovered(buffer, area);
  outline(area, view.focused, colours.ink);
  outline(area, view.selected, colours.accent);
  area.pen.restore();
  drawStarts(area);
  drawMarks(area);
  area.pen.fillStyle = colours.soft;
  area.pen.textAlign = "right";
  area.pen.textBaseline = "middle";
  labelRows(area, height);
}

function labelRows({ pen }, height) {
  if (view.by === "start") {
    // Each row is an attempt; the labels count those in the range from the top, drawn or not.
    const every = Math.max(1, step(rows.of, 6)), numbers = ordinal.subarray(0, rows.shown);
    for (let nth = every; nth <= rows.of; nth += every) {
      const row = after(numbers, nth - 1) + 1;
      pen.fillText(number(nth), LEFT - 6, Math.min((row / rows.count) * rows.bands * rows.height, height - 5));
    }
    return;
  }
  const every = Math.max(1, Math.ceil((13 * rows.count) / (rows.bands * rows.height)));
  for (let lane = 0; lane < rows.count; lane += every) {
    const name = view.by === "stage" ? report.stages[lane].name : laneLabel(lane);
    pen.fillText(name.slice(0, 11), LEFT - 6, Math.max(6, ((lane + 0.5) * rows.bands * rows.height) / rows.count));
  }
}

function laneLabel(lane) {
  const [instance, worker] = report.lanes[lane];
  return instance === null ? `worker ${worker}` : instance.slice(0, 8);
}
