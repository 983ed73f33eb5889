import { DataIntegrityError } from '../core/errors.ts'
import { birthIn, keyText, splitVersionKey, versionKey } from '../core/key.ts'
import { JSON_CODEC } from '../core/value-codec.ts'
import { type Chain, openChain } from '../delta/chain-record.ts'
import type { Row } from '../engine/engine.ts'
import { type KeptChain, keepChain, knownChain } from './chain-cache.ts'
import { CHAIN, encodeRecord, type ParsedRecord, parseRecord } from './record.ts'
import { PATCHED, resolvePatch } from './structural-chain.ts'

/**
 * The rows of the history table: `(key, birth)` holds either one version or a chain of them.
 *
 * A chain stands under the birth of its oldest version and holds all versions of its key up to the next row, so that
 * the floor of an epoch among the rows leads to the version either way, in one seek.
 */

/** A row taken apart, as far as its kind. */
export interface VersionRow {
  readonly key: Uint8Array
  /** The version, or the record that holds the chain. */
  readonly record: ParsedRecord
}

/** @throws {DataIntegrityError} if the row is not what was written there. */
export function parseVersionRow(row: Row): VersionRow {
  const { key, birth } = splitVersionKey(row.key)
  return { key, record: parseVersion(key, birth, row) }
}

function parseVersion(key: Uint8Array, birth: number, row: Row): ParsedRecord {
  const record = parseMarked(key, row)
  if (record.birth === birth) return record
  throw mark(
    row.key,
    new DataIntegrityError(
      `A version of key ${JSON.stringify(keyText(key))} stands under epoch ${birth} but was written in ${record.birth}: the store is damaged.`,
    ),
  )
}

/** The rows that errors are about, by which `damage.ts` finds out whom they concern. */
const damagedRows = new WeakMap<DataIntegrityError, Uint8Array>()

/** The key of the row in the history that could not be read, if that is what an error says. */
export function damagedRowOf(error: unknown): Uint8Array | undefined {
  return error instanceof DataIntegrityError ? damagedRows.get(error) : undefined
}

function mark(rowKey: Uint8Array, error: DataIntegrityError): DataIntegrityError {
  damagedRows.set(error, rowKey)
  return error
}

function parseMarked(key: Uint8Array, row: Row): ParsedRecord {
  try {
    return parseRecord(key, row.value)
  } catch (error) {
    throw error instanceof DataIntegrityError ? mark(row.key, error) : error
  }
}

/** Is told the chain that a version was read from. */
export type ChainVisitor = (chain: KeptChain) => void

/**
 * The version in a row that a reader at `epoch` sees. The row is the floor of that epoch, of its `key`, which who has asked
 * for it mostly has at hand.
 */
export function versionAt(
  row: Row,
  epoch: number,
  key = splitVersionKey(row.key).key,
  onChain?: ChainVisitor,
): ParsedRecord {
  if (row.value[0] !== CHAIN) return parseVersion(key, birthIn(row.key), row)
  const known = knownChain(row)
  if (known !== undefined) {
    onChain?.(known)
    return keptVersion(known, known.indexAt(epoch))
  }
  const record = parseVersion(key, birthIn(row.key), row)
  return inChain(key, record.birth, () => {
    const chain = openChain(record.bytes)
    const version = chainedVersion(chain, chain.indexAt(epoch))
    const kept = keepChain(row, key, record.bytes, chain)
    onChain?.(kept)
    return version
  })
}

/** A version of a chain of the cache. */
export function keptVersion(kept: KeptChain, index: number): ParsedRecord {
  return inChain(kept.key, kept.births[0] as number, () => kept.version(index, chainedVersion))
}

/** All versions of a row, oldest first. */
export function versionsOf(row: Row): ParsedRecord[] {
  const { key, record } = parseVersionRow(row)
  if (record.codec !== CHAIN) return [record]
  return inChain(key, record.birth, () => {
    const chain = openChain(record.bytes)
    if (chain.codecs.includes(PATCHED)) return chain.births.map((_, i) => chainedVersion(chain, i))
    return chain.versions().map(({ birth, codec, payload }) => ({ birth, codec, bytes: payload }))
  })
}

/** The births of the versions of a row and whether each is a tombstone, oldest first; without their payloads. */
export function birthsOf(row: Row): { readonly birth: number; readonly codec: number }[] {
  const { key, record } = parseVersionRow(row)
  if (record.codec !== CHAIN) return [record]
  return inChain(key, record.birth, () => {
    const chain = knownChain(row)?.open() ?? openChain(record.bytes)
    return chain.births.map((birth, i) => ({ birth, codec: chain.codecs[i] as number }))
  })
}

/** The value of a row that holds a chain. */
export function encodeChainRow(key: Uint8Array, firstBirth: number, chain: Uint8Array): Uint8Array {
  return encodeRecord(key, firstBirth, { codec: CHAIN, bytes: chain })
}

function chainedVersion(chain: Chain, index: number): ParsedRecord {
  const birth = chain.births[index] as number
  const codec = chain.codecs[index] as number
  if (codec === PATCHED) return { birth, codec: JSON_CODEC, bytes: resolvePatch(chain, index) }
  return { birth, codec, bytes: chain.payload(index) }
}

/** Whether versions of a chain row are patches on others, so that none can be taken out of the record by itself. */
export function isStructural(record: ParsedRecord): boolean {
  return record.codec === CHAIN && openChain(record.bytes).codecs.includes(PATCHED)
}

/** Says which key and which versions a damaged chain holds. */
function inChain<T>(key: Uint8Array, firstBirth: number, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (!(cause instanceof DataIntegrityError)) throw cause
    const message = `The versions of key ${JSON.stringify(keyText(key))} from epoch ${firstBirth} on cannot be read: ${cause.message}`
    throw mark(versionKey(key, firstBirth), new DataIntegrityError(message, { cause }))
  }
}
