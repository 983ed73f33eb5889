import { JsonBatch } from './json-batch.ts'
import { type KeyCodec, PLAIN_KEYS } from './key.ts'

/** Decodes keys, most of them together: see {@link JsonBatch}. */
export class KeyBatch {
  readonly #codec: KeyCodec
  readonly #batch = new JsonBatch()

  constructor(codec: KeyCodec) {
    this.#codec = codec
  }

  /** Takes a key as it is stored; the bytes may be written over afterwards. */
  add(stored: Uint8Array): void {
    if (this.#codec !== PLAIN_KEYS || !this.#batch.addString(stored))
      this.#batch.addValue(this.#codec.decode(stored))
  }

  /** All keys since the last call, in their order. */
  take(): string[] {
    return this.#batch.take() as string[]
  }
}
