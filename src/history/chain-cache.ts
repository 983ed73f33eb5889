import { bytesEqual, EMPTY_BYTES, toByteString } from '../core/bytes.ts'
import { partitionPoint } from '../core/partition-point.ts'
import { type Chain, reopenChain } from '../delta/chain-record.ts'
import type { Row } from '../engine/engine.ts'
import type { ParsedRecord } from './record.ts'

/**
 * Chains that were opened lately, so that scans and repeated reads check and inflate each of them once.
 *
 * An entry is used only for exactly the bytes it was opened from. It is therefore a memory of a pure function, and
 * may be shared by all stores of the process: nothing in it can be stale. (A store that knows more than that looks by
 * keys: see `key-chains.ts`.)
 *
 * What is kept of a chain is what it takes long to make, and no more: then most chains that are read fit. Its tables are made
 * anew at each read.
 */
const entries = new Map<string, KeptChain>()
/** Those with versions that were read again. */
const withVersions = new Set<KeptChain>()

const MAX_BYTES = 32 * 1024 * 1024
/** Of these, what versions may take, and the rest. */
const MAX_VERSION_BYTES = MAX_BYTES / 4
const MAX_ENTRY_BYTES = MAX_BYTES - MAX_VERSION_BYTES
/**
 * So much is given up at a time. An iteration passes over what was removed before it comes to the first that is left, so that
 * one for each entry would take longer than all else.
 */
const STRETCH = 1 / 16
/** What an entry takes besides its bytes, about, … */
const ENTRY_BYTES = 500
/** … for each version of its chain, … */
const BIRTH_BYTES = 8
/** … and each that is kept. */
const VERSION_BYTES = 150

/**
 * Of all entries. Both sets are in the order in which entries came; the first goes, unless it was used meanwhile: then it moves
 * to the end. That costs a use nothing, where to keep the order of use took longer than to read a version.
 */
let bytes = 0
/** Of all versions that are kept. */
let versionBytes = 0

/** What makes a version of a chain. */
export type ReadVersion = (chain: Chain, index: number) => ParsedRecord

/** A row of the history that holds a chain, opened. */
export class KeptChain {
  /** The key whose versions these are. */
  readonly key: Uint8Array
  readonly name: string
  /** Of the entry, without its versions. */
  readonly memoryBytes: number
  #births: readonly number[]
  #value: Uint8Array
  #record: Uint8Array
  #body: Uint8Array
  /** Whether it is among the entries. One that was there, and was given up, has nothing left to be read from. */
  isKept = false
  /** Whether it was used since it stood first. */
  isUsed = false
  areVersionsUsed = false
  /** By their index, once they were read from the cache. Nobody changes their bytes. */
  #versions: ParsedRecord[] = []
  #versionBytes = 0

  constructor(name: string, row: Row, key: Uint8Array, record: Uint8Array, chain: Chain) {
    this.name = name
    this.#births = chain.births
    // In memory of their own: a part of Node's pool of small buffers would keep all of a piece of it, whoever had the rest.
    ;[this.key, this.#value, this.#body] = ownParts(key, row.value, chain.body())
    const start = record.byteOffset - row.value.byteOffset
    this.#record = this.#value.subarray(start, start + record.byteLength)
    this.memoryBytes =
      ENTRY_BYTES +
      key.byteLength +
      row.key.byteLength +
      row.value.byteLength +
      this.#body.byteLength +
      BIRTH_BYTES * chain.births.length
  }

  /** Of its versions, ascending. */
  get births(): readonly number[] {
    return this.#births
  }

  isOf(row: Row): boolean {
    return bytesEqual(this.#value, row.value)
  }

  open(): Chain {
    return reopenChain(this.#record, this.#body)
  }

  /** The number of the version that a reader at `epoch` sees; -1 if all are younger. */
  indexAt(epoch: number): number {
    const births = this.#births
    return partitionPoint(births.length, i => (births[i] as number) <= epoch) - 1
  }

  /** A version that may be known; `read` reads it if not. */
  version(index: number, read: ReadVersion): ParsedRecord {
    const known = this.#versions[index]
    if (known !== undefined) {
      this.areVersionsUsed = true
      return known
    }
    const version = read(this.open(), index)
    const size = VERSION_BYTES + version.bytes.byteLength
    // It may have been given up since it was found.
    if (size > MAX_VERSION_BYTES / 4 || !this.isKept) return version
    this.#versions[index] = version
    this.#versionBytes += size
    versionBytes += size
    withVersions.add(this)
    if (versionBytes > MAX_VERSION_BYTES) forgetOldVersions()
    return version
  }

  /** Lets go of all that it has in memory: there may be somebody who has noted it. */
  release(): void {
    this.forgetVersions()
    this.isKept = false
    this.#births = []
    this.#value = EMPTY_BYTES
    this.#record = EMPTY_BYTES
    this.#body = EMPTY_BYTES
  }

  spareVersions(): void {
    this.areVersionsUsed = false
    withVersions.delete(this)
    withVersions.add(this)
  }

  forgetVersions(): void {
    withVersions.delete(this)
    versionBytes -= this.#versionBytes
    this.#versionBytes = 0
    this.#versions = []
  }
}

/** Copies of bytes, one after the other in a piece of memory that nothing else is in. */
function ownParts(a: Uint8Array, b: Uint8Array, c: Uint8Array): [Uint8Array, Uint8Array, Uint8Array] {
  const memory = Buffer.allocUnsafeSlow(a.byteLength + b.byteLength + c.byteLength)
  const [second, third] = [a.byteLength, a.byteLength + b.byteLength]
  memory.set(a)
  memory.set(b, second)
  memory.set(c, third)
  return [memory.subarray(0, second), memory.subarray(second, third), memory.subarray(third)]
}

function forgetOldVersions(): void {
  for (const oldest of withVersions) {
    if (versionBytes <= MAX_VERSION_BYTES * (1 - STRETCH)) break
    if (oldest.areVersionsUsed) oldest.spareVersions()
    else oldest.forgetVersions()
  }
}

/** The chain of a row, if it is known. */
export function knownChain(row: Row): KeptChain | undefined {
  const known = entries.get(toByteString(row.key))
  if (known === undefined) return undefined
  if (known.isOf(row)) {
    known.isUsed = true
    return known
  }
  giveUp(known)
  return undefined
}

/**
 * Keeps the chain of a row that is not known: `key` is the one whose versions it holds, `record` the chain as it is stored, a
 * part of the row's value.
 */
export function keepChain(row: Row, key: Uint8Array, record: Uint8Array, chain: Chain): KeptChain {
  const name = toByteString(row.key)
  const kept = new KeptChain(name, row, key, record, chain)
  if (kept.memoryBytes > MAX_BYTES / 4) return kept
  // Another read may have opened the same one meanwhile.
  const other = entries.get(name)
  if (other !== undefined) giveUp(other)
  bytes += kept.memoryBytes
  if (bytes > MAX_ENTRY_BYTES) giveUpOldEntries()
  entries.set(name, kept)
  kept.isKept = true
  return kept
}

function giveUpOldEntries(): void {
  for (const oldest of entries.values()) {
    if (bytes <= MAX_ENTRY_BYTES * (1 - STRETCH)) break
    if (oldest.isUsed) spare(oldest)
    else giveUp(oldest)
  }
}

function spare(chain: KeptChain): void {
  chain.isUsed = false
  entries.delete(chain.name)
  entries.set(chain.name, chain)
}

function giveUp(chain: KeptChain): void {
  chain.release()
  entries.delete(chain.name)
  bytes -= chain.memoryBytes
}
