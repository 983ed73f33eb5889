import { statfsSync } from 'node:fs'
import { constants } from 'node:os'
import { EngineError } from '../../core/errors.ts'

/** LMDB passes errors of the system on by number. */
const SYSTEM_CODES = new Map(
  Object.entries(constants.errno).map(([name, number]) => [number as number, name]),
)

/** What to do about some errors of the system, and of LMDB by the numbers of its lmdb.h. */
const ADVICE = new Map<unknown, string>([
  ['EIO', 'input/output error: the disk is full or failing'],
  [-30796, 'the data file is damaged: restore it from a backup or an export'],
  [-30790, 'too many views are open at the same time: close views after use'],
])

/** With less room than this, in bytes, a disk is taken to be full. */
const FULL = 64 * 1024

/** Whether a disk is full. Where a part of what it writes fits, LMDB says that input or output has failed. */
function isFull(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(path)
    return bavail * bsize < FULL
  } catch {
    return false
  }
}

/**
 * Puts a failure of the file system or of LMDB into the terms of this library. `doing` says what failed, such as
 * `open`; an error that is an {@link EngineError} already stays as it is.
 *
 * Codes: `ENGINE_NOT_A_FOLDER`, `ENGINE_NOT_WRITABLE`, `ENGINE_DISK_FULL`, and `ENGINE` for everything else.
 */
export function toEngineError(cause: unknown, doing: string, path: string): EngineError {
  if (cause instanceof EngineError) return cause
  const { code: given, message } = cause as { code?: unknown; message?: unknown }
  const known = typeof given === 'number' ? (SYSTEM_CODES.get(given) ?? given) : given
  const code = known === 'EIO' && isFull(path) ? 'ENOSPC' : known
  const what = `Cannot ${doing} the store in ${JSON.stringify(path)}`
  switch (code) {
    case 'EEXIST':
    case 'ENOTDIR':
      return new EngineError(`${what}: it, or a part of its path, is a file. Give the path of a folder.`, {
        code: 'ENGINE_NOT_A_FOLDER',
        cause,
      })
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
    // What mkdir answers where nothing can be made, as in /proc.
    case 'ENOENT':
      return new EngineError(
        `${what}: it cannot be created or written (${code}). Give a folder that this process may write to.`,
        { code: 'ENGINE_NOT_WRITABLE', cause },
      )
    case 'ENOSPC':
    case 'EDQUOT':
    // A limit on the size of files.
    case 'EFBIG':
      return new EngineError(
        `${what}: the disk is full, or a quota used up (${code}). Nothing was written; make room and try again.`,
        {
          code: 'ENGINE_DISK_FULL',
          cause,
        },
      )
    default:
      return new EngineError(`${what}: ${ADVICE.get(code) ?? String(message ?? cause)}.`, { cause })
  }
}
