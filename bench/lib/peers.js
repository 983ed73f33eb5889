// @ts-check
import { join } from 'node:path'
import { Side } from './side.js'

/**
 * Runs `use` with processes in each of which a peer is open, on a folder of its own.
 *
 * @template {string} Name
 * @template T
 * @param {string} folder
 * @param {Record<Name, string>} peers which peer each side is; see `peers/`
 * @param {(sides: Record<Name, Side>) => Promise<T>} use
 * @param {readonly string[]} [execArgv] for Node.js
 */
export async function withPeers(folder, peers, use, execArgv) {
  const names = /** @type {Name[]} */ (Object.keys(peers))
  const sides = /** @type {Record<Name, Side>} */ ({})
  try {
    for (const name of names) {
      sides[name] = new Side('peer.js', execArgv)
      await sides[name].call('open', peers[name], join(folder, name))
    }
    const result = await use(sides)
    for (const name of names) await sides[name].call('close')
    return result
  } finally {
    for (const side of Object.values(sides)) await /** @type {Side} */ (side).end()
  }
}

/**
 * The sides that are called in turns by `interleave()`.
 *
 * @template {string} Name
 * @template T
 * @param {Record<Name, Side>} sides
 * @param {(side: Side, round: number, name: Name) => Promise<T>} call
 */
export function each(sides, call) {
  const names = /** @type {Name[]} */ (Object.keys(sides))
  /** @type {Partial<Record<Name, (round: number) => Promise<T>>>} */
  const calls = {}
  for (const name of names) calls[name] = round => call(sides[name], round, name)
  return /** @type {Record<Name, (round: number) => Promise<T>>} */ (calls)
}
