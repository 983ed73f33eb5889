import { InvalidArgumentError } from '../core/errors.ts'
import { type Batch, MAX_KEY_BYTES, MAX_VALUE_BYTES, type Table } from './engine.ts'

/** One write of a commit. `value` is absent where the key is deleted. */
export interface WriteOperation {
  readonly table: Table
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

/** A {@link Batch} that keeps its operations, in order, until the engine applies them. */
export interface WriteBatch extends Batch {
  readonly operations: readonly WriteOperation[]
}

export function createWriteBatch(): WriteBatch {
  const operations: WriteOperation[] = []
  return {
    operations,
    put(table, key, value) {
      assertWrite(key, value)
      operations.push({ table, key, value })
    },
    delete(table, key) {
      assertWrite(key)
      operations.push({ table, key, value: undefined })
    },
  }
}

/**
 * Refuses, as a {@link Batch} does, bytes that an engine would only refuse halfway through applying it.
 *
 * @param value absent where the key is deleted
 */
export function assertWrite(key: Uint8Array, value?: Uint8Array): void {
  assertKey(key)
  if (value !== undefined) assertValue(value)
}

function assertKey(key: Uint8Array): void {
  if (!(key instanceof Uint8Array) || key.byteLength === 0 || key.byteLength > MAX_KEY_BYTES) {
    throw new InvalidArgumentError(
      `An engine key is a Uint8Array of 1 to ${MAX_KEY_BYTES} bytes; ${describe(key)}.`,
    )
  }
}

function assertValue(value: Uint8Array): void {
  if (!(value instanceof Uint8Array) || value.byteLength > MAX_VALUE_BYTES) {
    throw new InvalidArgumentError(
      `An engine value is a Uint8Array of at most ${MAX_VALUE_BYTES} bytes; ${describe(value)}.`,
    )
  }
}

function describe(bytes: Uint8Array): string {
  return bytes instanceof Uint8Array ? `this one has ${bytes.byteLength}` : `this is a ${typeof bytes}`
}
