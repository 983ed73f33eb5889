import { JsonBatch } from '../core/json-batch.ts'
import { addTextTo, decodePayload, type Payload } from './record.ts'

/** Decodes payloads, those of short JSON text together: see {@link JsonBatch}. */
export class ValueBatch {
  readonly #batch = new JsonBatch()

  /** Takes a payload, which may be written over afterwards. */
  add(payload: Payload): void {
    if (!this.addText(payload)) this.addValue(decodePayload(payload))
  }

  /** The same, unless the payload is to be decoded by itself: then it answers false. */
  addText(payload: Payload): boolean {
    return addTextTo(this.#batch, payload)
  }

  /** Takes a value as it is. */
  addValue(value: unknown): void {
    this.#batch.addValue(value)
  }

  /** All values since the last call, in their order. @throws {DataIntegrityError} if one is damaged. */
  take(): unknown[] {
    return this.#batch.take()
  }
}
