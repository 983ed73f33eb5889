import { endianness } from 'node:os'
import { compareBytes } from '../../core/bytes.ts'

/*
 * What LMDB writes to its data file, read without LMDB.
 *
 * LMDB trusts its pages: one damaged bit of them can end the process, hide rows, or lead a lookup astray. So whoever wants
 * to know whether a file is whole reads it by itself. This is the form that lmdb-js 3 has on 64-bit machines (MDB_page,
 * MDB_node, MDB_db and MDB_meta of its mdb.c); everything is checked before it is used.
 */

/** Whether this machine writes data files in the form that is known here. */
export const KNOWS_PAGES: boolean =
  (process.arch === 'x64' || process.arch === 'arm64') && endianness() === 'LE'

/** What is wrong with a page, to be read after its name: "page 7 …". */
export class PageDamage extends Error {}

/** Two pages at the beginning of the file tell where the trees are, one for each of the last two commits. */
export const META_PAGES = 2
const PAGE_HEADER_BYTES = 24
/** The beginning of a page that a {@link Meta} is in. */
export const META_BYTES = 160
const NODE_HEADER_BYTES = 8
const OVERFLOW_REFERENCE_BYTES = 24
const TREE_BYTES = 48

const MAGIC = 0xbeefc0de
const DATA_VERSION = 2
const MIN_PAGE_BYTES = 512
const MAX_PAGE_BYTES = 0x10000
const MAX_KEY_BYTES = 1978
/** LMDB's cursors go no deeper. */
const MAX_DEPTH = 32

const BRANCH = 0x01
const LEAF = 0x02
const OVERFLOW = 0x04
const META = 0x08

/** The flag of a tree whose keys are numbers (`MDB_INTEGERKEY`). */
const NUMBER_KEYS = 0x08

const BIG_VALUE = 0x01
const SUB_TREE = 0x02

/** The root of a tree without pages. */
const NO_PAGE = 2n ** 64n - 1n

/** One of LMDB's trees. */
export interface Tree {
  readonly depth: number
  readonly branchPages: number
  readonly leafPages: number
  readonly overflowPages: number
  readonly entries: number
  /** `undefined` where the tree is empty. */
  readonly root: number | undefined
}

/** Where the trees of one commit are. */
export interface Meta {
  readonly pageBytes: number
  readonly lastPage: number
  /** The number of the commit. */
  readonly transaction: number
  /** The tree of the free pages. */
  readonly free: Tree
  /** The tree that names the tables. */
  readonly main: Tree
}

/** A value in pages of its own. */
export interface BigValue {
  readonly page: number
  readonly pages: number
  readonly bytes: number
}

/** One entry of a leaf. */
export interface LeafNode {
  readonly key: Buffer
  readonly value: Buffer | BigValue
  /** Whether the value describes a tree. */
  readonly isTree: boolean
}

/** One entry of a branch: where the keys from `key` on are; of the first entry, all keys below the second. */
export interface BranchNode {
  readonly key: Buffer
  readonly page: number
}

/** A page of a tree, taken apart. */
export type TreePage =
  | { readonly kind: 'branch'; readonly transaction: number; readonly nodes: readonly BranchNode[] }
  | { readonly kind: 'leaf'; readonly transaction: number; readonly nodes: readonly LeafNode[] }

/** lmdb-js ends the names of tables with it. */
export const TABLE_NAME_END = '\0'

/** The order of keys in a tree. */
export type KeyOrder = (a: Buffer, b: Buffer) => number

/** That of the tables. */
export const BYTE_ORDER: KeyOrder = compareBytes

/** That of the free pages, whose keys are transaction numbers as the machine has them. */
export const NUMBER_ORDER: KeyOrder = (a, b) => {
  if (a.byteLength !== 8 || b.byteLength !== 8) throw new PageDamage('has a key that is no number')
  return Number(a.readBigUInt64LE() - b.readBigUInt64LE())
}

function numberAt(bytes: Buffer, offset: number): number {
  const number = bytes.readBigUInt64LE(offset)
  if (number > Number.MAX_SAFE_INTEGER) throw new PageDamage('holds a number that is too large')
  return Number(number)
}

/** The page that LMDB begins a file with, where there is nothing in it yet: one of two. */
export function emptyMetaPage(number: number, pageBytes: number): Buffer {
  const page = Buffer.alloc(pageBytes)
  page.writeBigUInt64LE(BigInt(number), 0)
  page.writeUInt16LE(META, 18)
  page.writeUInt32LE(MAGIC, 24)
  page.writeUInt32LE(DATA_VERSION, 28)
  // How large a map has to be, at least.
  page.writeBigUInt64LE(BigInt(META_PAGES * pageBytes), 40)
  // The tree of the free pages, whose keys are numbers; it tells the page size, too.
  page.writeUInt32LE(pageBytes, 48)
  page.writeUInt16LE(NUMBER_KEYS, 52)
  page.writeBigUInt64LE(NO_PAGE, 88)
  page.writeBigUInt64LE(NO_PAGE, 136)
  page.writeBigUInt64LE(BigInt(META_PAGES - 1), 144)
  return page
}

/** @throws {PageDamage} */
export function parseMeta(bytes: Buffer): Meta {
  if (bytes.byteLength < META_BYTES) throw new PageDamage('is cut off')
  if ((bytes.readUInt16LE(18) & META) === 0 || bytes.readUInt32LE(24) !== MAGIC) {
    throw new PageDamage('is not the beginning of an LMDB data file')
  }
  if ((bytes.readUInt32LE(28) & 0xffff) !== DATA_VERSION)
    throw new PageDamage('is of another version of LMDB')
  const pageBytes = bytes.readUInt32LE(48)
  if (pageBytes < MIN_PAGE_BYTES || pageBytes > MAX_PAGE_BYTES || (pageBytes & (pageBytes - 1)) !== 0) {
    throw new PageDamage(`tells a page size of ${pageBytes}`)
  }
  const lastPage = numberAt(bytes, 144)
  if (numberAt(bytes, 40) < (lastPage + 1) * pageBytes)
    throw new PageDamage('tells of a map that is too small')
  return {
    pageBytes,
    lastPage,
    transaction: numberAt(bytes, 152),
    free: parseTree(bytes.subarray(48, 48 + TREE_BYTES), lastPage),
    main: parseTree(bytes.subarray(96, 96 + TREE_BYTES), lastPage),
  }
}

/** @throws {PageDamage} */
export function parseTree(bytes: Buffer, lastPage: number): Tree {
  if (bytes.byteLength !== TREE_BYTES) throw new PageDamage('describes a tree in a wrong length')
  const isEmpty = bytes.readBigUInt64LE(40) === NO_PAGE
  const tree: Tree = {
    depth: bytes.readUInt16LE(6),
    branchPages: numberAt(bytes, 8),
    leafPages: numberAt(bytes, 16),
    overflowPages: numberAt(bytes, 24),
    entries: numberAt(bytes, 32),
    root: isEmpty ? undefined : treePage(numberAt(bytes, 40), lastPage),
  }
  if (tree.depth > MAX_DEPTH || (tree.depth === 0) !== isEmpty)
    throw new PageDamage('describes a tree that cannot be')
  return tree
}

function treePage(page: number, lastPage: number): number {
  if (page < META_PAGES || page > lastPage) throw new PageDamage(`names page ${page}, which there is not`)
  return page
}

/** What a page is checked against. */
export interface PageContext {
  readonly pageBytes: number
  readonly lastPage: number
  /** No page is of a later commit. */
  readonly transaction: number
}

/**
 * Takes a page of a tree apart.
 *
 * @throws {PageDamage} unless it is as LMDB would have written it.
 */
export function parsePage(bytes: Buffer, number: number, order: KeyOrder, context: PageContext): TreePage {
  const transaction = checkHeader(bytes, number, context)
  const flags = bytes.readUInt16LE(18)
  if (flags !== BRANCH && flags !== LEAF) throw new PageDamage('is no page of a tree')
  const lower = bytes.readUInt16LE(20)
  const upper = bytes.readUInt16LE(22)
  const room = context.pageBytes - PAGE_HEADER_BYTES
  if (lower % 2 !== 0 || lower === 0 || lower > upper || upper > room)
    throw new PageDamage('has false bounds')
  const offsets: number[] = []
  for (let at = 0; at < lower; at += 2) {
    const offset = bytes.readUInt16LE(PAGE_HEADER_BYTES + at)
    if (offset < upper) throw new PageDamage('has an entry outside its bounds')
    offsets.push(offset)
  }
  let used = 0
  const measure = (size: number): void => {
    used += size
  }
  const page: TreePage =
    flags === BRANCH
      ? {
          kind: 'branch',
          transaction,
          nodes: offsets.map(at => parseBranchNode(bytes, at, context, measure)),
        }
      : { kind: 'leaf', transaction, nodes: offsets.map(at => parseLeafNode(bytes, at, context, measure)) }
  if (used !== room - upper) throw new PageDamage('has entries that do not fill it')
  // The first key of a branch says nothing: all below the second belong there.
  for (let i = page.kind === 'branch' ? 2 : 1; i < page.nodes.length; i++) {
    const [before, after] = [page.nodes[i - 1]?.key as Buffer, page.nodes[i]?.key as Buffer]
    if (order(before, after) >= 0) throw new PageDamage('has its keys out of order')
  }
  return page
}

/** Returns the commit that the page is of. */
function checkHeader(bytes: Buffer, number: number, context: PageContext): number {
  if (bytes.byteLength < context.pageBytes) throw new PageDamage('is cut off')
  if (bytes.readBigUInt64LE(0) !== BigInt(number)) throw new PageDamage('is another page, or none')
  const transaction = bytes.readBigUInt64LE(8)
  if (transaction > context.transaction) throw new PageDamage('is of a commit that has not been made')
  return Number(transaction)
}

type Measure = (size: number) => void

function even(size: number): number {
  return size + (size % 2)
}

function nodeKey(bytes: Buffer, start: number): Buffer {
  const length =
    start + NODE_HEADER_BYTES <= bytes.byteLength ? bytes.readUInt16LE(start + 6) : MAX_KEY_BYTES + 1
  const from = start + NODE_HEADER_BYTES
  if (length > MAX_KEY_BYTES || from + length > bytes.byteLength)
    throw new PageDamage('has an entry that goes beyond it')
  return bytes.subarray(from, from + length)
}

function parseBranchNode(
  bytes: Buffer,
  offset: number,
  { lastPage }: PageContext,
  measure: Measure,
): BranchNode {
  const start = PAGE_HEADER_BYTES + offset
  const key = nodeKey(bytes, start)
  measure(even(NODE_HEADER_BYTES + key.byteLength))
  return { key, page: treePage(bytes.readUIntLE(start, 6), lastPage) }
}

function parseLeafNode(bytes: Buffer, offset: number, { lastPage }: PageContext, measure: Measure): LeafNode {
  const start = PAGE_HEADER_BYTES + offset
  const key = nodeKey(bytes, start)
  const flags = bytes.readUInt16LE(start + 4)
  if (key.byteLength === 0 || (flags !== 0 && flags !== BIG_VALUE && flags !== SUB_TREE)) {
    throw new PageDamage('has an entry of no known kind')
  }
  const length = bytes.readUInt32LE(start)
  const stored = flags === BIG_VALUE ? OVERFLOW_REFERENCE_BYTES : length
  const from = start + NODE_HEADER_BYTES + key.byteLength
  if (from + stored > bytes.byteLength) throw new PageDamage('has an entry that goes beyond it')
  measure(even(NODE_HEADER_BYTES + key.byteLength + stored))
  const value = bytes.subarray(from, from + stored)
  if (flags !== BIG_VALUE) return { key, value, isTree: flags === SUB_TREE }
  const page = treePage(numberAt(value, 0), lastPage)
  const pages = numberAt(value, 16)
  treePage(page + pages - 1, lastPage)
  if (PAGE_HEADER_BYTES + length > pages * bytes.byteLength)
    throw new PageDamage('has a value too long for its pages')
  return { key, value: { page, pages, bytes: length }, isTree: false }
}

/**
 * The entries of a damaged leaf that can be made out: whether they are what was written, their own checksums tell.
 *
 * In key order and distinct, all in `[gte, lt)`.
 */
export function rescueLeaf(
  bytes: Buffer,
  context: PageContext,
  gte: Buffer | undefined,
  lt: Buffer | undefined,
): LeafNode[] {
  const found = new Map<string, LeafNode>()
  // Neither bound is to be believed. The list of offsets ends where the entries begin.
  let entries = context.pageBytes - PAGE_HEADER_BYTES
  for (let at = 0; at + 2 <= entries && PAGE_HEADER_BYTES + at + 2 <= bytes.byteLength; at += 2) {
    const offset = bytes.readUInt16LE(PAGE_HEADER_BYTES + at)
    if (offset <= at) continue
    try {
      const node = parseLeafNode(bytes, offset, context, () => undefined)
      if (gte !== undefined && compareBytes(node.key, gte) < 0) continue
      if (lt !== undefined && compareBytes(node.key, lt) >= 0) continue
      entries = Math.min(entries, offset)
      found.set(node.key.toString('latin1'), node)
    } catch (error) {
      if (!(error instanceof PageDamage)) throw error
    }
  }
  return [...found.values()].sort((a, b) => compareBytes(a.key, b.key))
}

/** The value in pages of its own, which are `bytes`. @throws {PageDamage} */
export function parseBigValue(bytes: Buffer, value: BigValue, context: PageContext): Buffer {
  checkBigValue(bytes, value, context)
  if (bytes.byteLength < PAGE_HEADER_BYTES + value.bytes) throw new PageDamage('is cut off')
  return bytes.subarray(PAGE_HEADER_BYTES, PAGE_HEADER_BYTES + value.bytes)
}

/** Checks the first of the pages of a value. @throws {PageDamage} */
export function checkBigValue(bytes: Buffer, { page, pages }: BigValue, context: PageContext): void {
  checkHeader(bytes, page, context)
  if (bytes.readUInt16LE(18) !== OVERFLOW || bytes.readUInt32LE(20) !== pages) {
    throw new PageDamage('is not the beginning of a long value')
  }
}
