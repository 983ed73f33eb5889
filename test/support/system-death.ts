import { closeSync, openSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { BOOT_BYTES } from '../../src/engine/lmdb/boot.ts'
import { readFlushedCommit, writeFlushedCommit } from '../../src/engine/lmdb/flushed-commit.ts'

/** Another run of the system than that in which a store was written. */
const OTHER_BOOT = Buffer.alloc(BOOT_BYTES, 7)

/** Lets a store look as if it had been written before the system died. */
export async function dieIn(store: string): Promise<void> {
  const names = await readdir(store, { recursive: true }).catch(() => [])
  for (const name of names.filter(name => name.endsWith('data.mdb'))) {
    const descriptor = openSync(join(store, name), 'r+')
    try {
      const note = readFlushedCommit(descriptor)
      if (note !== undefined) writeFlushedCommit(descriptor, OTHER_BOOT, note)
    } finally {
      closeSync(descriptor)
    }
  }
}
