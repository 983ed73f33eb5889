import { existsSync, readdirSync, readlinkSync, readSync, realpathSync } from 'node:fs'

/** Whether anybody holds LMDB's write lock at the moment; `undefined` if that cannot be seen now. */
export type WriteLock = () => boolean | undefined

/**
 * Where glibc has who holds the lock: the first word of a mutex, which begins the second line of 64 bytes of the lock file.
 */
const OWNER = 64
/** The bits of it that are the number of a thread; the others say that some wait for the lock, or that its owner has died. */
const THREAD = 0x3fff_ffff

/**
 * Finds out how to look at LMDB's write lock. To be called while this thread holds it: `undefined` where that cannot be seen.
 *
 * The lock file is read by the descriptor that LMDB has of it. One of our own would not do: as it is closed, the system lets go
 * of every lock that the process has on the file, and LMDB takes it that nobody has the store open.
 */
export function findWriteLock(lockFile: string): WriteLock | undefined {
  const descriptor = descriptorOf(lockFile)
  if (descriptor === undefined) return undefined
  const word = new Uint32Array(1)
  /** The number of the thread that holds the lock, or 0. */
  const owner = (): number | undefined => {
    try {
      return readSync(descriptor, word, 0, 4, OWNER) === 4 ? (word[0] as number) & THREAD : undefined
    } catch {
      return undefined
    }
  }
  const self = owner()
  // Other libraries have something else there.
  if (self === undefined || self === 0 || !existsSync(`/proc/self/task/${self}`)) return undefined
  return () => {
    const holder = owner()
    return holder === undefined ? undefined : holder !== 0
  }
}

/** The number of a descriptor that this process has of a file. */
function descriptorOf(file: string): number | undefined {
  const folder = '/proc/self/fd'
  try {
    const path = realpathSync(file)
    const name = readdirSync(folder).find(name => linkOf(`${folder}/${name}`) === path)
    return name === undefined ? undefined : Number(name)
  } catch {
    // Not Linux.
    return undefined
  }
}

function linkOf(file: string): string | undefined {
  try {
    return readlinkSync(file)
  } catch {
    // Closed meanwhile.
    return undefined
  }
}
