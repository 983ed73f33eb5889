import { readdirSync, readlinkSync, readSync, realpathSync } from 'node:fs'

/** Whether anybody holds LMDB's write lock at the moment. */
export type WriteLock = () => boolean

/**
 * Where glibc has who holds the lock: the first word of a mutex, which begins the second line of 64 bytes of the lock file.
 */
const OWNER = 64

/**
 * Finds out how to look at LMDB's write lock. To be called while this thread holds it: `undefined` where that cannot be seen.
 *
 * The lock file is read by the descriptor that LMDB has of it. One of our own would not do: as it is closed, the system lets go
 * of every lock that the process has on the file, and LMDB takes it that nobody has the store open.
 */
export function findWriteLock(lockFile: string): WriteLock | undefined {
  const descriptor = descriptorOf(lockFile)
  if (descriptor === undefined) return undefined
  const owner = new Uint32Array(1)
  const isHeld = (): boolean => {
    try {
      return readSync(descriptor, owner, 0, 4, OWNER) !== 4 || owner[0] !== 0
    } catch {
      return true
    }
  }
  return isHeld() ? isHeld : undefined
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
