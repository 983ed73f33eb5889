import { DataIntegrityError, EncryptionError, EngineError } from '../core/errors.ts'
import type { Engine, View } from '../engine/engine.ts'

/** Where a store says in which format it is. */
export const FORMAT_KEY: Uint8Array = Buffer.from('format')
/** Under which an encrypted store keeps its keys, wrapped. An engine that decrypts does not show it. */
export const ENCRYPTION_KEY: Uint8Array = Buffer.from('encryption')
/** The layout of the store. Raised when an older varve could no longer read it. */
const FORMAT_VERSION = 2
/** What can be read as it is; opening a store for writing makes it one of the newest format. */
const OLDEST_FORMAT = 1
/** What stands in place of the version while a store is being copied to where it is. */
const UNFINISHED_COPY = 'unfinished copy'

/**
 * Checks that a store is of a format that this varve reads, and makes it a new store where there is none.
 *
 * @throws {EngineError} with code `FORMAT_TOO_NEW` if a newer varve wrote it, and `COPY_UNFINISHED` if it is being copied.
 * @throws {EncryptionError} with code `ENCRYPTION_KEY_MISSING` if the store is encrypted, and the engine does not decrypt it.
 */
export async function checkFormat(engine: Engine): Promise<void> {
  const stored = await engine.get('meta', FORMAT_KEY)
  if (stored !== undefined) {
    if ((await readFormat(stored, engine)) < FORMAT_VERSION) await upgrade(engine)
    return
  }
  // Decided under the write exclusion: two processes may create the store at once.
  await engine.commit(async (view, batch) => {
    const now = await view.get('meta', FORMAT_KEY)
    if (now !== undefined) {
      await readFormat(now, view)
      return
    }
    await assertReadable(view)
    batch.put('meta', FORMAT_KEY, FORMAT_ROW)
  })
}

/** Keeps an older varve from opening what this one is about to write. Rows change their form as they are written. */
async function upgrade(engine: Engine): Promise<void> {
  try {
    await engine.commit(async (view, batch) => {
      const now = await view.get('meta', FORMAT_KEY)
      if (now !== undefined && (await readFormat(now, view)) < FORMAT_VERSION)
        batch.put('meta', FORMAT_KEY, FORMAT_ROW)
    })
  } catch (error) {
    // Nothing will be written then.
    if (!(error instanceof EngineError) || error.code !== 'ENGINE_READ_ONLY') throw error
  }
}

/** Reads the format of a store that is there already. @throws as {@link readFormat}, and DataIntegrityError if it is missing. */
export async function requireFormat(store: Pick<View, 'get'>): Promise<void> {
  const stored = await store.get('meta', FORMAT_KEY)
  if (stored === undefined) throw new DataIntegrityError('The record of the format is missing.')
  await readFormat(stored, store)
}

/** The version of a format. @throws as {@link checkFormat}, unless it is the format of this varve. */
export async function readFormat(stored: Uint8Array, store: Pick<View, 'get'>): Promise<number> {
  // Only what cannot be read is a reason to ask whether it is encrypted.
  if (!isReadable(stored)) await assertReadable(store)
  const format = parse(stored)
  if (typeof format === 'number' && format >= OLDEST_FORMAT && format <= FORMAT_VERSION) return format
  if (typeof format === 'number' && format > FORMAT_VERSION) {
    throw new EngineError(
      `The store has format ${format}, and this varve reads formats up to ${FORMAT_VERSION}. Upgrade varve to open it; it was left as it is.`,
      { code: 'FORMAT_TOO_NEW' },
    )
  }
  if (format === UNFINISHED_COPY) {
    throw new EngineError(
      'A store is being copied or repaired to here, or that was broken off. Call copyStore() or repair(), or "varve copy", again with the same target to go on.',
      { code: 'COPY_UNFINISHED' },
    )
  }
  throw new DataIntegrityError(`The store has an unknown format (${JSON.stringify(format)}): it is damaged.`)
}

/** What stands as the format of a target while it is copied to, with an id that tells copies apart. */
export function copyMark(id: string): Uint8Array {
  return encode(UNFINISHED_COPY, id)
}

export function isCopyMark(stored: Uint8Array | undefined): boolean {
  return stored !== undefined && isReadable(stored) && parse(stored) === UNFINISHED_COPY
}

/** What stands as the format of a store that this varve has written. */
export const FORMAT_ROW: Uint8Array = encode(FORMAT_VERSION)

function encode(format: number | string, copy?: string): Uint8Array {
  return Buffer.from(JSON.stringify({ format, copy }))
}

/** @throws {EncryptionError} if there are keys of an encryption, which nobody who can use them would be shown. */
async function assertReadable(store: Pick<View, 'get'>): Promise<void> {
  if ((await store.get('meta', ENCRYPTION_KEY)) === undefined) return
  throw new EncryptionError(
    'The store is encrypted, and no key was given. Open it with the option "encryptionKey", or with encrypted(engine, { key }); it was left as it is.',
    { code: 'ENCRYPTION_KEY_MISSING' },
  )
}

function isReadable(stored: Uint8Array): boolean {
  return stored[0] === '{'.charCodeAt(0)
}

function parse(stored: Uint8Array): unknown {
  try {
    return (JSON.parse(Buffer.from(stored).toString('utf8')) as { format?: unknown }).format
  } catch (cause) {
    throw new DataIntegrityError('The format record of the store cannot be read: the store is damaged.', {
      cause,
    })
  }
}
