// The figures: Bokeh's document, whose sources are filled here.

await Bokeh.embed.embed_item(JSON.parse($("document").textContent));
const PLOT = Bokeh.documents[Bokeh.documents.length - 1];
const model = (name) => PLOT.get_model_by_name(name);
const figure = model("spectrum"), chart = model("redshift");
const COLOUR = { emission: "#009E73", absorption: "#CC79A7" };
const [U_LOW, U_HIGH] = DATA.u;

chart.x_range.start = U_LOW;
chart.x_range.end = U_HIGH;

// What is drawn now.
const shown = { number: -1, one: null, solution: 0, z: 0, sigma: 0 };

function fill(name, data) {
  model(name).data = data;
}

function drawFlux() {
  const { one, sigma } = shown;
  const raw = one.flux.map((f, i) => (one.good[i] ? f : NaN));
  fill("raw", sigma > 0 ? broken(one, one.wave, raw) : { x: [], y: [] });
  fill("flux", broken(one, one.wave, sigma > 0 ? smoothed(one, sigma) : raw));
  const error = one.error.map((e, i) => (one.good[i] ? e : NaN));
  fill("error", $("show-error").checked ? broken(one, one.wave, error) : { x: [], y: [] });
}

// The candidate's model, which follows the slider: its wavelengths move by the redshifts' ratio.
function drawModel() {
  const { one, solution, z } = shown;
  const target = TARGETS[shown.number], values = one.models[solution];
  if (!values || !$("show-model").checked) return fill("model", { x: [], y: [] });
  const ratio = (1 + z) / (1 + target.solutions[solution].z);
  const near = values.map((v) => (v === 0 ? NaN : v)); // 0 stands for no data
  fill("model", broken(one, one.wave.map((w) => w * ratio), near));
}

function drawLines() {
  const spans = { x: [], color: [] }, labels = { x: [], y: [], name: [], color: [] };
  if ($("show-lines").checked) {
    const type = answer(shown.number).spectype, { start, end } = figure.x_range;
    const mine = DATA.lines.filter((line) => line[3].includes(type));
    const seen = (mine.length ? mine : DATA.lines)
      .map(([name, wave, kind, , major]) => ({ name, at: wave * (1 + shown.z), kind, major }))
      .filter(({ at }) => at > start && at < end)
      .sort((a, b) => b.major - a.major); // of labels that collide the major ones stay
    const top = figure.y_range.end - 0.003 * (figure.y_range.end - figure.y_range.start);
    const apart = (14 / Math.max(figure.inner_width || 900, 100)) * (end - start); // 14 pixels
    for (const { name, at, kind } of seen) {
      spans.x.push(at);
      spans.color.push(COLOUR[kind]);
      if (labels.x.some((x) => Math.abs(x - at) < apart)) continue;
      labels.x.push(at); labels.y.push(top); labels.name.push(name); labels.color.push(COLOUR[kind]);
    }
  }
  fill("lines", spans);
  fill("labels", labels);
  fill("here", { x: [Math.log1p(shown.z)] });
}

function drawDensity() {
  const { zpdf } = shown.one, candidates = TARGETS[shown.number].solutions;
  if (zpdf) {
    const x = Array.from(zpdf, (_, i) => U_LOW + ((i + 0.5) * (U_HIGH - U_LOW)) / zpdf.length);
    fill("zpdf", { x, y: zpdf, low: x.map(() => -6) });
  } else fill("zpdf", { x: [], y: [], low: [] });
  const known = candidates.filter((c) => c.z !== null);
  fill("candidates", { x: known.map((c) => Math.log1p(c.z)),
    y: known.map((c) => Math.max(Math.log10(c.prob ?? 1), -5)) });
}

// All wavelengths with data, and fluxes that no cosmic ray stretches.
function resetZoom() {
  const { one } = shown, waves = one.wave.filter((_, i) => one.good[i]);
  let low = Infinity, high = -Infinity;
  for (const w of waves) { low = Math.min(low, w); high = Math.max(high, w); }
  if (!waves.length) [low, high] = [one.wave[0], one.wave.at(-1)];
  const soft = smoothed(one, Math.max(shown.sigma, 2));
  let [bottom, top] = quantiles(soft, [0.005, 0.998]);
  for (const v of one.models[0] || []) top = Math.max(top, v);
  const room = top - Math.min(bottom, 0) || 1;
  figure.x_range.setv({ start: low, end: high, reset_start: low, reset_end: high });
  const start = Math.min(bottom, 0) - 0.05 * room, end = top + 0.25 * room;
  figure.y_range.setv({ start, end, reset_start: start, reset_end: end });
}

let waiting = false; // lines and labels follow the zoom, once a frame
function onZoom() {
  if (waiting || !shown.one) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawLines(); });
}
for (const range of [figure.x_range, figure.y_range]) {
  range.properties.start.change.connect(onZoom);
  range.properties.end.change.connect(onZoom);
}

function drawAll() {
  drawFlux();
  drawModel();
  drawDensity();
  resetZoom();
  drawLines();
}
