import { mkdir, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import type { Random } from '../support/random.ts'
import { pathOfDescriptor, type SystemCall, stringsIn } from './system-calls.ts'

/** A change of a file that need not be on disk yet. */
type Change =
  | { readonly at: number; readonly offset: number; readonly bytes: Buffer }
  | { readonly at: number; readonly length: number }

interface File {
  content: Buffer
  changes: Change[]
}

/** A change of what a folder lists that need not be on disk yet. */
interface NameChange {
  readonly at: number
  readonly folder: string
  readonly apply: (names: Map<string, File | 'folder'>) => void
}

/** What of the changes that were not flushed has reached the disk. */
export type Survivors = 'none' | 'all' | Random

/** Disks write pages of this size, or parts of it, each or not. */
const PAGE_BYTES = 4096

/**
 * A disk as hostile as POSIX allows: what was written is on it once a flush of the file has come back, what a folder
 * lists once a flush of the folder has, and until then any part of it may be, in any order. (Only the names of a folder
 * change in their order, as every file system with a journal has it.)
 */
export class SimulatedDisk {
  readonly #root: string
  /** What folders list on disk, by path. */
  readonly #durable = new Map<string, File | 'folder'>()
  /** What they list to the processes. */
  readonly #names: Map<string, File | 'folder'>
  #nameChanges: NameChange[] = []
  /** Where descriptors read and write on, by path: of each of these files one does so at a time. */
  readonly #positions = new Map<string, number>()
  /** Where a thread is about to write, by its number and the path. */
  readonly #sought = new Map<string, number>()

  /** `folders` are there from the beginning; of what is not below `root` nothing is kept. */
  constructor(root: string, folders: readonly string[]) {
    this.#root = root
    for (const folder of [root, ...folders]) this.#durable.set(folder, 'folder')
    this.#names = new Map(this.#durable)
  }

  /** Whether a call flushes something that is kept. */
  isFlush({ name, args }: SystemCall): boolean {
    if (name !== 'fsync' && name !== 'fdatasync') return false
    const path = pathOfDescriptor(args)
    return path !== undefined && (this.#keeps(path) || path === this.#root)
  }

  /** Takes note of a call. */
  apply(call: SystemCall): void {
    const { name, args, result, ended: at } = call
    if (result.startsWith('-1')) return
    // The system ends what it is about when the process is killed, but for what waits for the disk.
    if (result.startsWith('?') && !/write|unlink|rename|link|truncate/.test(name)) return
    switch (name) {
      case 'openat':
        this.#open(stringsIn(args)[0]?.toString() ?? '', args, pathOfDescriptor(result), at)
        return
      case 'mkdir':
        this.#change(stringsIn(args)[0]?.toString() ?? '', at, () => 'folder')
        return
      case 'unlink':
      case 'rmdir':
        this.#change(stringsIn(args)[0]?.toString() ?? '', at, () => undefined)
        return
      case 'rename': {
        const [from = '', to = ''] = stringsIn(args).map(String)
        if (!this.#keeps(to)) return
        const file = this.#names.get(from)
        if (dirname(from) !== dirname(to)) throw new Error(`a file moves to another folder: ${from}`)
        this.#note(dirname(to), at, names => {
          names.delete(from)
          if (file !== undefined) names.set(to, file)
        })
        return
      }
      case 'link': {
        const [from = '', to = ''] = stringsIn(args).map(String)
        const file = this.#names.get(from)
        if (file !== undefined) this.#change(to, at, () => file)
        return
      }
      case 'fsync':
      case 'fdatasync':
        if (this.isFlush(call)) this.#flush(pathOfDescriptor(args) as string, call)
        return
      case 'lseek': {
        const path = pathOfDescriptor(args)
        if (path !== undefined && this.#keeps(path))
          this.#sought.set(`${call.thread} ${path}`, Number(result.split(' ')[0]))
        return
      }
      case 'write':
      case 'writev':
      case 'pwrite64':
      case 'pwritev':
        this.#write(call)
        return
      case 'ftruncate': {
        const file = this.#file(pathOfDescriptor(args))
        file?.changes.push({ at, length: Number(/(\d+)$/.exec(args)?.[1]) })
        return
      }
      default: {
        const path = pathOfDescriptor(args)
        const known = [path, ...stringsIn(args).map(String)].some(
          path => path !== undefined && this.#keeps(path),
        )
        if (known) throw new Error(`the disk does not know ${name}(${args.slice(0, 200)})`)
        return
      }
    }
  }

  /** Writes to a folder what a loss of power would leave now. */
  async writeTo(target: string, survivors: Survivors): Promise<void> {
    const names = new Map(this.#durable)
    let named = this.#nameChanges.length
    if (survivors === 'none') named = 0
    else if (survivors !== 'all') named = survivors.below(named + 1)
    for (const { apply } of this.#nameChanges.slice(0, named)) apply(names)
    const paths = [...names.keys()].sort()
    for (const path of paths) {
      const entry = names.get(path)
      // What lies in a folder that is not listed is lost with it.
      if (entry === undefined || !isListed(path, names, this.#root)) continue
      const place = join(target, relative(this.#root, path))
      if (entry === 'folder') await mkdir(place, { recursive: true })
      else await writeFile(place, contentOf(entry, survivors))
    }
  }

  #keeps(path: string): boolean {
    // The lock file is made anew by whoever opens the store first, whatever is in it.
    return path.startsWith(`${this.#root}/`) && !basename(path).startsWith('lock.mdb')
  }

  #note(folder: string, at: number, apply: NameChange['apply']): void {
    apply(this.#names)
    this.#nameChanges.push({ at, folder, apply })
  }

  #change(path: string, at: number, make: () => File | 'folder' | undefined): void {
    if (!this.#keeps(path)) return
    const entry = make()
    this.#note(dirname(path), at, names => {
      if (entry === undefined) names.delete(path)
      else names.set(path, entry)
    })
  }

  #open(path: string, args: string, opened: string | undefined, at: number): void {
    if (opened === undefined || !this.#keeps(path)) return
    const known = this.#names.get(path)
    if (known === undefined && args.includes('O_CREAT')) {
      this.#change(path, at, () => ({ content: Buffer.alloc(0), changes: [] }))
    } else if (known !== undefined && known !== 'folder' && args.includes('O_TRUNC')) {
      known.changes.push({ at, length: 0 })
    }
    this.#positions.set(path, 0)
  }

  #file(path: string | undefined): File | undefined {
    if (path === undefined || !this.#keeps(path)) return undefined
    const file = this.#names.get(path)
    return file === 'folder' ? undefined : file
  }

  #write({ thread, name, args, result, ended: at }: SystemCall): void {
    const path = pathOfDescriptor(args)
    const file = this.#file(path)
    if (file === undefined || path === undefined) return
    const written = Number(result.split(' ')[0])
    const bytes = Buffer.concat(stringsIn(args)).subarray(0, Number.isNaN(written) ? undefined : written)
    const position = this.#sought.get(`${thread} ${path}`) ?? this.#positions.get(path) ?? 0
    const positioned = name === 'pwrite64' || name === 'pwritev'
    const offset = positioned ? Number(/(\d+)$/.exec(args)?.[1]) : position
    if (!positioned) {
      this.#positions.set(path, position + bytes.length)
      this.#sought.delete(`${thread} ${path}`)
    }
    file.changes.push({ at, offset, bytes })
  }

  /** What was done before a flush began is on disk when it has ended. */
  #flush(path: string, { begun }: SystemCall): void {
    const file = this.#file(path)
    if (file !== undefined) {
      const done = file.changes.filter(({ at }) => at < begun)
      file.changes = file.changes.filter(({ at }) => at >= begun)
      file.content = applied(file.content, done)
    } else {
      const isDone = ({ folder, at }: NameChange): boolean => folder === path && at < begun
      for (const change of this.#nameChanges.filter(isDone)) change.apply(this.#durable)
      this.#nameChanges = this.#nameChanges.filter(change => !isDone(change))
    }
  }
}

function isListed(path: string, names: ReadonlyMap<string, unknown>, root: string): boolean {
  return path === root || (names.has(path) && isListed(dirname(path), names, root))
}

function contentOf(file: File, survivors: Survivors): Buffer {
  if (survivors === 'none') return file.content
  if (survivors === 'all') return applied(file.content, file.changes)
  const pages = file.changes.flatMap((change): Change[] => {
    if ('length' in change) return [change]
    const { at, offset, bytes } = change
    const parts: Change[] = []
    for (let from = 0; from < bytes.length; ) {
      const to = Math.min(bytes.length, from + PAGE_BYTES - ((offset + from) % PAGE_BYTES))
      parts.push({ at, offset: offset + from, bytes: bytes.subarray(from, to) })
      from = to
    }
    return parts
  })
  const share = survivors.next()
  return applied(
    file.content,
    pages.filter(() => survivors.chance(share)),
  )
}

function applied(content: Buffer, changes: readonly Change[]): Buffer {
  let size = content.length
  let greatest = size
  for (const change of changes) {
    size = 'length' in change ? change.length : Math.max(size, change.offset + change.bytes.length)
    greatest = Math.max(greatest, size)
  }
  const next = Buffer.alloc(greatest)
  content.copy(next)
  let end = content.length
  for (const change of changes) {
    if ('length' in change) {
      next.fill(0, change.length)
      end = change.length
    } else {
      change.bytes.copy(next, change.offset)
      end = Math.max(end, change.offset + change.bytes.length)
    }
  }
  return next.subarray(0, end)
}
