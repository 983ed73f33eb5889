import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** What is done with a piece that a client sends. */
export type Verdict =
  /** Passed on. */
  | 'pass'
  /** Passed on, and the connection cut once the server has committed; the client gets no answer. */
  | 'cut the answer'
  /** Not passed on, and the connection cut. */
  | 'cut'

/** What the server says when it is ready for a query. */
const READY = Buffer.from('Z\0\0\0\x05I')

/** Stands between clients and a server, and breaks connections. */
export interface TcpProxy {
  /** The same server, through the proxy. */
  readonly url: string
  /** Judges what clients send; `undefined` passes everything on. */
  judge: ((piece: Buffer) => Verdict) | undefined
  /** What the server says, in the same piece, right after it has told that a new connection is ready; then that is cut. */
  lastWords: (() => Buffer | undefined) | undefined
  /** Whether new connections are refused. */
  refuse: boolean
  /** Breaks all connections there are. */
  cutAll(): void
}

export async function startProxy(serverUrl: string): Promise<TcpProxy> {
  const target = new URL(serverUrl)
  const sockets = new Set<Socket>()
  const server = createServer(client => {
    if (proxy.refuse) {
      client.destroy()
      return
    }
    const upstream = connect(Number(target.port), target.hostname)
    let swallowing = false
    let wasReady = false
    const end = (): void => {
      for (const socket of [client, upstream]) {
        socket.destroy()
        sockets.delete(socket)
      }
    }
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', end)
      socket.on('close', end)
    }
    client.on('data', piece => {
      const verdict = proxy.judge?.(piece) ?? 'pass'
      if (verdict === 'cut') end()
      else {
        swallowing ||= verdict === 'cut the answer'
        upstream.write(piece)
      }
    })
    upstream.on('data', piece => {
      const isReady = !wasReady && piece.includes(READY)
      wasReady ||= isReady
      const lastWords = isReady ? proxy.lastWords?.() : undefined
      if (lastWords !== undefined) {
        upstream.destroy()
        client.end(Buffer.concat([piece, lastWords]))
      } else if (!swallowing) client.write(piece)
      else if (piece.includes('COMMIT')) end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = new URL(serverUrl)
  url.port = String((server.address() as AddressInfo).port)
  const proxy: TcpProxy = {
    url: url.href,
    judge: undefined,
    lastWords: undefined,
    refuse: false,
    cutAll() {
      for (const socket of sockets) socket.destroy()
    },
  }
  onTestFinished(() => {
    proxy.cutAll()
    server.close()
  })
  return proxy
}
