import { Turns } from '../../core/turns.ts'
import { type Damage, TABLES, type Table } from '../engine.ts'
import type { FileStart } from './file-start.ts'
import {
  type BigValue,
  BYTE_ORDER,
  checkBigValue,
  type KeyOrder,
  type LeafNode,
  META_PAGES,
  type Meta,
  NUMBER_ORDER,
  type PageContext,
  PageDamage,
  parsePage,
  parseTree,
  TABLE_NAME_END,
  type Tree,
  type TreePage,
} from './page.ts'
import { type PageFile, readPage } from './page-file.ts'

/** What a walk over all pages of a file may be given. */
export interface WalkOptions {
  readonly signal?: AbortSignal | undefined
  /** Called every now and then with the pages seen so far. */
  readonly onProgress?: ((pages: number) => void) | undefined
}

/** What a walk over all pages of a file has found. */
export interface Walked {
  /** The trees of the tables; of one whose description is damaged, none. */
  readonly trees: ReadonlyMap<string, Tree>
  readonly damage: readonly Damage[]
  /** Whether a page is damaged. */
  readonly isBad: (page: number) => boolean
  /** Whether an entry of a branch leads to a page that is in use elsewhere. */
  readonly isFalseLink: (parent: number, index: number) => boolean
  /** Whether a page belongs to a tree, or is free. */
  readonly isKnown: (page: number) => boolean
  /** Whether all free pages are known. */
  readonly isFreeKnown: boolean
}

/** Where the walk says what the parent of a root is. */
export const NO_PARENT = 0

/** A range of keys; an end that is absent is open. */
interface Bounds {
  readonly gte: Buffer | undefined
  readonly lt: Buffer | undefined
}

const EVERYTHING: Bounds = { gte: undefined, lt: undefined }

/**
 * Looks at every page of every tree, each at most once, and checks all that LMDB relies on: that pages are well-formed and
 * each in one place, that keys are in order and where lookups will look for them, that there are as many rows and pages as
 * the file says, that no page in use is listed as free.
 */
export async function walkPages(
  file: PageFile,
  { meta, problems, isOutdated }: FileStart,
  options: WalkOptions,
): Promise<Walked> {
  const walk = new PageWalk(file, meta, options)
  for (const problem of problems) {
    walk.damage.push({ message: sentence(problem), isLossOfRows: false, ...(isOutdated && { isOutdated }) })
  }
  await walk.run()
  return {
    trees: walk.trees,
    damage: walk.damage,
    isBad: page => walk.badPages.has(page),
    isFalseLink: (parent, index) => walk.falseLinks.has(linkOf(parent, index)),
    isKnown: page => walk.isKnown(page),
    isFreeKnown: !isOutdated && walk.isFreeKnown,
  }
}

function linkOf(parent: number, index: number): string {
  return `${parent}/${index}`
}

function sentence(problem: string): string {
  return `In the data file, ${problem}.`
}

interface Counts {
  branchPages: number
  leafPages: number
  overflowPages: number
  entries: number
  depth: number
}

class PageWalk {
  readonly trees = new Map<string, Tree>()
  readonly damage: Damage[] = []
  readonly badPages = new Set<number>()
  readonly falseLinks = new Set<string>()
  isFreeKnown = false
  readonly #file: PageFile
  readonly #meta: Meta
  readonly #options: WalkOptions
  readonly #turns = new Turns()
  /** A bit a page: whether it was reached. */
  readonly #reached: Uint8Array
  readonly #free: Uint8Array
  readonly #fileBytes: number
  /** The number of the last page may be damaged itself. Whoever reads goes by what there is. */
  readonly #context: PageContext
  #pages = 0
  #lastUsed = 0

  constructor(file: PageFile, meta: Meta, options: WalkOptions) {
    this.#file = file
    this.#meta = meta
    this.#options = options
    this.#fileBytes = file.size()
    const pages = Math.ceil(this.#fileBytes / meta.pageBytes)
    this.#context = { ...meta, lastPage: Math.max(meta.lastPage, pages - 1) }
    this.#reached = new Uint8Array((pages >> 3) + 1)
    this.#free = new Uint8Array((pages >> 3) + 1)
  }

  isKnown(page: number): boolean {
    return has(this.#reached, page) || has(this.#free, page)
  }

  async run(): Promise<void> {
    const { free, main } = this.#meta
    const before = this.damage.length
    await this.#tree('the list of free pages', undefined, free, NUMBER_ORDER, node => this.#freePages(node))
    this.isFreeKnown = this.damage.length === before
    const named = new Map<string, LeafNode>()
    await this.#tree('the list of tables', undefined, main, BYTE_ORDER, node => {
      if (!node.isTree) throw new PageDamage('names something that is no table')
      named.set(node.key.toString('latin1'), node)
    })
    for (const table of [...TABLES, 'engine'] as const) {
      const node = named.get(table + TABLE_NAME_END)
      const known = table === 'engine' ? undefined : table
      if (node === undefined) {
        // A store that was never written to has no tables.
        if (main.root !== undefined || before > 0)
          this.#lost(known, `the table "${table}" is not to be found`, EVERYTHING)
        continue
      }
      try {
        const tree = parseTree(node.value as Buffer, this.#context.lastPage)
        this.trees.set(table, tree)
        await this.#tree(`the table "${table}"`, known, tree, BYTE_ORDER, node => {
          if (node.isTree) throw new PageDamage('has an entry of no known kind')
        })
      } catch (error) {
        if (!(error instanceof PageDamage)) throw error
        this.#lost(known, `the description of the table "${table}" ${error.message}`, EVERYTHING)
      }
    }
    this.#checkFree()
  }

  #lost(table: Table | undefined, problem: string, { gte, lt }: Bounds, rows?: number): void {
    this.damage.push({
      message: sentence(problem),
      isLossOfRows: true,
      ...(table !== undefined && { table }),
      ...(gte !== undefined && { gte: Buffer.from(gte) }),
      ...(lt !== undefined && { lt: Buffer.from(lt) }),
      ...(rows !== undefined && { rows }),
    })
  }

  async #tree(
    name: string,
    table: Table | undefined,
    tree: Tree,
    order: KeyOrder,
    visit: (node: LeafNode) => void,
  ): Promise<void> {
    const counts: Counts = { branchPages: 0, leafPages: 0, overflowPages: 0, entries: 0, depth: 0 }
    const before = this.damage.length
    if (tree.root !== undefined) {
      await this.#page({ name, table, order, visit, counts }, tree.root, NO_PARENT, 0, 1, EVERYTHING)
    }
    if (this.damage.length > before) return
    const differs = (['entries', 'depth', 'leafPages', 'branchPages', 'overflowPages'] as const).find(
      what => counts[what] !== tree[what],
    )
    if (differs === undefined) return
    const problem = `${name} should have ${NOUNS[differs]} ${tree[differs]}, and has ${counts[differs]}`
    if (differs === 'entries')
      this.#lost(table, problem, EVERYTHING, Math.max(0, tree.entries - counts.entries))
    else this.damage.push({ message: sentence(problem), isLossOfRows: false, ...(table && { table }) })
  }

  async #page(
    tree: WalkedTree,
    number: number,
    parent: number,
    index: number,
    depth: number,
    bounds: Bounds,
  ): Promise<void> {
    this.#options.signal?.throwIfAborted()
    await this.#turns.breathe()
    if (++this.#pages % 1024 === 0) this.#options.onProgress?.(this.#pages)
    if (has(this.#reached, number)) {
      this.falseLinks.add(linkOf(parent, index))
      this.#lost(tree.table, `page ${number}, of ${tree.name}, is in use elsewhere as well`, bounds)
      return
    }
    add(this.#reached, number)
    this.#lastUsed = Math.max(this.#lastUsed, number)
    tree.counts.depth = Math.max(tree.counts.depth, depth)
    let page: TreePage
    try {
      if (depth > 32) throw new PageDamage('lies too deep')
      page = parsePage(readPage(this.#file, number, this.#meta), number, tree.order, this.#context)
      assertInside(page, bounds, tree.order)
      if (page.kind === 'leaf') for (const node of page.nodes) tree.visit(node)
    } catch (error) {
      if (!(error instanceof PageDamage)) throw error
      this.badPages.add(number)
      this.#lost(tree.table, `page ${number}, of ${tree.name}, ${error.message}`, bounds)
      return
    }
    if (page.kind === 'leaf') {
      tree.counts.leafPages++
      tree.counts.entries += page.nodes.length
      for (const { key, value } of page.nodes) if (!Buffer.isBuffer(value)) this.#bigValue(tree, key, value)
      return
    }
    tree.counts.branchPages++
    const { nodes } = page
    for (const [i, node] of nodes.entries()) {
      const gte = i === 0 ? bounds.gte : node.key
      const lt = nodes[i + 1]?.key ?? bounds.lt
      await this.#page(tree, node.page, number, i, depth + 1, { gte, lt })
    }
  }

  #bigValue(tree: WalkedTree, key: Buffer, value: BigValue): void {
    const { page, pages } = value
    tree.counts.overflowPages += pages
    const lost = (problem: string): void => {
      this.badPages.add(page)
      this.#lost(tree.table, problem, { gte: key, lt: Buffer.concat([key, Buffer.of(0)]) }, 1)
    }
    for (let i = page; i < page + pages; i++) {
      if (!has(this.#reached, i)) continue
      lost(`page ${i}, of a long value of ${tree.name}, is in use elsewhere as well`)
      return
    }
    for (let i = page; i < page + pages; i++) add(this.#reached, i)
    this.#lastUsed = Math.max(this.#lastUsed, page + pages - 1)
    try {
      if ((page + pages) * this.#meta.pageBytes > this.#fileBytes) throw new PageDamage('is cut off')
      checkBigValue(readPage(this.#file, page, this.#meta), value, this.#context)
    } catch (error) {
      if (!(error instanceof PageDamage)) throw error
      lost(`page ${page}, of a long value of ${tree.name}, ${error.message}`)
    }
  }

  /** Notes the pages of an entry of the list of free pages: numbers, or the length of a run, negative, before its first. */
  #freePages({ value }: LeafNode): void {
    const bytes = Buffer.isBuffer(value) ? value : this.#longList(value)
    if (bytes === undefined) return
    const count = bytes.byteLength < 8 ? 0 : Number(bytes.readBigInt64LE(0))
    if (count < 0 || (count + 1) * 8 > bytes.byteLength) throw new PageDamage('has a list of a false length')
    for (let i = 1; i <= count; i++) {
      let length = 1
      let page = Number(bytes.readBigInt64LE(i * 8))
      if (page === 0) continue
      if (page < 0) {
        length = -page
        page = i < count ? Number(bytes.readBigInt64LE(++i * 8)) : 0
      }
      if (page < META_PAGES || page + length - 1 > this.#context.lastPage) {
        throw new PageDamage(`lists page ${page} as free, which there is not`)
      }
      for (let j = page; j < page + length; j++) {
        if (has(this.#free, j)) throw new PageDamage(`lists page ${j} as free twice`)
        add(this.#free, j)
      }
    }
  }

  #longList(value: BigValue): Buffer | undefined {
    const { pageBytes } = this.#meta
    const bytes = this.#file.read(value.page * pageBytes, value.pages * pageBytes)
    // Too short a list is damage that is noted with its pages.
    return bytes.byteLength < 24 + value.bytes ? undefined : bytes.subarray(24, 24 + value.bytes)
  }

  /** A page that is in use must be known to be: the next commits would write over it. */
  #checkFree(): void {
    if (this.#lastUsed > this.#meta.lastPage) {
      const problem = `page ${this.#lastUsed} is in use, and not counted: a commit would write over it`
      this.damage.push({ message: sentence(problem), isLossOfRows: false })
    }
    for (const [i, bits] of this.#free.entries()) {
      const both = bits & (this.#reached[i] as number)
      if (both === 0) continue
      const page = i * 8 + 31 - Math.clz32(both)
      this.damage.push({
        message: sentence(`page ${page} is in use, and listed as free: a commit would write over it`),
        isLossOfRows: false,
      })
      return
    }
  }
}

interface WalkedTree {
  readonly name: string
  readonly table: Table | undefined
  readonly order: KeyOrder
  readonly visit: (node: LeafNode) => void
  readonly counts: Counts
}

const NOUNS = {
  entries: 'entries:',
  depth: 'a depth of',
  leafPages: 'leaf pages:',
  branchPages: 'branch pages:',
  overflowPages: 'pages of long values:',
} as const

/** Whether lookups will find what is on the page. */
function assertInside({ kind, nodes }: TreePage, { gte, lt }: Bounds, order: KeyOrder): void {
  const first = nodes[kind === 'leaf' ? 0 : 1]?.key
  const last = nodes.at(-1)?.key
  if (gte !== undefined && first !== undefined && order(first, gte) < 0) {
    throw new PageDamage('has keys that belong before it')
  }
  if (
    lt !== undefined &&
    last !== undefined &&
    nodes.length > (kind === 'leaf' ? 0 : 1) &&
    order(last, lt) >= 0
  ) {
    throw new PageDamage('has keys that belong after it')
  }
}

function has(bits: Uint8Array, page: number): boolean {
  return ((bits[page >> 3] ?? 0) & (1 << (page & 7))) !== 0
}

function add(bits: Uint8Array, page: number): void {
  if (page >> 3 < bits.byteLength) bits[page >> 3] = (bits[page >> 3] as number) | (1 << (page & 7))
}
