// @ts-check
/**
 * One import or export, in a process of its own; see transfer-memory.js.
 *
 *     fork('transfer-child.js', ['import' | 'export', file, folder of the store])
 */
import { createPersistence } from 'varve'
import { residentMemory } from './process-memory.js'

const [action, file, folder] = /** @type {[string, string, string]} */ (
  /** @type {unknown} */ (process.argv.slice(2))
)
const store = await createPersistence({ basePath: folder })
const opened = residentMemory('self')
const start = performance.now()
const summary = action === 'import' ? await store.importData(file) : await store.exportData(file)
const milliseconds = performance.now() - start
const entries = 'set' in summary ? summary.set : summary.entries
// Before the store is closed, so that the last look from outside still finds the process.
await new Promise(sent => process.send?.({ milliseconds, entries, opened }, sent))
await store.close()
process.disconnect?.()
