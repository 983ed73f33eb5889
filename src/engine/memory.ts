import type BTreeModule from 'sorted-btree'
import { EmptyBTree, simpleComparator } from 'sorted-btree'
import { EMPTY_BYTES, fromByteString, toByteString } from '../core/bytes.ts'
import { EngineError } from '../core/errors.ts'
import type { Engine, FloorQuery, Page, Row, ScanRange, Table, View } from './engine.ts'
import { TABLES } from './engine.ts'
import { createLifecycle } from './lifecycle.ts'
import { boundsOf, fillPage } from './scan.ts'
import { createSerialQueue } from './serial-queue.ts'
import { createWriteBatch, type WriteOperation } from './write-batch.ts'

/** Keys are byte strings (one character a byte), which compare as the bytes do. */
type Tree = InstanceType<typeof BTreeModule.default<string, Uint8Array>>

/**
 * The class of {@link EmptyBTree}. The default export of this CommonJS module is one thing to Node and another to
 * tools that rewrite it; its named exports are the same everywhere.
 */
const BTree = EmptyBTree.constructor as new (entries: undefined, compare: typeof simpleComparator) => Tree

/**
 * All tables as of one commit. Never changed once published: a commit works on copies of the trees it touches
 * (`clone` shares their nodes until they are written), so a view is nothing but a reference.
 */
type State = Readonly<Record<Table, Tree>>

/**
 * An engine that keeps everything in this process's memory.
 *
 * The data lives as long as the engine object: closing and opening it again keeps it, and nothing else does. Commits
 * survive nothing, `flush` or not.
 *
 * @example
 * ```ts
 * import { createPersistence } from 'varve'
 * import { memory } from 'varve/engine'
 *
 * await using state = await createPersistence({ engine: memory() })
 * ```
 */
export function memory(): Engine {
  let state = Object.fromEntries(
    TABLES.map(table => [table, new BTree(undefined, simpleComparator)]),
  ) as State
  const commits = createSerialQueue()
  const opened = createLifecycle(
    () => commits,
    queue => queue.idle(),
  )

  return {
    name: 'memory',
    open: opened.open,
    close: opened.close,

    get(table, key) {
      opened.get()
      return copyOf(state[table].get(toByteString(key)))
    },

    read() {
      opened.get()
      return new MemoryView(state, opened.get)
    },

    async commit(build) {
      opened.get()
      return commits.run(async () => {
        const batch = createWriteBatch()
        const view = new MemoryView(state, () => undefined)
        try {
          const value = await build(view, batch)
          state = apply(state, batch.operations)
          return value
        } finally {
          view.close()
        }
      })
    },

    stats() {
      opened.get()
      const tables = Object.fromEntries(TABLES.map(table => [table, sizeOf(state[table])])) as Record<
        Table,
        ReturnType<typeof sizeOf>
      >
      const bytes = Object.values(tables).reduce((sum, table) => sum + table.bytes, 0)
      return { bytes, tables, freeBytes: 0 }
    },
  }
}

class MemoryView implements View {
  readonly #state: State
  /** Throws where the engine has been closed meanwhile. */
  readonly #assertOpen: () => void
  #closed = false

  constructor(state: State, assertOpen: () => void) {
    this.#state = state
    this.#assertOpen = assertOpen
  }

  get(table: Table, key: Uint8Array): Uint8Array | undefined {
    return copyOf(this.#tree(table).get(toByteString(key)))
  }

  getMany(table: Table, keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    return keys.map(key => this.get(table, key))
  }

  seek(table: Table, query: FloorQuery): Row | undefined {
    const pair = this.#tree(table).getPairOrNextLower(toByteString(query.key))
    if (pair === undefined || pair[0] < toByteString(query.min)) return undefined
    return { key: fromByteString(pair[0]), value: copyOf(pair[1]) }
  }

  seekMany(table: Table, queries: readonly FloorQuery[]): (Row | undefined)[] {
    return queries.map(query => this.seek(table, query))
  }

  scan(table: Table, range: ScanRange): Page {
    return fillPage(rowsOf(this.#tree(table), range), range.limit)
  }

  close(): void {
    this.#closed = true
  }

  #tree(table: Table): Tree {
    this.#assertOpen()
    if (this.#closed) throw new EngineError('The view is closed; open another with read().')
    return this.#state[table]
  }
}

function* rowsOf(tree: Tree, range: ScanRange): Generator<Row> {
  const { lower, upper } = boundsOf(range)
  const low = lower && toByteString(lower.key)
  const high = upper && toByteString(upper.key)
  const pairs = range.reverse ? tree.entriesReversed(high) : tree.entries(low)
  for (const [key, value] of pairs) {
    const below = low !== undefined && (key < low || (key === low && !lower?.inclusive))
    const above = high !== undefined && (key > high || (key === high && !upper?.inclusive))
    if (range.reverse ? below : above) return
    if (below || above) continue
    yield { key: fromByteString(key), value: range.keysOnly ? EMPTY_BYTES : copyOf(value) }
  }
}

function apply(before: State, operations: readonly WriteOperation[]): State {
  const after: Record<Table, Tree> = { ...before }
  for (const { table, key, value } of operations) {
    if (after[table] === before[table]) after[table] = before[table].clone()
    if (value === undefined) after[table].delete(toByteString(key))
    else after[table].set(toByteString(key), compact(value))
  }
  return after
}

/** The bytes alone in their memory: kept as they came, a few bytes could pin a large buffer that they are part of. */
function compact(value: Uint8Array): Uint8Array {
  return value.byteLength === value.buffer.byteLength ? value : Uint8Array.prototype.slice.call(value)
}

/** A copy for the receiver, who may change it. */
function copyOf(value: Uint8Array): Uint8Array
function copyOf(value: Uint8Array | undefined): Uint8Array | undefined
function copyOf(value: Uint8Array | undefined): Uint8Array | undefined {
  return value && Buffer.from(value)
}

function sizeOf(tree: Tree): { entries: number; bytes: number } {
  let bytes = 0
  tree.forEachPair((key, value) => {
    bytes += key.length + value.byteLength
  })
  return { entries: tree.size, bytes }
}
