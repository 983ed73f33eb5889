import { TABLES } from '../engine.ts'
import { type FlushedCommit, isOfAnotherRun, metaPageOf, NOTE, parseFlushedCommit } from './flushed-commit.ts'
import {
  BYTE_ORDER,
  META_BYTES,
  META_PAGES,
  type Meta,
  NUMBER_ORDER,
  type PageContext,
  PageDamage,
  parseMeta,
  parsePage,
  parseTree,
  TABLE_NAME_END,
  type Tree,
  type TreePage,
} from './page.ts'
import { type PageFile, readPage } from './page-file.ts'

/** Where the trees of a data file are. */
export interface FileStart {
  /** The newest commit that can be read. */
  readonly meta: Meta
  /** What is wrong with what tells so, as sentences without a full stop. */
  readonly problems: readonly string[]
  /** Whether there may be a newer commit, which cannot be read. */
  readonly isOutdated: boolean
}

/** Page sizes there are, the most likely first: where the first page cannot tell, another may. */
const PAGE_SIZES = [4096, 16_384, 65_536, 8192, 32_768]

/**
 * Reads where the trees are.
 *
 * The first two pages tell of the last two commits, each of which writes the list of tables anew; so that a page of which a
 * bit has changed is found out, although it has no checksum: by the number of the commit. LMDB keeps the commit before the
 * newest one, for the case that its own writing is cut off; so where the newest cannot be read, that one is answered.
 *
 * @throws {PageDamage} if there is no commit that can be read.
 */
function readFileStart(file: PageFile): FileStart {
  const first = readMeta(file, 0)
  let second: Meta | PageDamage = new PageDamage('is not the beginning of an LMDB data file')
  for (const size of first instanceof PageDamage ? PAGE_SIZES : [first.pageBytes]) {
    second = readMeta(file, size)
    if (!(second instanceof PageDamage)) break
  }
  const problems: string[] = []
  const note = attempt(() => parseFlushedCommit(file.read(NOTE.position, NOTE.length)))
  if (note instanceof PageDamage) problems.push(`page 0 ${note.message}`)
  const noted = note === undefined || note instanceof PageDamage ? undefined : readNoted(file, note)
  const commits: { readonly meta: Meta; readonly written: number }[] = []
  for (const [page, meta] of [first, second].entries()) {
    if (meta instanceof PageDamage) {
      problems.push(`page ${page} ${meta.message}`)
      continue
    }
    const written = commitOf(file, meta)
    if (written instanceof PageDamage) {
      problems.push(
        `page ${page} tells of commit ${meta.transaction}, whose list of tables ${written.message}`,
      )
      continue
    }
    const { transaction } = meta
    // Where a loss of power has taken the store back, both pages are of the commit that was noted then.
    const isGoneBack =
      noted !== undefined &&
      meta.main.root === noted.meta.main.root &&
      [transaction, transaction + 1].includes(noted.meta.transaction)
    commits.push({ meta, written: isGoneBack ? transaction : written })
    if (written !== transaction && !isGoneBack)
      problems.push(`page ${page} tells of commit ${transaction}, which is ${written}`)
    else if (written !== 0 && transaction % META_PAGES !== page)
      problems.push(`page ${page} tells of commit ${transaction}`)
  }
  commits.sort((a, b) => b.written - a.written)
  const [newest, other] = commits
  // Nobody has opened the store since the system died: what came later may be there in part.
  if (noted?.isOfAnotherRun && newest?.written !== noted.meta.transaction)
    return { meta: noted.meta, problems: [OUTDATED], isOutdated: true }
  if (newest === undefined) return searchCommit(file, problems, [first, second])
  if (other !== undefined) {
    if (newest.written - other.written > 1) {
      problems.push(
        `pages 0 and 1 tell of commits ${newest.written} and ${other.written}, not of two in a row`,
      )
    }
    if (newest.meta.pageBytes !== other.meta.pageBytes)
      problems.push('pages 0 and 1 tell of different page sizes')
  } else {
    problems.push(OUTDATED)
  }
  return {
    meta: { ...newest.meta, transaction: newest.written },
    problems,
    isOutdated: other === undefined,
  }
}

/** {@link readFileStart} while others may be writing the very pages that it reads. */
export function readStableStart(file: PageFile): FileStart {
  let start = readFileStart(file)
  for (let attempt = 1; attempt < MAX_READS && start.problems.length > 0; attempt++)
    start = readFileStart(file)
  return start
}

/** A commit takes longer than to read this often, unless one after the other is made. */
const MAX_READS = 100

/** What the note of a flushed commit says of its trees, and whether the system has died since. */
function readNoted(
  file: PageFile,
  note: FlushedCommit,
): { readonly meta: Meta; readonly isOfAnotherRun: boolean } | undefined {
  const meta = attempt(() => parseMeta(metaPageOf(file.read(0, META_BYTES), note)))
  return meta instanceof PageDamage ? undefined : { meta, isOfAnotherRun: isOfAnotherRun(note) }
}

function readMeta(file: PageFile, position: number): Meta | PageDamage {
  return attempt(() => parseMeta(file.read(position, META_BYTES)))
}

/** The commit that wrote the list of tables; 0 for a file without any. */
function commitOf(file: PageFile, meta: Meta): number | PageDamage {
  const { main } = meta
  if (main.root === undefined) return 0
  // The number of the commit is what is in doubt.
  const context = { ...meta, transaction: Number.MAX_SAFE_INTEGER }
  const page = attempt(() =>
    parsePage(readPage(file, main.root as number, meta), main.root as number, BYTE_ORDER, context),
  )
  return page instanceof PageDamage ? page : page.transaction
}

function attempt<T>(parse: () => T): T | PageDamage {
  try {
    return parse()
  } catch (error) {
    if (error instanceof PageDamage) return error
    throw error
  }
}

/** Looks through the whole file for the newest list of tables. */
function searchCommit(
  file: PageFile,
  problems: readonly string[],
  metas: readonly (Meta | PageDamage)[],
): FileStart {
  for (const pageBytes of PAGE_SIZES) {
    const lastPage = Math.floor(file.size() / pageBytes) - 1
    const context: PageContext = { pageBytes, lastPage, transaction: Number.MAX_SAFE_INTEGER }
    let newest: { readonly root: number; readonly page: TreePage } | undefined
    for (let root = META_PAGES; root <= lastPage; root++) {
      const page = attempt(() => parsePage(readPage(file, root, context), root, BYTE_ORDER, context))
      if (page instanceof PageDamage || !listsTables(page)) continue
      if (newest === undefined || page.transaction > newest.page.transaction) newest = { root, page }
    }
    if (newest === undefined) continue
    const { root, page } = newest
    return {
      meta: {
        pageBytes,
        lastPage,
        transaction: page.transaction,
        free: EMPTY_TREE,
        main: { ...EMPTY_TREE, depth: 1, leafPages: 1, entries: page.nodes.length, root },
      },
      problems: [...problems, OUTDATED],
      isOutdated: true,
    }
  }
  const meta = metas.find(meta => !(meta instanceof PageDamage)) as Meta | undefined
  if (meta === undefined) throw metas[0]
  // Rows that no tree leads to may still be found.
  const trees = { free: EMPTY_TREE, main: EMPTY_TREE }
  return {
    meta: { ...meta, ...trees, transaction: Number.MAX_SAFE_INTEGER },
    problems: [...problems, OUTDATED],
    isOutdated: true,
  }
}

const OUTDATED = 'what the newest commit wrote may be lost'

const EMPTY_TREE: Tree = {
  depth: 0,
  branchPages: 0,
  leafPages: 0,
  overflowPages: 0,
  entries: 0,
  root: undefined,
}

function listsTables(page: TreePage): boolean {
  if (page.kind !== 'leaf') return false
  const names = new Set(page.nodes.filter(node => node.isTree).map(node => node.key.toString('latin1')))
  return TABLES.every(table => names.has(table + TABLE_NAME_END))
}

/**
 * What is wrong with the pages that LMDB reads as it opens a file and its tables; `undefined` if nothing is.
 *
 * Ten pages at most are read, whatever the size of the file: of damage elsewhere, `verify` tells.
 */
export function problemOfStart(file: PageFile): string | undefined {
  for (let attempt = 1; ; attempt++) {
    const problem = problemOfStartNow(file)
    if (problem === undefined || attempt >= MAX_READS) return problem
  }
}

function problemOfStartNow(file: PageFile): string | undefined {
  const { meta, problems } = readFileStart(file)
  const { free, main } = meta
  if (problems[0] !== undefined) return problems[0]
  const problem = attempt(() => {
    if (main.root === undefined) return
    for (const node of parsePage(readPage(file, main.root, meta), main.root, BYTE_ORDER, meta).nodes) {
      if (!('isTree' in node) || !node.isTree) continue
      const { root } = parseTree(node.value as Buffer, meta.lastPage)
      if (root === undefined) continue
      const page = attempt(() => parsePage(readPage(file, root, meta), root, BYTE_ORDER, meta))
      if (page instanceof PageDamage) throw new PageDamage(`page ${root} ${page.message}`)
    }
    if (free.root !== undefined) {
      const page = attempt(() =>
        parsePage(readPage(file, free.root as number, meta), free.root as number, NUMBER_ORDER, meta),
      )
      if (page instanceof PageDamage) throw new PageDamage(`page ${free.root} ${page.message}`)
    }
  })
  return problem?.message
}
