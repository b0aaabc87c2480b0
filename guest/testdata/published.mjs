// Runs the tests that y-protocols publishes, as they are, with our server between the two
// sides: what one tells goes out on a socket, and the other gets what comes back on
// another. The tests wait for nothing, so sockets live in a thread that is waited for.
// Arguments: directory with node_modules, URL of an awareness route, secret.
import { register } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

const KIND = 1; // of awareness messages

async function sockets({ modules, url, secret, shared }) {
  const from = (name) => import(pathToFileURL(`${modules}/node_modules/${name}`).href);
  const { default: WebSocket } = await from('ws/wrapper.mjs');
  const { parentPort } = await import('node:worker_threads');
  const decoding = await from('lib0/decoding.js');
  const encoding = await from('lib0/encoding.js');
  const open = () =>
    new Promise((resolve, reject) => {
      const ws = new WebSocket(url, { headers: { 'Holt-Secret': secret } });
      ws.binaryType = 'arraybuffer';
      ws.on('open', () => resolve(ws));
      ws.on('error', reject);
    });
  const [a, b] = await Promise.all([open(), open()]);
  const state = new Int32Array(shared, 0, 2);
  const give = (bytes) => {
    new Uint8Array(shared, 8).set(bytes);
    state[1] = bytes.length;
    Atomics.store(state, 0, 1);
    Atomics.notify(state, 0);
  };
  b.on('message', (data) => {
    const d = decoding.createDecoder(new Uint8Array(data));
    if (decoding.readVarUint(d) === KIND) give(decoding.readVarUint8Array(d));
  });
  parentPort.on('message', (update) => {
    const e = encoding.createEncoder();
    encoding.writeVarUint(e, KIND);
    encoding.writeVarUint8Array(e, update);
    a.send(encoding.toUint8Array(e));
  });
  give([]);
}

/** In place of y-protocols' awareness: what is applied was at the server before. */
const shim = `
  export * from '@REAL@';
  import { applyAwarenessUpdate as apply } from '@REAL@';
  export const applyAwarenessUpdate = (awareness, update, origin) => apply(awareness, globalThis.relay(update), origin);`;
const hooks = `
  export async function resolve(specifier, context, next) {
    if (context.parentURL?.endsWith('/awareness.test.js') && specifier === './awareness') return { url: SHIM, shortCircuit: true };
    return next(specifier, context);
  }`;

if (isMainThread) {
  const [modules, url, secret] = process.argv.slice(2);
  const shared = new SharedArrayBuffer(1 << 16);
  const state = new Int32Array(shared, 0, 2);
  const wait = () => {
    if (Atomics.wait(state, 0, 0, 20_000) === 'timed-out') throw new Error('the server passed nothing on');
  };
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { modules, url, secret, shared } });
  wait();
  globalThis.relay = (update) => {
    Atomics.store(state, 0, 0);
    worker.postMessage(update);
    wait();
    return new Uint8Array(shared, 8, state[1]).slice();
  };
  const dir = pathToFileURL(`${modules}/node_modules/y-protocols/`).href;
  const text = (code) => `data:text/javascript,${encodeURIComponent(code)}`;
  register(text(hooks.replace('SHIM', JSON.stringify(text(shim.replaceAll('@REAL@', `${dir}awareness.js`))))));
  const tests = await import(`${dir}awareness.test.js`);
  for (const [name, run] of Object.entries(tests)) {
    await run({});
    console.log(`passed ${name}`);
  }
  process.exit();
} else await sockets(workerData);
