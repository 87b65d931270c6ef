// What the page holds: targets, their arrays, and what was said of them.

const $ = (id) => document.getElementById(id);
const DATA = JSON.parse($("data").textContent);
const TARGETS = DATA.targets;
const KEEP = 40; // spectra that stay decoded

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Undo zspec.inspection.encoding.whole: byte planes of differences of whole steps.
async function values(packed) {
  if (packed === null) return null;
  const { n, step } = packed;
  const planes = await inflate(packed.data);
  const out = new Float64Array(n);
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const word = planes[i] | (planes[n + i] << 8) | (planes[2 * n + i] << 16) | (planes[3 * n + i] << 24);
    sum = (sum + word) | 0; // modulo 2^32
    out[i] = sum * step;
  }
  return out;
}

async function decode(number) {
  const packed = JSON.parse($(`s${number}`).textContent);
  const [wave, flux, error, good, zpdf, ...models] = await Promise.all(
    [packed.wave, packed.flux, packed.error, packed.good, packed.zpdf, ...packed.models].map(values));
  return { arms: packed.arms, wave, flux, good, zpdf, models, error: error.map(Math.exp) };
}

const decoded = new Map();

function spectrum(number) {
  if (!decoded.has(number)) {
    decoded.set(number, decode(number));
    if (decoded.size > KEEP) decoded.delete(decoded.keys().next().value);
  }
  return decoded.get(number);
}

// A Gaussian of sigma pixels, weighted by inverse variance; NaN where no good pixel is near.
// Arms are kept apart, and a NaN stands between them, so that no line joins them.
function smoothed(one, sigma) {
  const out = new Float64Array(one.flux.length).fill(NaN);
  const reach = Math.ceil(3 * sigma);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, k) =>
    sigma > 0 ? Math.exp(-0.5 * ((k - reach) / sigma) ** 2) : 1);
  for (const [first, end] of one.arms) {
    for (let i = first; i < end; i++) {
      let sum = 0, total = 0;
      for (let k = Math.max(first, i - reach); k <= Math.min(end - 1, i + reach); k++) {
        if (!one.good[k]) continue;
        const weight = kernel[k - i + reach] / one.error[k] ** 2;
        sum += weight * one.flux[k];
        total += weight;
      }
      if (total > 0) out[i] = sum / total;
    }
  }
  return out;
}

// Arms end to end with a NaN after each: x and y of a line that breaks there.
function broken(one, x, y) {
  const xs = [], ys = [];
  for (const [first, end] of one.arms) {
    for (let i = first; i < end; i++) { xs.push(x[i]); ys.push(y[i]); }
    xs.push(NaN); ys.push(NaN);
  }
  return { x: Float64Array.from(xs), y: Float64Array.from(ys) };
}

function quantiles(array, shares) {
  const sorted = array.filter((v) => Number.isFinite(v)).sort();
  return shares.map((s) => (sorted.length ? sorted[Math.round(s * (sorted.length - 1))] : 0));
}

// ---- what was said: {z, spectype, quality, comment}, kept in the browser until it is saved

const STORE = `zspec-inspect:${DATA.title}:${TARGETS.map((t) => `${t.file}|${t.row}`).join(",").split("")
  .reduce((hash, c) => (Math.imul(hash, 31) + c.charCodeAt(0)) | 0, 0)}`;
const answers = recall();

function recall() {
  try {
    return new Map(JSON.parse(localStorage.getItem(STORE) || "[]"));
  } catch {
    return new Map(); // no storage is allowed, or what it holds is not ours
  }
}

function remember() {
  try {
    localStorage.setItem(STORE, JSON.stringify([...answers]));
  } catch { /* no storage is allowed: the CSV is what counts */ }
}

const fresh = (target) => ({ z: target.z, spectype: target.spectype, quality: null, comment: "" });
const answer = (number) => answers.get(number) || fresh(TARGETS[number]);

// ---- CSV

const COLUMNS = ["TARGETID", "FILE", "ROW", "Z", "SPECTYPE", "QUALITY", "COMMENT", "INSPECTOR",
  "CATALOGUE_Z", "CATALOGUE_CLASS"];
const LEAST_QUALITY = 2; // below it no redshift is known

const cell = (value) => {
  const text = value === null || value === undefined ? "" : String(value).replace(/[\r\n]+/g, " ");
  return /[",]/.test(text) || /^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

function toCsv() {
  const rows = [COLUMNS.join(",")];
  const inspected = [...answers].filter(([, a]) => a.quality !== null).sort(([i], [j]) => i - j);
  for (const [number, a] of inspected) {
    const t = TARGETS[number], known = a.quality >= LEAST_QUALITY;
    rows.push([t.id, t.file, t.row, known ? a.z.toFixed(7) : "", known ? a.spectype : "", a.quality,
      a.comment, a.inspector, t.z, t.class].map(cell).join(","));
  }
  return rows.join("\n") + "\n";
}

// Fields of CSV text, row by row; quotes are doubled within quotes.
function parseCsv(text) {
  const rows = [[]];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    rows.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end !== ",") rows.push([]);
  }
  return rows.filter((row) => row.length > 1);
}

// Take what a saved CSV says; returns how many rows are of this page.
function fromCsv(text) {
  const [head, ...rows] = parseCsv(text);
  if (!head || !["FILE", "ROW", "QUALITY"].every((name) => head.includes(name))) return 0;
  const place = new Map(TARGETS.map((t, i) => [`${t.file}|${t.row}`, i]));
  let count = 0;
  for (const row of rows) {
    const said = Object.fromEntries(head.map((name, k) => [name, row[k] ?? ""]));
    const number = place.get(`${said.FILE}|${said.ROW}`);
    if (number === undefined) continue;
    const was = fresh(TARGETS[number]), z = parseFloat(said.Z), quality = parseInt(said.QUALITY);
    answers.set(number, { z: Number.isFinite(z) ? z : was.z, spectype: said.SPECTYPE || was.spectype,
      quality: Number.isFinite(quality) ? quality : null, comment: said.COMMENT || "",
      inspector: said.INSPECTOR || "" });
    count++;
  }
  remember();
  return count;
}
