// Draws the strips below the timeline: the numbers of running functions and of waiting tasks over time.

/** Returns the total weight of the spans that are between two of their moments, as a step function of time. */
function levels(from, to, weight) {
  const changes = [];
  for (let i = 0; i < spans.length; i++) {
    if (moment(i, from) === moment(i, to)) continue;
    changes.push([moment(i, from), weight(i)], [moment(i, to), -weight(i)]);
  }
  changes.sort((a, b) => a[0] - b[0]);
  const times = new Float64Array(changes.length), level = new Float64Array(changes.length), below = new Float64Array(changes.length);
  let now = 0, sum = 0, max = 0;
  changes.forEach(([time, change], at) => {
    if (at > 0) sum += now * (time - times[at - 1]);
    now += change;
    times[at] = time;
    level[at] = now;
    below[at] = sum;
    max = Math.max(max, now);
  });
  const integral = (time) => {
    const at = after(times, time) - 1;
    return at < 0 ? 0 : below[at] + level[at] * (time - times[at]);
  };
  return {
    max,
    at: (time) => level[after(times, time) - 1] ?? 0,
    mean: (a, b) => (integral(b) - integral(a)) / (b - a),
  };
}

let strips;
function loadStrips() {
  const running = levels(AT.decode, AT.commit, () => 1);
  const waiting = levels(AT.queue, AT.setup, (i) => spans.count[i]);
  strips = {
    computing: {
      ...running, title: "running functions", limit: report.job.workers, colour: () => colours.phases[AT.compute],
    },
    waiting: { ...waiting, title: "tasks that wait for a worker", limit: 0, colour: () => colours.phases[AT.turn] },
  };
}

function drawStrip(canvas, strip) {
  const area = pen(canvas);
  const { pen: p, plot } = area;
  const [top, bottom] = [18, area.height - 4];
  const highest = Math.max(strip.max, strip.limit, 1);
  const yOf = (level) => bottom - (level / highest) * (bottom - top);
  drawGrid({ ...area, height: area.height + AXIS }, false);
  p.fillStyle = strip.colour();
  p.beginPath();
  p.moveTo(LEFT, bottom);
  for (let x = 0; x < plot; x++) {
    const y = yOf(Math.max(0, strip.mean(timeAt(LEFT + x, plot), timeAt(LEFT + x + 1, plot))));
    p.lineTo(LEFT + x, y);
    p.lineTo(LEFT + x + 1, y);
  }
  p.lineTo(LEFT + plot, bottom);
  p.fill();
  p.strokeStyle = colours.soft;
  p.lineWidth = 1;
  p.strokeRect(LEFT, bottom + 0.5, plot, 0);
  p.fillStyle = colours.ink;
  p.textAlign = "left";
  p.fillText(strip.title, LEFT, 10);
  p.textBaseline = "middle";
  p.textAlign = "right";
  p.fillStyle = colours.soft;
  p.fillText(number(highest), LEFT - 6, yOf(highest) + 1);
  p.fillText("0", LEFT - 6, bottom - 3);
  if (strip.limit) {
    p.setLineDash([5, 4]);
    p.beginPath();
    p.moveTo(LEFT, yOf(strip.limit));
    p.lineTo(LEFT + plot, yOf(strip.limit));
    p.stroke();
    p.setLineDash([]);
    p.textBaseline = "alphabetic";
    p.fillText(plural(strip.limit, "worker"), LEFT + plot, Math.max(10, yOf(strip.limit) - 4));
  }
}
