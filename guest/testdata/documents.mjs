// Yjs clients for TestDocumentsWithYjs: node documents.mjs MODULES URL SECRET.
// They speak y-protocols over real sockets and check what its own tests check of two
// awareness instances and of sync, with the server in between. The last line is the
// text that all of them have.
import assert from 'node:assert/strict'
import { pathToFileURL } from 'node:url'

const [modules, url, secret] = process.argv.slice(2)
const load = path => import(pathToFileURL(modules + '/node_modules/' + path))
const Y = await load('yjs/dist/yjs.mjs')
const sync = await load('y-protocols/sync.js')
const awareness = await load('y-protocols/awareness.js')
const encoding = await load('lib0/encoding.js')
const decoding = await load('lib0/decoding.js')
const { WebSocket } = await load('ws/wrapper.mjs')

const until = async (what, ok) => {
  for (const end = Date.now() + 60000; !ok();) {
    if (Date.now() > end) throw new Error('still not so: ' + what)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

class Client {
  constructor () {
    this.doc = new Y.Doc()
    this.text = this.doc.getText('text')
    this.awareness = new awareness.Awareness(this.doc)
    this.status = null
    this.doc.on('update', (update, origin) => {
      if (origin === this) return
      this.send(0, e => sync.writeUpdate(e, update))
    })
    this.awareness.on('update', ({ added, updated, removed }, origin) => {
      if (origin === this) return
      this.send(1, e => encoding.writeVarUint8Array(e, awareness.encodeAwarenessUpdate(this.awareness, [...added, ...updated, ...removed])))
    })
  }

  send (type, write) {
    if (!this.ws || this.ws.readyState !== WebSocket.OPEN) return
    const e = encoding.createEncoder()
    encoding.writeVarUint(e, type)
    write(e)
    this.ws.send(encoding.toUint8Array(e))
  }

  async connect (query = '') {
    this.closed = null
    this.synced = false
    const ws = this.ws = new WebSocket(url + query, { headers: { 'Holt-Secret': secret } })
    ws.binaryType = 'arraybuffer'
    ws.on('message', data => this.receive(new Uint8Array(data)))
    ws.on('close', (code, reason) => { this.closed = { code, reason: reason.toString() } })
    await new Promise((resolve, reject) => { ws.on('open', resolve); ws.on('error', reject) })
    this.send(0, e => sync.writeSyncStep1(e, this.doc))
    this.send(1, e => encoding.writeVarUint8Array(e, awareness.encodeAwarenessUpdate(this.awareness, [this.doc.clientID])))
  }

  receive (data) {
    const d = decoding.createDecoder(data)
    const type = decoding.readVarUint(d)
    if (type === 0) {
      const e = encoding.createEncoder()
      encoding.writeVarUint(e, 0)
      if (sync.readSyncMessage(d, e, this.doc, this) === 1) this.synced = true
      if (encoding.length(e) > 1) this.ws.send(encoding.toUint8Array(e))
    } else if (type === 1) {
      awareness.applyAwarenessUpdate(this.awareness, decoding.readVarUint8Array(d), this)
    } else if (type === 100) {
      this.status = JSON.parse(decoding.readVarString(d))
    }
  }

  async leave () {
    this.ws.close()
    await until('the socket is closed', () => this.closed)
  }
}

const [a, b] = [new Client(), new Client()]
await a.connect()
await b.connect()
await until('both have synced', () => a.synced && b.synced && a.status && b.status)
assert.equal(a.text.toString(), 'one\ntwo 😀\n')
assert.equal(a.status.eol, 'crlf')
assert.equal(a.status.bom, true)
assert.equal(a.status.epoch, b.status.epoch)

// Awareness, as in the tests of y-protocols.
{
  let change = null
  b.awareness.on('change', c => { change = c })
  a.awareness.setLocalState({ x: 3 })
  await until('b hears of a', () => b.awareness.getStates().get(a.doc.clientID)?.x === 3)
  assert.equal(b.awareness.meta.get(a.doc.clientID).clock, a.awareness.meta.get(a.doc.clientID).clock)
  change = null
  a.awareness.setLocalState({ x: 4 })
  await until('b hears of the update', () => change)
  assert.deepEqual(change, { added: [], updated: [a.doc.clientID], removed: [] })
  change = null
  a.awareness.setLocalState({ x: 4 })
  await until('b hears that nothing is new', () => b.awareness.meta.get(a.doc.clientID).clock === a.awareness.meta.get(a.doc.clientID).clock)
  assert.equal(change, null)
  a.awareness.setLocalState(null)
  await until('b hears that a is gone', () => change)
  assert.deepEqual(change, { added: [], updated: [], removed: [a.doc.clientID] })
  assert.equal(b.awareness.getStates().has(a.doc.clientID), false)
  a.awareness.setLocalState({ x: 5 })
  await until('b hears of a again', () => b.awareness.getStates().get(a.doc.clientID)?.x === 5)
}

// One who comes later hears of those who are there.
const late = new Client()
await late.connect()
await until('the late one has all', () => late.awareness.getStates().get(a.doc.clientID)?.x === 5)
late.send(3, () => {})
await until('the late one is synced', () => late.synced)
assert.equal(late.text.toString(), a.text.toString())

// Everybody types.
const clients = [a, b, late]
const random = n => Math.floor(Math.random() * n)
for (let i = 0; i < 300; i++) {
  const { text } = clients[i % 3]
  if (random(4) === 0 && text.length > 3) text.delete(random(text.length - 2), 1 + random(2))
  else text.insert(random(text.length + 1), ['x', 'é', '😀', 'word ', '\n'][random(5)])
  if (i % 10 === 0) await new Promise(resolve => setImmediate(resolve))
}
await until('all have one text', () => clients.every(c => c.text.toString() === a.text.toString() &&
  Buffer.compare(Y.encodeStateVector(c.doc), Y.encodeStateVector(a.doc)) === 0))

// One leaves, both go on, and it comes back to the same epoch.
const { epoch } = late.status
await late.leave()
await until('b hears that it left', () => !b.awareness.getStates().has(late.doc.clientID))
late.text.insert(0, 'offline ')
a.text.insert(a.text.length, ' online')
await late.connect('&epoch=' + epoch)
await until('both edits are everywhere', () => clients.every(c => c.text.toString() === a.text.toString()) &&
  a.text.toString().includes('offline ') && a.text.toString().includes(' online'))

// One who only reads.
const reader = new Client()
await reader.connect('&readonly=1')
await until('the reader has the text', () => reader.synced && reader.text.toString() === a.text.toString())
assert.equal(reader.status.read_only, true)
reader.text.insert(0, 'not mine')
reader.awareness.setLocalState({ reader: true })
await until('the reader is seen', () => a.awareness.getStates().get(reader.doc.clientID)?.reader)
assert.equal(a.text.toString().includes('not mine'), false)
await reader.leave()

// State of another epoch, state of none, and nonsense.
const stale = new Client()
stale.text.insert(0, 'stale')
await stale.connect('&epoch=another')
await until('the stale one is refused', () => stale.closed)
assert.equal(stale.closed.code, 4409)
assert.equal(stale.status.epoch, epoch)
await stale.connect()
await until('the one that does not say is refused', () => stale.closed)
assert.equal(stale.closed.code, 4409)
const broken = new Client()
await broken.connect()
broken.send(0, e => { encoding.writeVarUint(e, 2); encoding.writeVarUint8Array(e, new Uint8Array([1, 1, 1])) })
await until('the broken one is refused', () => broken.closed)
assert.equal(broken.closed.code, 1008)

await until('the file is written', () => a.status.saved)
const text = a.text.toString()
for (const c of clients) {
  assert.equal(c.text.toString(), text)
  await c.leave()
}
process.stdout.write(text)
process.exit(0) // awareness keeps timers
