// The page: list, filters, answers, keys.

const CLASSES = { g: "GALAXY", q: "QSO", s: "STAR" };
const KEYS = [
  ["j  ↓  Enter", "next spectrum"], ["k  ↑", "previous spectrum"], ["a", "accept, and on to the next"],
  ["0 – 4", "quality"], ["g  q  s", "galaxy, quasar, star"], ["c  C", "next, previous candidate"],
  ["← →", "redshift by 1e-4 (1+z); with Shift by 1e-3"], ["b", "back to the candidate's redshift"],
  ["z", "type a redshift"], ["n", "comment (Esc leaves it)"], ["[  ]", "smooth less, more"],
  ["l  e  m", "lines, error, model on and off"], ["r", "reset the zoom"], ["/", "search"], ["?", "this list"],
];
const SORTS = { "catalogue": (t, i) => i, "ZCONF": (t) => t.zconf ?? -1, "SNR": (t) => t.snr ?? -1,
  "redshift": (t) => t.z ?? -1, "Δχ²": (t) => t.deltachi2 ?? -1 };
const number4 = (value, digits = 4) => (value === null ? "–" : value.toFixed(digits));
let visible = []; // numbers of the targets in the list

function element(tag, text, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  made.textContent = text; // never HTML: texts come from files
  return made;
}

function choices(id, pairs) {
  $(id).append(...pairs.map(([value, text]) => element("option", text, { value })));
}

// ---- list

function fits(number) {
  const t = TARGETS[number], a = answers.get(number), done = a && a.quality !== null;
  const flag = $("f-flag").value, text = $("f-text").value.trim().toLowerCase();
  const low = parseFloat($("f-low").value), high = parseFloat($("f-high").value);
  if ($("f-class").value && t.spectype !== $("f-class").value.replace("none", "")) return false;
  if (flag === "good" && t.zwarn !== 0) return false;
  if (flag === "flagged" && t.zwarn === 0) return false;
  if (flag.startsWith("=") && !t.flags.includes(flag.slice(1))) return false;
  if (Number.isFinite(low) && !(t.zconf !== null && t.zconf >= low)) return false;
  if (Number.isFinite(high) && !(t.zconf !== null && t.zconf <= high)) return false;
  if ($("f-done").value && ($("f-done").value === "done") !== Boolean(done)) return false;
  return !text || `${t.id} ${t.file} ${t.class} ${a ? a.comment : ""}`.toLowerCase().includes(text);
}

function item(number) {
  const t = TARGETS[number], made = element("li", "");
  made.dataset.number = number;
  made.append(element("span", "", { className: "mark" }), element("span", ""), element("small", ""));
  made.children[2].textContent = `${t.id} · ${t.file.split("/").at(-1)} ${t.row}`;
  made.children[2].title = `${t.file}, row ${t.row}`;
  headline(made, number);
  return made;
}

// What a row of the list says of an answer, else of the catalogue.
function headline(made, number) {
  const t = TARGETS[number], a = answers.get(number), here = answer(number);
  made.children[0].textContent = a ? (a.quality === null ? "…" : `✓${a.quality}`) : "";
  made.children[1].textContent = `${here.spectype || "no data"}  ${number4(here.z)}  ` +
    (t.zwarn ? "⚑" : "") + (t.zconf === null ? "" : ` ${number4(t.zconf, 2)}`);
  made.children[1].className = t.zwarn ? "flagged" : "";
}

function listAll() {
  const key = SORTS[$("f-sort").value];
  visible = TARGETS.map((_, i) => i).filter(fits);
  visible.sort((i, j) => key(TARGETS[i], i) - key(TARGETS[j], j) || i - j);
  $("list").replaceChildren(...visible.map(item));
  $("count").textContent = `${visible.length} of ${TARGETS.length} spectra`;
  mark();
}

function mark() {
  for (const made of $("list").querySelectorAll("[aria-current]")) made.removeAttribute("aria-current");
  const made = $("list").querySelector(`[data-number="${shown.number}"]`);
  if (made) { made.setAttribute("aria-current", "true"); reveal($("list"), made); }
  const done = [...answers.values()].filter((a) => a.quality !== null).length;
  $("progress").textContent = `${done} of ${TARGETS.length} inspected`;
}

// Scroll the list, and not the page as scrollIntoView would.
function reveal(list, made) {
  const inner = made.getBoundingClientRect(), outer = list.getBoundingClientRect();
  if (inner.top < outer.top) list.scrollTop -= outer.top - inner.top;
  if (inner.bottom > outer.bottom) list.scrollTop += inner.bottom - outer.bottom;
}

// ---- one spectrum

let wanted = -1; // what was asked for last, which may still be decoded

async function select(number) {
  if (number === undefined || number === wanted) return;
  wanted = number;
  const one = await spectrum(number);
  if (number !== wanted) return; // another one was asked for in the meantime
  Object.assign(shown, { number, one, solution: 0, z: answer(number).z ?? 0 });
  const t = TARGETS[number], next = visible[visible.indexOf(number) + 1];
  $("name").textContent = `${t.id}  ${t.file.split("/").at(-1)}, row ${t.row}`;
  $("facts").textContent = `${t.class} z ${number4(t.z, 5)} ± ${number4(t.zerr, 5)}, ZCONF ${number4(t.zconf, 3)}, ` +
    `SNR ${number4(t.snr, 1)}, Δχ² ${number4(t.deltachi2, 1)}` +
    (t.class_true ? `, truth ${t.class_true} ${number4(t.z_true, 5)}` : "");
  $("words").replaceChildren(...t.words.map((text) => element("li", text)));
  listCandidates(t);
  drawAll();
  setRedshift(shown.z, false);
  showAnswer();
  mark();
  if (next !== undefined) spectrum(next); // decoded before it is asked for
}

function step(by) {
  const at = visible.indexOf(wanted);
  const next = at < 0 ? visible[0] : visible[Math.min(Math.max(at + by, 0), visible.length - 1)];
  return select(next);
}

function listCandidates(t) {
  $("candidates").replaceChildren(...t.solutions.map((c, i) => {
    const share = c.prob === null ? "" : c.prob < 0.0005 ? " <0.001" : ` ${c.prob.toFixed(3)}`;
    const drawn = shown.one.models[i] ? "" : " (no model)";
    const made = element("button", `${i + 1}: ${c.label} ${number4(c.z)}${share}${drawn}`);
    made.setAttribute("role", "radio");
    made.addEventListener("click", () => candidate(i));
    return made;
  }));
  markCandidate();
}

function markCandidate() {
  [...$("candidates").children].forEach((b, i) => b.setAttribute("aria-checked", i === shown.solution));
}

function candidate(i) {
  const all = TARGETS[shown.number].solutions;
  if (!all.length) return;
  shown.solution = (i + all.length) % all.length;
  markCandidate();
  say({ spectype: all[shown.solution].spectype });
  setRedshift(all[shown.solution].z ?? 0);
}

// ---- redshift

let base = 0; // ln(1 + z) about which the fine slider moves

function setRedshift(z, user = true, fine = false) {
  if (!Number.isFinite(z) || z <= -1) return;
  shown.z = z;
  const u = Math.log1p(z);
  if (document.activeElement !== $("z") || !user) $("z").value = z.toFixed(5);
  $("coarse").value = u;
  if (!fine) { base = u; $("fine").value = 0; }
  if (user) say({ z });
  drawModel();
  drawLines();
}

// ---- answer

function say(part) {
  if (shown.number < 0) return;
  const inspector = $("inspector").value.trim();
  const said = { ...answer(shown.number), ...part, inspector }, was = fresh(TARGETS[shown.number]);
  const untouched = Object.keys(was).every((name) => was[name] === said[name]);
  if (untouched) answers.delete(shown.number); // a candidate was looked at, and left again
  else answers.set(shown.number, said);
  remember();
  showAnswer();
  const made = $("list").querySelector(`[data-number="${shown.number}"]`);
  if (made) headline(made, shown.number);
  mark();
}

function showAnswer() {
  const a = answer(shown.number);
  for (const b of $("classes").querySelectorAll("button")) b.setAttribute("aria-pressed", b.value === a.spectype);
  for (const b of $("qualities").querySelectorAll("button")) b.setAttribute("aria-pressed", b.value === String(a.quality));
  if (document.activeElement !== $("comment")) $("comment").value = a.comment;
}

async function accept() {
  if (shown.number !== wanted) return; // what is not drawn yet was not seen
  const a = answer(shown.number);
  say({ quality: a.quality ?? 4 });
  await step(1);
}

function classify(spectype) {
  say({ spectype });
  drawLines();
}

function save() {
  const left = [...answers.values()].filter((a) => a.quality === null).length;
  const link = element("a", "", { download: `${DATA.title.replace(/[^\w.-]+/g, "_")}.csv` });
  link.href = URL.createObjectURL(new Blob([toCsv()], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  if (left) $("progress").textContent += `; ${left} without a quality left out`;
}

async function load(file) {
  const count = fromCsv(await file.text());
  listAll();
  $("progress").textContent += `; ${count} rows loaded`;
  if (shown.number >= 0) { showAnswer(); setRedshift(answer(shown.number).z ?? 0, false); }
}

// ---- wiring

const toggle = (id) => { $(id).checked = !$(id).checked; $(id).dispatchEvent(new Event("change")); };
const nudge = (by) => setRedshift((1 + shown.z) * (1 + by) - 1);
const smoother = (by) => { $("smooth").value = Number($("smooth").value) + by; smooth(); };

function smooth() {
  shown.sigma = Number($("smooth").value);
  $("width").textContent = `${shown.sigma} px`;
  if (shown.one) drawFlux();
}

const ACTIONS = {
  j: () => step(1), ArrowDown: () => step(1), Enter: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
  a: accept, c: () => candidate(shown.solution + 1), C: () => candidate(shown.solution - 1),
  ArrowLeft: (e) => nudge(e.shiftKey ? -1e-3 : -1e-4), ArrowRight: (e) => nudge(e.shiftKey ? 1e-3 : 1e-4),
  b: () => candidate(shown.solution), z: () => $("z").select(), n: () => $("comment").focus(),
  "[": () => smoother(-0.5), "]": () => smoother(0.5), r: resetZoom, "/": () => $("f-text").focus(),
  l: () => toggle("show-lines"), e: () => toggle("show-error"), m: () => toggle("show-model"),
  "?": () => $("keys").showModal(),
};
for (const key of "01234") ACTIONS[key] = () => say({ quality: Number(key) });
for (const [key, spectype] of Object.entries(CLASSES)) ACTIONS[key] = () => classify(spectype);

function onKey(event) {
  const typing = event.target.matches("input:not([type=range]):not([type=checkbox]), select, dialog *");
  if (event.key === "Escape") event.target.blur();
  if (typing && event.key === "Enter" && event.target.matches("#z, #comment")) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter" && event.target.matches("button, summary")) return; // presses it
  const action = ACTIONS[event.key];
  if (!action || shown.number < 0) return;
  event.preventDefault();
  action(event);
}

choices("f-class", [["", "all"], ["GALAXY", "GALAXY"], ["QSO", "QSO"], ["STAR", "STAR"], ["none", "no data"]]);
choices("f-flag", [["", "any"], ["good", "ZWARN 0"], ["flagged", "flagged"], ...DATA.flags.map((f) => [`=${f}`, f])]);
choices("f-sort", Object.keys(SORTS).map((name) => [name, name]));
$("keytable").append(...KEYS.map(([keys, text]) => {
  const row = element("tr", ""), cell = element("td", "");
  cell.append(...keys.split("  ").flatMap((key) => [element("kbd", key), " "]));
  row.append(cell, element("td", text));
  return row;
}));
$("classes").append(...Object.values(CLASSES).map((name) =>
  element("button", name, { value: name, onclick: () => classify(name) })));
$("qualities").append("quality ", ..."01234".split("").map((q) =>
  element("button", q, { value: q, onclick: () => say({ quality: Number(q) }) })));
Object.assign($("coarse"), { min: U_LOW, max: U_HIGH, step: 0.0001 });
$("coarse").addEventListener("input", () => setRedshift(Math.expm1(Number($("coarse").value))));
$("fine").addEventListener("input", () => setRedshift(Math.expm1(base + Number($("fine").value)), true, true));
$("z").addEventListener("input", () => setRedshift(parseFloat($("z").value)));
$("back").addEventListener("click", () => candidate(shown.solution));
$("smooth").addEventListener("input", smooth);
$("comment").addEventListener("input", () => say({ comment: $("comment").value }));
$("accept").addEventListener("click", accept);
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("save").addEventListener("click", save);
$("load").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { if ($("file").files.length) load($("file").files[0]); });
$("help").addEventListener("click", () => $("keys").showModal());
$("show-lines").addEventListener("change", drawLines);
$("show-error").addEventListener("change", drawFlux);
$("show-model").addEventListener("change", drawModel);
$("list").addEventListener("click", (event) => {
  const made = event.target.closest("li");
  if (made) select(Number(made.dataset.number));
});
for (const control of document.querySelectorAll(".filters input, .filters select")) control.addEventListener("input", listAll);
document.addEventListener("keydown", onKey);
chart.on_event("tap", (event) => setRedshift(Math.expm1(event.x)));
if (matchMedia("(max-width: 800px)").matches) $("filters").open = false;
$("smooth").value = 2;
smooth();
listAll();
await select(visible[0]);
document.body.dataset.ready = "true"; // for whoever waits
