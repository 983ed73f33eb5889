import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createPersistence } from '../../src/index.ts'
import { idsOf, stateOf } from './store-call.ts'
import type { KeyIds } from './store-model.ts'

/** Files for the calls that import. */
export interface ImportFiles {
  readonly data: readonly string[]
  readonly snapshots: readonly string[]
  /** What is in each. */
  readonly states: ReadonlyMap<string, KeyIds>
}

/** Writes files for import to a folder: some that are staged when limits are low, and some that are not. */
export async function writeImportFiles(folder: string): Promise<ImportFiles> {
  await mkdir(folder, { recursive: true })
  const states = new Map<string, KeyIds>()
  const data: string[] = []
  const snapshots: string[] = []
  for (const [i, keys] of [3, 40].entries()) {
    await using source = await createPersistence()
    const ids = Array.from({ length: keys }, (_, k) => [`k/${k}`, `file${i}.${k}`] as const)
    await source.save(stateOf(ids))
    const dataFile = join(folder, i === 0 ? `${i}.json` : `${i}.jsonl`)
    const snapshotFile = join(folder, `${i}.snapshot`)
    await source.exportData(dataFile)
    await source.exportSnapshot(await source.createSnapshot(), snapshotFile)
    for (const file of [dataFile, snapshotFile]) states.set(file, new Map(ids))
    data.push(dataFile)
    snapshots.push(snapshotFile)
  }
  return { data, snapshots, states }
}

/** The state in a file that `exportData()` wrote. @throws where it is not whole. */
export async function readDataFile(file: string): Promise<{ state: ReturnType<typeof idsOf> }> {
  await using target = await createPersistence()
  await target.importData(file)
  return { state: idsOf(await target.load()) }
}

/** The state in a file that `exportSnapshot()` wrote. @throws where it is not whole. */
export async function readSnapshotFile(file: string): Promise<{ state: ReturnType<typeof idsOf> }> {
  await using target = await createPersistence()
  const version = await target.importSnapshot(file)
  return { state: idsOf(await target.getSnapshotData(version)) }
}
