// Measures Yjs for TestBenchYdoc: node --expose-gc ydoc.mjs MODULES TRACE UPDATES.
// TRACE is JSON, a list of [position, deleted, inserted]. The updates of each edit
// are written to the file UPDATES, each behind its length in four bytes; one line
// of JSON with CPU milliseconds and bytes goes to standard output.
import { readFileSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const [modules, trace, file] = process.argv.slice(2)
const Y = await import(pathToFileURL(modules + '/node_modules/yjs/dist/yjs.mjs'))
const edits = JSON.parse(readFileSync(trace, 'utf8'))

const cpu = f => {
  globalThis.gc()
  const before = process.cpuUsage()
  const r = f()
  const used = process.cpuUsage(before)
  return [(used.user + used.system) / 1000, r]
}

let updates = []
const local = () => {
  const doc = new Y.Doc()
  doc.on('update', u => updates.push(u))
  const text = doc.getText('text')
  for (const [at, del, ins] of edits) {
    if (del) text.delete(at, del)
    if (ins) text.insert(at, ins)
  }
  return doc
}
const apply = () => {
  const doc = new Y.Doc()
  let relayed = 0
  doc.on('update', u => { relayed += u.length })
  for (const u of updates) Y.applyUpdate(doc, u)
  return doc
}

const [localMS, doc] = cpu(local)
const state = Y.encodeStateAsUpdate(doc)
const text = doc.getText('text').toString()
const lengths = updates.map(u => { const b = Buffer.alloc(4); b.writeUInt32BE(u.length); return b })
writeFileSync(file, Buffer.concat(updates.flatMap((u, i) => [lengths[i], u])))
const [applyMS] = cpu(apply)
const loads = 20
const [loadMS] = cpu(() => {
  for (let i = 0; i < loads; i++) Y.applyUpdate(new Y.Doc(), state)
})
const [encodeMS] = cpu(() => {
  for (let i = 0; i < loads; i++) Y.encodeStateAsUpdate(doc)
})
updates = null
globalThis.gc()
const before = process.memoryUsage().heapUsed
const loaded = new Y.Doc()
Y.applyUpdate(loaded, state)
globalThis.gc()
const heap = process.memoryUsage().heapUsed - before
console.log(JSON.stringify({ local: localMS, apply: applyMS, load: loadMS / loads, encode: encodeMS / loads, heap, size: state.length, text }))
