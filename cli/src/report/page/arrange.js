// Selects the attempts that the timeline draws, and the rows in which it draws them.

/** What the timeline shows: rows are by `start`, `worker` or `stage`. Spans are given by their indices. */
const view = { from: 0, to: 1, by: "start", alone: null, selected: null, focused: null, isLogarithmic: true };

/** The tallest row of one attempt, in pixels. */
const TALLEST = 24;
/** This many of the slowest attempts in the view are always drawn. */
const SLOWEST = 50;
/** The spans that the timeline shows, the bands in which it draws them, and their numbers among those in its range. */
let shown, band, ordinal;
/** The number of rows, of drawn spans, of spans in the range, and of bands, which contain one or more rows each. */
let rows = { count: 0, shown: 0, of: 0, bands: 0, height: 0 };

/** Returns the first and the last phase that are drawn: the rows of workers and stages leave out waiting. */
const drawn = () => (view.by === "start" ? [0, AT.end - 1] : [AT.setup, AT.observe - 1]);
const lanes = () => (view.by === "worker" ? report.lanes.length : report.stages.length);

/** Selects the spans in the view's range, and assigns them to bands. */
function arrange(height) {
  // By start, an attempt is visible from when it was sent.
  const [first, last] = view.by === "start" ? [AT.start, AT.end] : [drawn()[0], drawn()[1] + 1];
  const { moments, stride } = spans;
  let count = 0;
  for (const span of ordered(view.by === "worker" ? "lane" : "start")) {
    if (moments[stride * span + first] > view.to || moments[stride * span + last] < view.from) continue;
    ordinal[count] = count + 1;
    shown[count++] = span;
  }
  const of = count, most = Math.max(1, Math.floor(height * (window.devicePixelRatio || 1)));
  if (view.by === "start" && count > most) count = thin(count, most);
  const lines = view.by === "start" ? count : lanes();
  const bands = Math.max(1, Math.min(lines, most));
  const laneOf = view.by === "worker" ? spans.lane : spans.stage;
  for (let at = 0; at < count; at++) {
    const line = view.by === "start" ? at : laneOf[shown[at]];
    band[at] = Math.floor((line * bands) / lines);
  }
  const tallest = view.by === "start" ? TALLEST : 3 * TALLEST;
  rows = { count: lines, shown: count, of, bands, height: Math.min(tallest, height / bands) };
}

/**
 * Keeps about `most` of the `count` spans in `shown`: all that failed or were retried, the slowest, and every so many
 * of the others. Returns how many it kept.
 */
function thin(count, most) {
  const inView = new Uint8Array(spans.length), keep = new Uint8Array(spans.length);
  for (let at = 0; at < count; at++) inView[shown[at]] = 1;
  let kept = 0;
  const hold = (span) => {
    kept += keep[span] ? 0 : 1;
    keep[span] = 1;
  };
  for (const span of unsuccessful) if (inView[span]) hold(span);
  const slow = [];
  for (const span of ordered("slowness")) {
    if (inView[span]) slow.push(span);
    if (slow.length > Math.min(SLOWEST, most)) break;
  }
  // Of many that took equally long, none is the slowest.
  const usual = tookPerTask(slow.pop(), AT.compute);
  for (const span of slow) if (tookPerTask(span, AT.compute) > usual) hold(span);
  const others = count - kept, room = Math.max(0, most - kept);
  let other = 0, left = 0;
  for (let at = 0; at < count; at++) {
    const span = shown[at];
    if (!keep[span]) {
      other++;
      if (Math.floor((other * room) / others) === Math.floor(((other - 1) * room) / others)) continue;
    }
    ordinal[left] = at + 1;
    shown[left++] = span;
  }
  return left;
}
