import { realpathSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { compareBytes, EMPTY_BYTES } from '../../core/bytes.ts'
import { EngineError } from '../../core/errors.ts'
import type {
  Damage,
  FloorQuery,
  Page,
  Row,
  SalvageOptions,
  SalvageView,
  ScanRange,
  StrayPage,
  Table,
} from '../engine.ts'
import { type Bounds, boundsOf, fillPage } from '../scan.ts'
import { MOVED_KEY } from './binding.ts'
import { toEngineError } from './errors.ts'
import { readStableStart } from './file-start.ts'
import { DATA_FILE, generationFolder, generationsIn, readCurrentGeneration } from './generation.ts'
import {
  BYTE_ORDER,
  type LeafNode,
  META_PAGES,
  type Meta,
  PageDamage,
  parseBigValue,
  parsePage,
  rescueLeaf,
  type TreePage,
} from './page.ts'
import { openPageFile, type PageFile, readPage } from './page-file.ts'
import { NO_PARENT, type Walked, walkPages } from './page-walk.ts'

/** Keeps others from writing over the pages of the newest commit of a generation; returns what ends that. */
export type Pin = (store: string, folder: string) => Promise<() => void>

/**
 * Reads what is whole of a store, without LMDB. Nothing is written.
 *
 * @throws EngineError if there is no data file of which the beginning can be read.
 */
export async function openSalvage(path: string, pin: Pin, options: SalvageOptions): Promise<SalvageView> {
  let folder: string
  try {
    folder = realpathSync(path)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw toEngineError(cause, 'read', path)
    throw new EngineError(`There is no store at ${JSON.stringify(path)}: the folder does not exist.`, {
      code: 'ENGINE_NO_STORE',
      cause,
    })
  }
  const problems: Damage[] = []
  let generation = findGeneration(folder, problems)
  for (;;) {
    const opened = await openGeneration(folder, generation, pin, problems, options)
    const next = opened.movedTo()
    if (next === undefined || next <= generation || !isFile(folder, next)) return opened
    opened.close()
    generation = next
  }
}

/** The generation to begin with: that of CURRENT, or where it is damaged, the greatest that has files. */
function findGeneration(folder: string, problems: Damage[]): number {
  let named: number | undefined
  try {
    named = readCurrentGeneration(folder)
    if (isFile(folder, named)) return named
    problems.push({
      message: `The file CURRENT names generation ${named}, of which there is no ${DATA_FILE}.`,
      isLossOfRows: true,
    })
  } catch (error) {
    if (!(error instanceof EngineError)) throw toEngineError(error, 'read', folder)
    problems.push({ message: error.message, isLossOfRows: false })
  }
  const generations = generationsIn(folder).filter(generation => isFile(folder, generation))
  // The greatest may be an unfinished copy: then the one before has not moved, and is the whole one.
  const [first] = generations.sort((a, b) => a - b)
  if (first !== undefined) return first
  throw new EngineError(
    `There is no ${DATA_FILE} in ${JSON.stringify(folder)}, nor in a folder of a generation.`,
    {
      code: 'ENGINE_NO_STORE',
    },
  )
}

function isFile(folder: string, generation: number): boolean {
  const found = statSync(join(generationFolder(folder, generation), DATA_FILE), { throwIfNoEntry: false })
  return found?.isFile() === true && found.size > 0
}

async function openGeneration(
  folder: string,
  generation: number,
  pin: Pin,
  problems: readonly Damage[],
  options: SalvageOptions,
): Promise<LmdbSalvage> {
  const place = generationFolder(folder, generation)
  const releases: (() => void)[] = []
  try {
    const file = openPageFile(join(place, DATA_FILE))
    releases.push(file.close)
    let start = readStableStart(file)
    if (start.problems.length === 0) {
      releases.unshift(await pin(folder, place).catch(() => () => undefined))
      // Of the commits since, the pages are kept as well.
      start = readStableStart(file)
    }
    const walked = await walkPages(file, start, options)
    return new LmdbSalvage(file, start.meta, walked, problems, () => {
      for (const release of releases.splice(0)) release()
    })
  } catch (error) {
    for (const release of releases) release()
    if (error instanceof PageDamage) {
      throw new EngineError(
        `Cannot read the store in ${JSON.stringify(place)}: ${DATA_FILE} in it ${error.message}.`,
        {
          cause: error,
        },
      )
    }
    if (options.signal?.aborted === true) throw error
    throw toEngineError(error, 'read', place)
  }
}

/** A tree is read no deeper than LMDB's cursors go; where pages lead in circles, the walk has cut them. */
class LmdbSalvage implements SalvageView {
  readonly damage: readonly Damage[]
  readonly mayStraysBeOutdated: boolean
  readonly #file: PageFile
  readonly #meta: Meta
  readonly #walked: Walked
  readonly #release: () => void

  constructor(file: PageFile, meta: Meta, walked: Walked, problems: readonly Damage[], release: () => void) {
    this.#file = file
    // The number of the last page may be damaged itself.
    this.#meta = { ...meta, lastPage: Math.max(meta.lastPage, Math.ceil(file.size() / meta.pageBytes) - 1) }
    this.#walked = walked
    this.#release = release
    this.damage = [...problems, ...walked.damage]
    this.mayStraysBeOutdated = !walked.isFreeKnown
  }

  movedTo(): number | undefined {
    const value = this.#first('engine', { gte: MOVED_KEY, lte: MOVED_KEY })?.value
    const number = value === undefined ? Number.NaN : Number(Buffer.from(value).toString('latin1'))
    return Number.isSafeInteger(number) ? number : undefined
  }

  get(table: Table, key: Uint8Array): Uint8Array | undefined {
    return this.#first(table, { gte: key, lte: key })?.value
  }

  getMany(table: Table, keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    return keys.map(key => this.get(table, key))
  }

  seek(table: Table, { key, min }: FloorQuery): Row | undefined {
    return this.#first(table, { gte: min, lte: key, reverse: true })
  }

  seekMany(table: Table, queries: readonly FloorQuery[]): (Row | undefined)[] {
    return queries.map(query => this.seek(table, query))
  }

  scan(table: Table, range: ScanRange): Page {
    return fillPage(this.#rows(table, range), range.limit)
  }

  *strays(): Generator<StrayPage, void, undefined> {
    const pages = Math.floor(this.#file.size() / this.#meta.pageBytes)
    for (let number = META_PAGES; number < pages; number++) {
      if (this.#walked.isKnown(number)) continue
      const page = this.#parse(number, readPage(this.#file, number, this.#meta))
      if (page?.kind !== 'leaf' || page.nodes.some(node => node.isTree)) continue
      const rows: Row[] = []
      for (const node of page.nodes) {
        const row = this.#row(node, false)
        if (row !== undefined) rows.push(row)
      }
      yield { written: page.transaction, rows }
    }
  }

  close(): void {
    this.#release()
  }

  #first(table: Table | 'engine', range: ScanRange): Row | undefined {
    for (const row of this.#rows(table, range)) return row
    return undefined
  }

  *#rows(table: Table | 'engine', range: ScanRange): Generator<Row, void, undefined> {
    const root = this.#walked.trees.get(table)?.root
    if (root === undefined) return
    const bounds = boundsOf(range)
    // No key is below an empty one.
    if (bounds.upper?.key.byteLength === 0) return
    const limits = { gte: undefined, lt: undefined }
    yield* this.#pageRows(root, NO_PARENT, 0, bounds, range.reverse === true, range.keysOnly === true, limits)
  }

  *#pageRows(
    number: number,
    parent: number,
    index: number,
    bounds: Bounds,
    reverse: boolean,
    keysOnly: boolean,
    limits: { readonly gte: Buffer | undefined; readonly lt: Buffer | undefined },
  ): Generator<Row, void, undefined> {
    if (this.#walked.isFalseLink(parent, index)) return
    const bytes = readPage(this.#file, number, this.#meta)
    const page = this.#walked.isBad(number) ? undefined : this.#parse(number, bytes)
    if (page?.kind === 'branch') {
      const { nodes } = page
      for (let n = 0; n < nodes.length; n++) {
        const i = reverse ? nodes.length - 1 - n : n
        const node = nodes[i] as (typeof nodes)[number]
        const gte = i === 0 ? limits.gte : node.key
        const lt = nodes[i + 1]?.key ?? limits.lt
        if (gte !== undefined && isAbove(gte, bounds)) continue
        if (lt !== undefined && isBelow(lt, bounds)) continue
        yield* this.#pageRows(node.page, number, i, bounds, reverse, keysOnly, { gte, lt })
      }
      return
    }
    const nodes = page?.nodes ?? rescueLeaf(bytes, this.#meta, limits.gte, limits.lt)
    for (const node of reverse ? [...nodes].reverse() : nodes) {
      if (isAbove(node.key, bounds) || isOutsideBelow(node.key, bounds)) continue
      const row = this.#row(node, keysOnly)
      if (row !== undefined) yield row
    }
  }

  #parse(number: number, bytes: Buffer): TreePage | undefined {
    try {
      return parsePage(bytes, number, BYTE_ORDER, this.#meta)
    } catch (error) {
      if (error instanceof PageDamage) return undefined
      throw error
    }
  }

  /** The bytes belong to the receiver: they do not keep the page in memory. */
  #row({ key, value }: LeafNode, keysOnly: boolean): Row | undefined {
    if (Buffer.isBuffer(value))
      return { key: Buffer.from(key), value: keysOnly ? EMPTY_BYTES : Buffer.from(value) }
    if (this.#walked.isBad(value.page)) return undefined
    if (keysOnly) return { key: Buffer.from(key), value: EMPTY_BYTES }
    const { pageBytes } = this.#meta
    try {
      const bytes = this.#file.read(value.page * pageBytes, value.pages * pageBytes)
      return { key: Buffer.from(key), value: parseBigValue(bytes, value, this.#meta) }
    } catch (error) {
      if (error instanceof PageDamage) return undefined
      throw error
    }
  }
}

function isAbove(key: Buffer, { upper }: Bounds): boolean {
  if (upper === undefined) return false
  const order = compareBytes(key, upper.key)
  return upper.inclusive ? order > 0 : order >= 0
}

/** Whether all keys below this one are below the range. */
function isBelow(end: Buffer, { lower }: Bounds): boolean {
  return lower !== undefined && compareBytes(end, lower.key) <= 0
}

function isOutsideBelow(key: Buffer, { lower }: Bounds): boolean {
  if (lower === undefined) return false
  const order = compareBytes(key, lower.key)
  return lower.inclusive ? order < 0 : order <= 0
}
