// The page: reads the controls, sends them to the worker, and shows each step. An address that ends in ?device=wasm
// avoids the graphics processor.

const $ = (id) => document.getElementById(id);
const image = $("image"), status = $("status");
const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches; // shows the last step only
let model, worker, device, drawing = 0, drawings = 0, frames = [], caption = "", name = "";

/** Shows x_t, shape (C, H, W), scaled to unit variance as long as it has noise: [-1, 1] is black to white. */
function show(x, alpha, sigma) {
  const [channels, height, width] = model.shape, area = height * width, scale = 127.5 / Math.hypot(alpha, sigma);
  const pixels = new ImageData(width, height);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 4; c++) {
      const source = channels < 3 ? 0 : c;
      const isOpaque = c === 3 && !(channels === 4 && model.opacity);
      pixels.data[4 * i + c] = isOpaque ? 255 : x[source * area + i] * scale + 127.5;
    }
  }
  image.getContext("2d").putImageData(pixels, 0, 0);
}

function showStep(step) {
  const { alpha, sigma } = model.timesteps[$("step").max];
  show(frames[step], alpha[step], sigma[step]);
  $("step").value = step;
  $("step-value").textContent = `${step} of ${$("step").max}`;
  image.setAttribute("aria-label", `${caption}, step ${step} of ${$("step").max}`);
}

function setDrawing(id) {
  drawing = id;
  $("draw").textContent = id ? "Stop" : "Generate";
  $("draw").formNoValidate = Boolean(id);
  $("step").disabled = Boolean(id) || frames.length < 2;
  $("save").disabled = Boolean(id) || frames.length < 2;
}

function fail(message) {
  setDrawing(0);
  status.textContent = message;
  status.classList.add("error");
}

/** A control for one column of the conditions: a choice, or a number that may be left empty. */
function field(column, index) {
  const box = document.createElement("div"), label = document.createElement("label");
  const id = `condition-${index}`, isChoice = "values" in column;
  const control = document.createElement(isChoice ? "select" : "input");
  [box.className, label.htmlFor, control.id] = ["field", id, id];
  label.textContent = column.name.charAt(0).toUpperCase() + column.name.slice(1);
  if (isChoice) {
    control.append(new Option("any", ""), ...column.values.map((value, code) => new Option(value, code)));
    if (model.labels.length) control.value = "0";
  } else {
    Object.assign(control, { type: "number", step: "any", placeholder: "any", min: column.min, max: column.max });
    const digits = Math.max(0, Math.min(20, 2 - Math.floor(Math.log10(column.high - column.low || 1))));
    const [low, high] = [column.low, column.high].map((limit) => Number(limit.toFixed(digits)));
    label.textContent += ` (${low} to ${high})`;
  }
  box.append(label, control);
  return box;
}

/** What the network receives of the conditions (null: unknown), and the words for it. */
function conditions() {
  const words = [];
  const codes = columns().map((column, index) => {
    const text = $(`condition-${index}`).value;
    if (text === "") return null;
    words.push(`${column.name} ${"values" in column ? column.values[text] : text}`);
    return "values" in column ? Number(text) : (Number(text) - column.mean) / column.deviation;
  });
  const isKnown = codes.some((code) => code !== null);
  return { label: isKnown ? (model.labels.length ? codes[0] : codes) : null, words: words.join(", ") };
}

const columns = () => (model.labels.length ? [{ name: model.label_column, values: model.labels }] : model.columns);

function draw() {
  const { label, words } = conditions(), seed = $("seed").valueAsNumber, steps = $("steps").valueAsNumber;
  const id = ++drawings;
  frames = [];
  caption = `Image of ${words ? `${words}, ` : ""}seed ${seed}`;
  name = `${words ? `${words} ` : ""}seed ${seed}.png`.replace(/[^\p{L}\p{N}.]+/gu, "-");
  $("step").max = steps;
  status.textContent = "Generating…";
  status.classList.remove("error");
  setDrawing(id);
  worker.postMessage({ draw: { id, seed, label, steps, guidance: $("guidance").valueAsNumber } });
}

function start(found, ready) {
  const threads = `${ready.threads} thread${ready.threads > 1 ? "s" : ""}`;
  [model, device] = [found, ready.device === "webgpu" ? "GPU" : `CPU, ${threads}`];
  const [, height, width] = model.shape;
  Object.assign(image, { width, height });
  document.documentElement.style.setProperty("--ratio", width / height);
  const megabytes = (model.network.bytes / 1e6).toFixed(1);
  $("about").textContent += ` Image size: ${width}×${height} pixels. Model size: ${megabytes} MB.`;
  $("conditions").replaceChildren(...columns().map(field));
  $("guidance-field").hidden = columns().length === 0;
  const possible = Object.keys(model.timesteps).map(Number);
  Object.assign($("steps"), { min: Math.min(...possible), max: Math.max(...possible), value: model.steps });
  showValues();
  $("draw").disabled = false;
  draw();
}

function showValues() {
  $("steps-value").textContent = $("steps").value;
  $("guidance-value").textContent = $("guidance").valueAsNumber.toFixed(1);
}

$("controls").addEventListener("input", showValues);
$("seed").addEventListener("input", () => ($("keep").checked = true));
$("step").addEventListener("input", () => showStep($("step").valueAsNumber));
$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  if (drawing) return worker.postMessage({ stop: drawing });
  if (!$("keep").checked) $("seed").value = crypto.getRandomValues(new Uint32Array(1))[0];
  draw();
});
$("save").addEventListener("click", () => {
  image.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
});

worker = new Worker("worker.js", { type: "module" });
worker.onerror = ({ message }) =>
  fail(`The page cannot be started: one of its files is missing, or the browser is too old. ${message ?? ""}`);
worker.onmessage = ({ data }) => {
  if (data.error) fail(data.error);
  else if (data.ready) start(data.model, data.ready);
  else if (data.image) {
    frames.push(data.image);
    if (!isCalm || data.step === Number($("step").max)) showStep(data.step);
  } else {
    setDrawing(0);
    status.textContent = data.finished ? `Generated in ${data.seconds.toFixed(1)} s (${device}).` : "Stopped.";
  }
};
status.textContent = "Loading the model and the runtime…";
worker.postMessage({ device: new URLSearchParams(location.search).get("device") });
