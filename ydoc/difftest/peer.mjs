// Runs scenarios for package difftest. Standard input brings lines of JSON, and
// standard output takes them: {run: [scenario]} asks for a batch; while it runs,
// {ask: [[scenario, request]]} asks the Go process for what its servers answer and
// {answer: [...]} brings that; {done: [result]} ends the batch.
//
// Every scenario runs twice with real Yjs clients: against a Yjs document as the
// server, which is the control, and against the Go process. The same code runs
// both: it yields what it wants of the server.
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const Y = await import(pathToFileURL(process.argv[1] + '/node_modules/yjs/dist/yjs.mjs'))

const b64 = u => Buffer.from(u).toString('base64')
const unb64 = s => new Uint8Array(Buffer.from(s, 'base64'))

// The control: what package difftest's server does, with Yjs.
class Control {
  constructor (s) {
    this.s = s
    this.id = 1000
    this.start(null)
  }

  start (state) {
    this.doc = new Y.Doc({ gc: !this.s.keep, guid: 'g' })
    this.doc.clientID = this.id++ // as every start of a real server
    if (state) Y.applyUpdate(this.doc, state)
    this.doc.on('update', u => this.out.push(u))
  }

  handle (q) {
    this.out = []
    switch (q.k) {
      case 'apply': Y.applyUpdate(this.doc, q.data, 'remote'); break
      case 'diff': return [Y.encodeStateAsUpdate(this.doc, q.data)]
      case 'vector': return [Y.encodeStateVector(this.doc)]
      case 'restart': this.start(Y.encodeStateAsUpdate(this.doc)); break
      case 'text': return [new TextEncoder().encode(this.doc.getText('text').toString())]
      case 'outside': this.doc.transact(() => edit(this.doc.getText('text'), q)); break
    }
    return this.out
  }
}

// An edit at a place that is given as a large number.
function edit (text, op) {
  const at = op.p % (text.length + 1)
  const n = Math.min(op.n, text.length - at)
  if (n > 0) text.delete(at, n)
  if (op.s) text.insert(at, op.s)
}

function * sync (c) {
  const diff = yield { k: 'diff', data: Y.encodeStateVector(c.doc) }
  Y.applyUpdate(c.doc, diff[0], 'remote')
  const sv = yield { k: 'vector' }
  const mine = Y.encodeStateAsUpdate(c.doc, sv[0])
  return yield { k: 'apply', data: mine }
}

// What has no text: other types, which the server carries without a look.
function other (doc, op) {
  const map = doc.getMap('map'); const array = doc.getArray('array')
  const key = 'k' + op.p % 3
  switch (op.n % 10) {
    case 0: map.set(key, op.p); break
    case 1: map.delete(key); break
    case 2: array.insert(op.p % (array.length + 1), [op.p, null, op.s, { a: [1.5, true, undefined] }]); break
    case 3: if (array.length > 0) array.delete(op.p % array.length, 1); break
    case 4: map.set(key, new Y.Map([['x', op.s], ['y', new Y.Array()]])); break
    case 5: {
      const m = map.get(key)
      if (m instanceof Y.Map) m.set('x', new Y.Text(op.s))
      break
    }
    case 6: {
      const t = doc.getText('rich')
      t.insert(op.p % (t.length + 1), op.s, op.p % 2 ? { bold: true } : undefined)
      break
    }
    case 7: {
      const t = doc.getText('rich')
      if (t.length > 0) t.format(op.p % t.length, 1, { italic: op.p % 3 ? 1 : null })
      break
    }
    case 8: {
      const x = doc.getXmlFragment('xml')
      if (x.length > 3) x.delete(op.p % x.length, 1)
      else {
        const e = new Y.XmlElement('p')
        e.setAttribute('class', op.s)
        e.insert(0, [new Y.XmlText(op.s)])
        x.insert(op.p % (x.length + 1), [e])
      }
      break
    }
    case 9:
      if (op.p % 2) array.insert(0, [new Uint8Array([op.p & 255])])
      else if (op.p % 3) doc.getText('rich').insertEmbed(0, { image: op.s })
      else map.set(key, new Y.Doc({ guid: 'sub' + op.p }))
  }
}

// What a user sees of a document; the order of a map's keys says nothing.
const content = doc => JSON.stringify([doc.getText('text').toString(), doc.getMap('map').toJSON(), doc.getArray('array').toJSON(),
  doc.getText('rich').toDelta(), doc.getXmlFragment('xml').toString()],
(k, v) => v instanceof Y.Doc ? v.guid : v && v.constructor === Object ? Object.fromEntries(Object.entries(v).sort()) : v)

const sorted = m => JSON.stringify([...m.entries()].sort((a, b) => a[0] - b[0]))

// A delete set with its ranges joined, and without clients that have none.
function deletes (update) {
  const ds = new Map()
  Y.decodeUpdate(update).ds.clients.forEach((list, client) => {
    const all = []
    for (const d of [...list].sort((a, b) => a.clock - b.clock)) {
      const last = all[all.length - 1]
      if (last && last[0] + last[1] >= d.clock) last[1] = Math.max(last[1], d.clock + d.len - last[0])
      else all.push([d.clock, d.len])
    }
    if (all.length) ds.set(client, all)
  })
  return sorted(ds)
}

function * run (s) {
  const clients = []
  for (let i = 0; i < s.clients; i++) {
    const doc = new Y.Doc({ gc: !s.keep, guid: 'g' })
    doc.clientID = 10 + i
    const c = { doc, text: doc.getText('text'), out: [], inbox: [], off: false }
    doc.on('update', (u, origin) => { if (origin !== 'remote') c.out.push(u) })
    if (s.undo) c.undo = new Y.UndoManager(c.text, { captureTimeout: 0 })
    clients.push(c)
  }
  const send = (updates, from) => {
    for (const c of clients) if (c !== from && !c.off) c.inbox.push(...updates)
  }
  const take = (list, op) => {
    const i = op.p % list.length
    return op.n ? list[i] : list.splice(i, 1)[0] // with n it comes again later
  }
  let lost = false
  for (const op of s.ops) {
    const c = clients[op.c % clients.length]
    switch (op.k) {
      case 'edit': c.doc.transact(() => edit(c.text, op)); break
      case 'other': c.doc.transact(() => other(c.doc, op)); break
      case 'undo': c.undo.undo(); break
      case 'redo': c.undo.redo(); break
      case 'up': if (!c.off && c.out.length) send(yield { k: 'apply', data: take(c.out, op) }, c); break
      case 'down': if (c.inbox.length) Y.applyUpdate(c.doc, take(c.inbox, op), 'remote'); break
      case 'off': c.off = true; lost = true; break
      case 'on':
        if (c.off) {
          c.off = false
          c.out = []
          c.inbox = []
          send(yield * sync(c), c)
        }
        break
      case 'restart': yield { k: 'restart' }; break
      case 'outside': send(yield { k: 'outside', p: op.p, n: op.n, s: op.s }, null); break
    }
  }
  for (const c of clients) while (c.out.length && !c.off) send(yield { k: 'apply', data: c.out.shift() }, c)
  for (const c of clients) while (c.inbox.length && !c.off) Y.applyUpdate(c.doc, c.inbox.shift(), 'remote')
  const vector = yield { k: 'vector' }
  if (!lost) {
    for (const c of clients) {
      if (sorted(Y.decodeStateVector(Y.encodeStateVector(c.doc))) !== sorted(Y.decodeStateVector(vector[0]))) return { fail: 'what the server relayed is not all' }
    }
  }
  for (const c of clients) yield * sync(c)
  for (const c of clients) Y.applyUpdate(c.doc, (yield { k: 'diff', data: Y.encodeStateVector(c.doc) })[0], 'remote')
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode((yield { k: 'text' })[0])
  const end = (yield { k: 'vector' })[0]
  const state = (yield { k: 'diff', data: new Uint8Array([0]) })[0]
  const fresh = new Y.Doc({ gc: !s.keep, guid: 'g' })
  Y.applyUpdate(fresh, state)
  if (fresh.store.pendingStructs || fresh.store.pendingDs) return { fail: 'the full state leaves something pending' }
  if (fresh.getText('text').toString() !== text) return { fail: 'the full state has another text', was: [fresh.getText('text').toString(), text] }
  if (sorted(Y.decodeStateVector(Y.encodeStateVector(fresh))) !== sorted(Y.decodeStateVector(end))) return { fail: 'the full state has another vector' }
  for (const c of clients) {
    if (c.text.toString() !== text) return { fail: 'the texts differ', was: [c.text.toString(), text] }
    if (content(c.doc) !== content(fresh)) return { fail: 'the content differs', was: [content(c.doc), content(fresh)] }
    if (c.doc.store.pendingStructs || c.doc.store.pendingDs) return { fail: 'something is pending in a client' }
    if (sorted(Y.decodeStateVector(Y.encodeStateVector(c.doc))) !== sorted(Y.decodeStateVector(end))) return { fail: 'the state vectors differ' }
    if (deletes(Y.encodeStateAsUpdate(c.doc)) !== deletes(state)) return { fail: 'the delete sets differ', was: [deletes(Y.encodeStateAsUpdate(c.doc)), deletes(state)] }
  }
  for (const c of clients) c.doc.destroy()
  return { fail: '', text, size: state.length }
}

// One step of a run; an exception is a failure.
function step (gen, value) {
  try {
    return gen.next(value)
  } catch (e) {
    return { done: true, value: { fail: 'exception: ' + e.message } }
  }
}

function control (s) {
  const server = new Control(s)
  const gen = run(s)
  let r = step(gen)
  try {
    while (!r.done) r = step(gen, server.handle(r.value))
  } catch (e) {
    return { fail: 'exception in the server: ' + e.message }
  }
  return r.value
}

// Where both runs went well they made the same edits, and so the same text.
const compare = (ours, control) => ours.fail || control.fail || ours.text === control.text
  ? ours
  : { fail: 'another text than with the control', was: [ours.text, control.text] }

// Yjs prints to the console where it swallows errors; nothing of that is for us.
console.error = console.warn = console.log = () => {}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const receive = async () => {
  const { value, done } = await lines.next()
  return done ? null : JSON.parse(value)
}
const tell = v => process.stdout.write(JSON.stringify(v) + '\n')

for (let msg = await receive(); msg; msg = await receive()) {
  const results = msg.run.map(s => ({ control: control(s) }))
  const gens = msg.run.map(run)
  let open = gens.map((g, i) => [i, step(g)])
  for (;;) {
    open = open.filter(([i, r]) => {
      if (r.done) results[i].ours = compare(r.value, results[i].control)
      return !r.done
    })
    if (open.length === 0) break
    tell({ ask: open.map(([i, { value: q }]) => ({ i, ...q, data: q.data && b64(q.data) })) })
    const { answer } = await receive()
    open = open.map(([i], j) => [i, answer[j].error
      ? { done: true, value: { fail: answer[j].error } }
      : step(gens[i], (answer[j].out || []).map(unb64))])
  }
  tell({ done: results })
}
