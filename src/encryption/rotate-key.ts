import { randomBytes } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { EncryptionError } from '../core/errors.ts'
import { abortSignal, boolean, callback, checkOptions } from '../core/options.ts'
import { type EncryptionKey, KEY_BYTES, toSecret } from '../crypto/encryption-key.ts'
import { type Engine, type Row, TABLES, type Table } from '../engine/engine.ts'
import { withView } from '../engine/with-view.ts'
import { ENCRYPTION_KEY } from '../history/format.ts'
import { HEAD_KEY } from '../history/head.ts'
import { decodeKeyRecord, encodeKeyRecord, type KeyRecord } from './key-record.ts'
import type { KeyRing } from './key-ring.ts'

/** How a key is replaced. */
export interface RotateOptions {
  /**
   * Also replace the keys that the rows themselves are encrypted with, and encrypt all rows anew. That costs reading and
   * writing the whole store, in small commits beside the work of others. Default `false`: only the new key opens the store,
   * and no row is touched.
   */
  readonly reencrypt?: boolean
  /** Cancels encrypting anew. The new key is in use by then; another call goes on from there. */
  readonly signal?: AbortSignal
  /** Called every now and then with the rows looked at so far. */
  readonly onProgress?: (rows: number) => void
}

/** A commit encrypts at most so many rows, or about so many bytes, anew. */
const COMMIT_ROWS = 500
const COMMIT_BYTES = 4 * 1024 * 1024

/** Replaces the key of a store. The engine is the one below the encryption. */
export async function rotateKey(
  engine: Engine,
  ring: KeyRing,
  key: EncryptionKey,
  options: RotateOptions = {},
): Promise<void> {
  const secret = toSecret(key, 'key')
  const checked = checkOptions<RotateOptions>(
    options,
    { reencrypt: boolean, signal: abortSignal, onProgress: callback },
    'rotateEncryptionKey()',
  )
  const { reencrypt = false, signal } = checked
  signal?.throwIfAborted()
  const wrapped = await ring.wrapper(secret)
  const added = randomBytes(KEY_BYTES)
  const record = await updateKeyRecord(engine, ring, ({ dataKeys }) => {
    const generations = dataKeys.map(({ generation }) => generation)
    // With two keys, somebody began to encrypt anew and did not end: that is what is left to do.
    return wrapped(generations, reencrypt && generations.length === 1 ? added : undefined)
  })
  if (!reencrypt) return
  const newest = ring.generation
  await reseal(engine, ring, 'meta', [HEAD_KEY])
  await resealAll(engine, ring, checked)
  await updateKeyRecord(engine, ring, now => {
    // Somebody else may have gone on from here, with a key of theirs.
    const isOurs = JSON.stringify(now) === JSON.stringify(record)
    return isOurs && ring.generation === newest ? wrapped([newest]) : now
  })
}

async function updateKeyRecord(
  engine: Engine,
  ring: KeyRing,
  change: (record: KeyRecord) => KeyRecord,
): Promise<KeyRecord> {
  const updated = await engine.commit(
    async (view, batch) => {
      const stored = await view.get('meta', ENCRYPTION_KEY)
      if (stored === undefined) throw notEncrypted()
      const record = decodeKeyRecord(stored)
      ring.adopt(record)
      const next = change(record)
      if (next !== record) batch.put('meta', ENCRYPTION_KEY, encodeKeyRecord(next))
      return next
    },
    { flush: true },
  )
  ring.adopt(updated)
  return updated
}

function notEncrypted(): EncryptionError {
  return new EncryptionError('The store is not encrypted any more: somebody has put another in its place.', {
    code: 'ENCRYPTION_NOT_ENCRYPTED',
  })
}

/** Seals every row that is sealed with an older key with the newest. */
async function resealAll(
  engine: Engine,
  ring: KeyRing,
  { signal, onProgress }: RotateOptions,
): Promise<void> {
  let looked = 0
  for (const table of TABLES) {
    let gt: Uint8Array | undefined
    for (let more = true; more; ) {
      signal?.throwIfAborted()
      const after: Uint8Array | undefined = gt
      // A view of its own for each page, which pins nothing for long. Rows written meanwhile are sealed as they should be.
      const page = await withView(engine, view => view.scan(table, { gt: after }))
      for (const keys of portions(page.rows.filter(row => isOlder(ring, table, row)))) {
        signal?.throwIfAborted()
        await reseal(engine, ring, table, keys)
      }
      looked += page.rows.length
      onProgress?.(looked)
      gt = page.rows.at(-1)?.key ?? gt
      more = page.more && page.rows.length > 0
      // Others of this thread write meanwhile, and so meet the key that was added.
      await nextTurn()
    }
  }
}

function isOlder(ring: KeyRing, table: Table, { key, value }: Row): boolean {
  return !ring.isCurrent(value) && !(table === 'meta' && Buffer.compare(key, ENCRYPTION_KEY) === 0)
}

function* portions(rows: readonly Row[]): Generator<readonly Uint8Array[], void, undefined> {
  let keys: Uint8Array[] = []
  let bytes = 0
  for (const { key, value } of rows) {
    keys.push(key)
    bytes += value.byteLength
    if (keys.length < COMMIT_ROWS && bytes < COMMIT_BYTES) continue
    yield keys
    keys = []
    bytes = 0
  }
  if (keys.length > 0) yield keys
}

/** A row that cannot be opened stays as it is: what it held is lost already, and verify() goes on to report it. */
function reseal(engine: Engine, ring: KeyRing, table: Table, keys: readonly Uint8Array[]): Promise<void> {
  return engine.commit(async (view, batch) => {
    const found = await view.getMany(table, keys)
    for (const [i, sealed] of found.entries()) {
      if (sealed === undefined || ring.isCurrent(sealed)) continue
      const key = keys[i] as Uint8Array
      const value = ring.open(table, key, sealed)
      if (value !== undefined) batch.put(table, key, ring.seal(table, key, value))
    }
  })
}
