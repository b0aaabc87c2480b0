// Editors for TestBenchCollab: node editors.mjs MODULES KIND URL SECRET EDITORS EDITS.
// One edit is under way at a time; the lag is from the keystroke to its arrival in
// each other editor. A line of JSON with the lags in milliseconds says that all are
// done; they stay connected until standard input ends.
import { pathToFileURL } from 'node:url'

const [modules, kind, url, secret, editors, edits] = process.argv.slice(2)
const load = path => import(pathToFileURL(modules + '/node_modules/' + path))
const Y = await load('yjs/dist/yjs.mjs')
const sync = await load('y-protocols/sync.js')
const encoding = await load('lib0/encoding.js')
const decoding = await load('lib0/decoding.js')
const { WebSocket } = await load('ws/wrapper.mjs')

const lags = []
let sent = 0
let waiting = 0
let arrived = () => {}

const connect = () => new Promise((resolve, reject) => {
  const doc = new Y.Doc()
  const ws = new WebSocket(url, { headers: { 'Holt-Secret': secret } })
  ws.binaryType = 'arraybuffer'
  const message = (type, write) => {
    const e = encoding.createEncoder()
    if (kind === 'hocuspocus') encoding.writeVarString(e, 'doc')
    encoding.writeVarUint(e, type)
    write(e)
    ws.send(encoding.toUint8Array(e))
  }
  doc.on('update', (update, origin) => {
    if (origin === ws) {
      if (waiting > 0) {
        lags.push(performance.now() - sent)
        if (--waiting === 0) arrived()
      }
    } else message(0, e => sync.writeUpdate(e, update))
  })
  ws.on('message', data => {
    const d = decoding.createDecoder(new Uint8Array(data))
    if (kind === 'hocuspocus') decoding.readVarString(d)
    if (decoding.readVarUint(d) !== 0) return
    const e = encoding.createEncoder()
    if (kind === 'hocuspocus') encoding.writeVarString(e, 'doc')
    encoding.writeVarUint(e, 0)
    const empty = encoding.length(e)
    if (sync.readSyncMessage(d, e, doc, ws) === 1) resolve(doc)
    if (encoding.length(e) > empty) ws.send(encoding.toUint8Array(e))
  })
  ws.on('error', reject)
  ws.on('close', code => reject(new Error('closed with ' + code)))
  ws.on('open', () => {
    if (kind === 'hocuspocus') message(2, e => { encoding.writeVarUint(e, 0); encoding.writeVarString(e, '') })
    if (kind === 'relay') resolve(doc)
    else message(0, e => sync.writeSyncStep1(e, doc))
  })
})

const docs = []
for (let i = 0; i < +editors; i++) docs.push(await connect())
await new Promise(resolve => setTimeout(resolve, 300))
for (let i = 0; i < +edits; i++) {
  const text = docs[i % docs.length].getText('text')
  await new Promise(resolve => {
    arrived = resolve
    waiting = docs.length - 1
    sent = performance.now()
    text.insert(Math.floor(Math.random() * (text.length + 1)), 'x')
  })
}
console.log(JSON.stringify(lags))
process.stdin.on('end', () => process.exit(0)).resume()
