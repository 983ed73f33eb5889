/** A typed array, `DataView` or `Buffer` class. */
export interface ViewType {
  readonly name: string
  readonly prototype: ArrayBufferView
  /** A view of the whole of `memory`; throws a `RangeError` if that ends inside an element. */
  readonly over: (memory: ArrayBuffer) => ArrayBufferView
}

interface ViewClass {
  readonly name: string
  readonly prototype: ArrayBufferView
  new (memory: ArrayBuffer): ArrayBufferView
}

function viewType(type: ViewClass): ViewType {
  return { name: type.name, prototype: type.prototype, over: memory => new type(memory) }
}

/** The views on binary data that values may hold. Their positions here are written to disk: only ever append. */
export const VIEW_TYPES: readonly ViewType[] = [
  viewType(Int8Array),
  viewType(Uint8Array),
  viewType(Uint8ClampedArray),
  viewType(Int16Array),
  viewType(Uint16Array),
  viewType(Int32Array),
  viewType(Uint32Array),
  viewType(Float32Array),
  viewType(Float64Array),
  viewType(BigInt64Array),
  viewType(BigUint64Array),
  viewType(DataView),
  { name: 'Buffer', prototype: Buffer.prototype, over: memory => Buffer.from(memory) },
]
