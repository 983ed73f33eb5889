/** The parts that are used here of packages that have no types, or need not be installed. */

declare module 'hypercore' {
  export default class Hypercore {
    constructor(folder: string)
  }
}

declare module 'hyperbee' {
  import type Hypercore from 'hypercore'

  export interface HyperbeeEntry {
    readonly seq: number
    readonly key: string
    readonly value: unknown
  }

  interface HyperbeeBatch {
    put(key: string, value: unknown): Promise<void>
    del(key: string): Promise<void>
    flush(): Promise<void>
  }

  export default class Hyperbee {
    constructor(core: Hypercore, options: { keyEncoding: string; valueEncoding: string })
    readonly version: number
    ready(): Promise<void>
    put(key: string, value: unknown): Promise<void>
    get(key: string): Promise<HyperbeeEntry | null>
    batch(): HyperbeeBatch
    checkout(version: number): Hyperbee
    createReadStream(): AsyncIterable<HyperbeeEntry>
    /** `left` is what this version has, `right` the other one. */
    createDiffStream(
      version: number,
    ): AsyncIterable<{ readonly left: HyperbeeEntry | null; readonly right: HyperbeeEntry | null }>
    close(): Promise<void>
  }
}

declare module 'fossil-delta' {
  export function createDelta(source: Uint8Array, target: Uint8Array): Uint8Array
}
