// Peers for TestBenchCollab: node servers.mjs MODULES KIND. The port is the first
// line of standard output.
import { createServer } from 'node:http'
import { pathToFileURL } from 'node:url'

const [modules, kind] = process.argv.slice(2)
const load = path => import(pathToFileURL(modules + '/node_modules/' + path))
const { WebSocketServer } = await load('ws/wrapper.mjs')

if (kind === 'hocuspocus') {
  const { Server } = await load('@hocuspocus/server/dist/hocuspocus-server.esm.js')
  const server = new Server({ port: 0, address: '127.0.0.1', quiet: true })
  await server.listen()
  console.log(server.address.port)
} else {
  const http = createServer()
  const wss = new WebSocketServer({ server: http })
  if (kind === 'relay') { // forwards bytes and knows nothing: what no server can beat by much
    wss.on('connection', ws => ws.on('message', data => {
      for (const other of wss.clients) if (other !== ws) other.send(data)
    }))
  } else {
    const { setupWSConnection } = await load('@y/websocket-server/src/utils.js')
    wss.on('connection', setupWSConnection)
  }
  http.listen(0, '127.0.0.1', () => console.log(http.address().port))
}
