import { join } from 'node:path'
import { beginReadTransaction, loadLmdb, openRoot, type Root } from './binding.ts'
import { LOCK_FILE } from './generation.ts'
import { announceOpening } from './openings.ts'
import { NOTICE_MS } from './trust.ts'

/** So often the files are opened anew where somebody commits at that very moment, each time. */
const MAX_ATTEMPTS = 20

/**
 * Keeps the pages of the newest commit from being written over, until the function that is returned is called. Nothing but
 * the first two pages and the lock file is read: the rest may be damaged.
 *
 * @param store the store's folder
 * @param folder that of the generation
 */
export async function pinGeneration(store: string, folder: string): Promise<() => void> {
  const lmdb = await loadLmdb()
  const isOpen = announceOpening(store, join(folder, LOCK_FILE), NOTICE_MS)
  try {
    for (let attempt = 1; ; attempt++) {
      const root = openRoot(lmdb, folder, { readOnly: true })
      const { native } = beginReadTransaction(lmdb, root)
      const release = (): void => {
        native.abort()
        root.close().catch(() => undefined)
      }
      // Nobody else would set the number right before the next commit: see openings.ts.
      if (attempt === MAX_ATTEMPTS || readsNewest(root)) return release
      release()
    }
  } finally {
    isOpen()
  }
}

/** Whether the newest transaction that this process reads in shows the newest commit. */
function readsNewest(root: Root): boolean {
  const own = new RegExp(`^ *${process.pid} .* (\\d+)$`, 'gm')
  const shown = [...root.readerList().matchAll(own)].map(([, number]) => Number(number))
  return Math.max(...shown) >= root.env.info().lastTxnId
}
