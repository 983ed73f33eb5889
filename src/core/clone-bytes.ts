import { types } from 'node:util'
import { Deserializer, Serializer } from 'node:v8'
import { VIEW_TYPES } from './view-types.ts'

/*
 * V8's format of structured clone, with typed arrays, DataViews and Buffers written by ourselves, as
 *
 *   type (position in VIEW_TYPES), length in bytes, the bytes
 *
 * `v8.serialize` does likewise, but what `v8.deserialize` returns shares memory with its input, or with Node's pool of
 * small buffers; and V8's own form would write the whole memory that a view shows a part of.
 */

class CloneSerializer extends Serializer {
  constructor() {
    super()
    this._setTreatArrayBufferViewsAsHostObjects(true)
  }

  /** Called by V8 for what it leaves to the embedder: views, and objects made by Node.js, which cannot be stored. */
  _writeHostObject(object: object): void {
    const prototype = Object.getPrototypeOf(object)
    const type = VIEW_TYPES.findIndex(candidate => candidate.prototype === prototype)
    if (!types.isArrayBufferView(object) || type < 0) throw new TypeError('an object of Node.js itself')
    this.writeUint32(type)
    this.writeUint32(object.byteLength)
    this.writeRawBytes(object)
  }
}

class CloneDeserializer extends Deserializer {
  _readHostObject(): ArrayBufferView {
    const type = VIEW_TYPES[this.readUint32()]
    const length = this.readUint32()
    if (type === undefined) throw new TypeError('a view of an unknown type')
    const copy = new Uint8Array(this.readRawBytes(length))
    return type.over(copy.buffer)
  }
}

declare module 'node:v8' {
  interface Serializer {
    _setTreatArrayBufferViewsAsHostObjects(flag: boolean): void
  }
}

/**
 * The value in V8's format of structured clone.
 *
 * @throws whatever V8 throws where it cannot write a part, or where a getter does
 */
export function toCloneBytes(value: unknown): Uint8Array {
  const serializer = new CloneSerializer()
  serializer.writeHeader()
  serializer.writeValue(value)
  return serializer.releaseBuffer()
}

/**
 * The value that {@link toCloneBytes} wrote. It shares no memory with `bytes`.
 *
 * Meant for bytes known to be whole. V8 checks lengths and tags as it reads, so damaged bytes give an error or another
 * value; but it does not promise to withstand bytes made up to harm it.
 *
 * @throws an error of V8 if the bytes are not of this format, or of a newer version of it than this Node.js reads
 */
export function fromCloneBytes(bytes: Uint8Array): unknown {
  const deserializer = new CloneDeserializer(bytes)
  deserializer.readHeader()
  return deserializer.readValue()
}
