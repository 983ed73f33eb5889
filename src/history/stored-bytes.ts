import { counterAt, counterKey } from '../core/key.ts'
import { MAX_VARINT_BYTES, VarintReader, writeSignedVarint } from '../core/varint.ts'
import type { Batch, Row, View } from '../engine/engine.ts'
import type { EpochRange } from './change-list.ts'
import { encodeRecord, parseRecord, TOMBSTONE } from './record.ts'
import { birthsOf } from './version-row.ts'

/**
 * What the values written in an epoch take now.
 *
 * The change lists know what commits wrote, less what they wrote over. What becomes of it later is noted here, by those
 * who do it: the packer, and the freeing of versions. For every stretch of epochs between two snapshots, what the
 * lists say and what stands here add up to the records of the values born in it, each as it is stored now. Nothing has
 * to be looked through to tell, and no caller's write costs more for it.
 *
 * The numbers of {@link BLOCK_EPOCHS} epochs share one row of the table `meta`.
 */
const PREFIX = Buffer.from('bytes/')
const END = Buffer.from('bytes0')
const BLOCK_EPOCHS = 256

/**
 * The bytes of a row of the history, by the births of the values in it: a chain's in equal shares, as its versions are
 * compressed together. Tombstones count for nothing, wherever they stand.
 */
function sharesOf(row: Row): [birth: number, bytes: number][] {
  const values = birthsOf(row).filter(({ codec }) => codec !== TOMBSTONE)
  const share = Math.floor(row.value.byteLength / values.length)
  const rest = row.value.byteLength - share * values.length
  return values.map(({ birth }, i) => [birth, i === values.length - 1 ? share + rest : share])
}

/** Gathers what one commit changes of the numbers. */
export class StoredBytesChange {
  readonly #changes = new Map<number, number>()

  add(epoch: number, bytes: number): void {
    this.#changes.set(epoch, (this.#changes.get(epoch) ?? 0) + bytes)
  }

  addRow(row: Row): void {
    for (const [birth, bytes] of sharesOf(row)) this.add(birth, bytes)
  }

  removeRow(row: Row): void {
    for (const [birth, bytes] of sharesOf(row)) this.add(birth, -bytes)
  }

  addAll(other: StoredBytesChange): void {
    for (const [epoch, bytes] of other.#changes) this.add(epoch, bytes)
  }

  /** Puts the changed numbers into the batch. Once a commit: a batch does not see what it holds already. */
  async flush(view: View, batch: Batch): Promise<void> {
    const blocks = new Map<number, number[]>()
    for (const [epoch, bytes] of this.#changes) {
      if (bytes === 0) continue
      const block = Math.floor(epoch / BLOCK_EPOCHS)
      let numbers = blocks.get(block)
      if (numbers === undefined) {
        numbers = await readBlock(view, block)
        blocks.set(block, numbers)
      }
      numbers[epoch % BLOCK_EPOCHS] = (numbers[epoch % BLOCK_EPOCHS] ?? 0) + bytes
    }
    for (const [block, numbers] of blocks) putBlock(batch, block, numbers)
  }
}

/** The number of each epoch of a range that has one, in order. */
export async function storedBytes(view: View, range: EpochRange): Promise<[epoch: number, bytes: number][]> {
  const found: [number, number][] = []
  let gte: Uint8Array | undefined = blockKey(Math.floor((range.after + 1) / BLOCK_EPOCHS))
  let gt: Uint8Array | undefined
  for (;;) {
    const page = await view.scan('meta', { gte, gt, lt: END })
    for (const { key, value } of page.rows) {
      const first = counterAt(key.subarray(PREFIX.byteLength)) * BLOCK_EPOCHS
      if (first > range.through) return found
      for (const [i, bytes] of decodeBlock(key, value).entries()) {
        const epoch = first + i
        if (bytes !== 0 && epoch > range.after && epoch <= range.through) found.push([epoch, bytes])
      }
    }
    gt = page.rows.at(-1)?.key
    gte = undefined
    if (!page.more || gt === undefined) return found
  }
}

/** Gathers the numbers of all epochs below `epoch`, and `bytes` more, in the one before it. */
export async function gatherBelow(view: View, batch: Batch, epoch: number, bytes: number): Promise<void> {
  const target = epoch - 1
  const block = Math.floor(target / BLOCK_EPOCHS)
  let sum = bytes
  const numbers = await readBlock(view, block)
  for (const [at, stored] of await storedBytes(view, { after: -1, through: target })) {
    sum += stored
    const its = Math.floor(at / BLOCK_EPOCHS)
    if (its === block) numbers[at % BLOCK_EPOCHS] = 0
    else batch.delete('meta', blockKey(its))
  }
  numbers[target % BLOCK_EPOCHS] = sum
  putBlock(batch, block, numbers)
}

function blockKey(block: number): Uint8Array {
  return Buffer.concat([PREFIX, counterKey(block)])
}

async function readBlock(view: View, block: number): Promise<number[]> {
  const key = blockKey(block)
  const stored = await view.get('meta', key)
  return stored === undefined ? [] : decodeBlock(key, stored)
}

function decodeBlock(key: Uint8Array, stored: Uint8Array): number[] {
  const reader = new VarintReader(parseRecord(key, stored).bytes)
  const numbers: number[] = []
  while (!reader.done) numbers.push(reader.nextSigned())
  return numbers
}

function putBlock(batch: Batch, block: number, numbers: readonly number[]): void {
  const key = blockKey(block)
  const bytes = Buffer.allocUnsafe(numbers.length * MAX_VARINT_BYTES)
  let at = 0
  for (let i = 0; i < numbers.length; i++) at = writeSignedVarint(bytes, at, numbers[i] ?? 0)
  batch.put('meta', key, encodeRecord(key, 0, { codec: 1, bytes: bytes.subarray(0, at) }))
}
