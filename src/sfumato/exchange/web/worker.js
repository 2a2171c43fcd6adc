// Samples images in a worker: loads the model and onnxruntime-web, and takes the steps of DPM-Solver++(2M).
// Messages in: {device?}, then {draw: {id, seed | noise, label, steps, guidance}} and {stop: id}.
// Messages out: {ready, model}, {step, image}, {done}, {error}.

import { standardNormal } from "./noise.js";

let model, ort, session, device, stopped = 0;

/** Response for a file, which has the expected hash if one is given. The browser compares them. */
async function get(url, { integrity } = {}) {
  let response;
  try {
    response = await fetch(url, { integrity, cache: "no-cache" }); // asks the server whether a cached file is current
  } catch {
    throw new Error(`${url} could not be loaded, or is not the file that this page was made for.`);
  }
  if (!response.ok) throw new Error(`${url} could not be loaded: ${response.status} ${response.statusText}`);
  return response;
}

const bytes = async (url, file) => (await get(url, file)).arrayBuffer();

async function describe(url) {
  const found = await (await get(url)).json().catch(() => null);
  if (found?.format !== "sfumato-web-1") throw new Error(`${url} is damaged or of another version. Export the page again.`);
  return found;
}

async function load(wanted) {
  const base = new URL("./", self.location.href);
  model = await describe(new URL("model.json", base));
  const network = await bytes(new URL(model.network.file, base), model.network);
  const adapter = wanted !== "wasm" && (await self.navigator.gpu?.requestAdapter().catch(() => null));
  const isFast = adapter && (wanted === "webgpu" || !adapter.info?.isFallbackAdapter); // not a processor's emulation
  for (device of isFast ? ["webgpu", "wasm"] : ["wasm"]) {
    try {
      const { script, wasm } = model.runtime[device], folder = new URL(model.runtime.folder, base);
      const [code, binary] = await Promise.all([script, wasm].map((file) => bytes(new URL(file.file, folder), file)));
      session = await begin(code, binary, network);
      await check();
      return { device, threads: threads() };
    } catch (error) {
      if (device === "wasm") throw error;
    }
  }
}

/** Starts the runtime with the network. */
async function begin(code, binary, network) {
  try {
    ort = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
    Object.assign(ort.env.wasm, { wasmBinary: binary, numThreads: threads() });
    ort.env.logLevel = "error";
    return await ort.InferenceSession.create(network, { executionProviders: [device], logSeverityLevel: 3 });
  } catch (error) {
    const policy = "A Content-Security-Policy of the server must allow: script-src 'self' blob: 'wasm-unsafe-eval'";
    throw new Error(`WebAssembly or the runtime could not be started. ${policy}. (${error.message ?? error})`);
  }
}

/** Compares an estimate with that of Python, since drivers of graphics processors have errors. */
async function check() {
  const { t, sigma, mean, deviation } = model.check;
  const estimate = await denoise(standardNormal(0, size()).map((value) => sigma * value), t, null, 1);
  const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const found = average(estimate), spread = Math.sqrt(average(estimate.map((value) => (value - found) ** 2)));
  const isRight = Math.abs(found - mean) < 0.02 && Math.abs(spread - deviation) < 0.02; // false for NaN
  if (!isRight) throw new Error("The results of this device differ from those of PyTorch. Try another browser or device.");
}

const size = () => model.shape[0] * model.shape[1] * model.shape[2];
const threads = () => (self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1);

/** The tensor of labels: a row of the label, and rows without one. */
function labels(label, rows) {
  if (model.labels.length) {
    const none = new BigInt64Array(rows).fill(-1n);
    if (label !== null) none[0] = BigInt(label);
    return new ort.Tensor("int64", none, [rows]);
  }
  const columns = model.columns.length;
  const none = new Float32Array(rows * columns).fill(NaN);
  label?.forEach((code, column) => (none[column] = code ?? NaN));
  return new ort.Tensor("float32", none, [rows, columns]);
}

/** Estimates the clean image. Guidance extrapolates from the estimate without label, computed in the same batch. */
async function denoise(x, t, label, guidance) {
  const rows = guidance === 1 || label === null ? 1 : 2;
  const batch = new Float32Array(rows * x.length);
  for (let row = 0; row < rows; row++) batch.set(x, row * x.length);
  const feeds = { x_t: new ort.Tensor("float32", batch, [rows, ...model.shape]) };
  feeds.t = new ort.Tensor("float32", new Float32Array(rows).fill(t), [rows]);
  if (model.labels.length || model.columns.length) feeds.label = labels(label, rows);
  const { x0_hat } = await session.run(feeds);
  const estimates = await x0_hat.getData();
  return Float32Array.from(x, (_, i) => {
    const strong = estimates[i], weak = rows > 1 ? estimates[x.length + i] : strong;
    return Math.max(-1, Math.min(1, weak + guidance * (strong - weak)));
  });
}

/** DPM-Solver++(2M), arXiv 2211.01095, Algorithm 2, as `dpm-2m` in Python. Calls `show(step, x)` after each step. */
async function draw({ seed, noise, label, steps, guidance }, show) {
  const { t, alpha, sigma } = model.timesteps[steps];
  const lambda = t.map((_, i) => Math.log(alpha[i]) - Math.log(sigma[i])); // half of the log-SNR
  let x = (noise ?? standardNormal(seed, size())).map((value) => sigma[0] * value), before;
  await show(0, x);
  for (let i = 0; i < steps; i++) {
    const now = await denoise(x, t[i], label, guidance);
    if (i === steps - 1) x = now;
    else {
      const h = lambda[i + 1] - lambda[i], weight = -alpha[i + 1] * Math.expm1(-h), kept = sigma[i + 1] / sigma[i];
      const ratio = before && alpha[i - 1] > 0 ? h / 2 / (lambda[i] - lambda[i - 1]) : 0;
      x = x.map((value, k) => kept * value + weight * (now[k] + (ratio && ratio * (now[k] - before[k]))));
    }
    before = now;
    if (!(await show(i + 1, x))) return false;
  }
  return true;
}

self.onmessage = async ({ data }) => {
  try {
    if (data.stop) stopped = data.stop;
    else if (data.draw) {
      const { id } = data.draw, start = performance.now();
      const show = async (step, x) => {
        self.postMessage({ step, id, image: x });
        await new Promise((resolve) => setTimeout(resolve)); // receives a request to stop
        return stopped !== id;
      };
      const finished = await draw(data.draw, show);
      self.postMessage({ done: id, finished, seconds: (performance.now() - start) / 1000 });
    } else self.postMessage({ ready: await load(data.device), model });
  } catch (error) {
    self.postMessage({ error: error.message ?? String(error), id: data.draw?.id });
  }
};
