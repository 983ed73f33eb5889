import { SnapshotNotFoundError } from '../../core/errors.ts'
import { differenceJson } from '../difference-json.ts'
import { humanAge, humanBytes, humanTime } from '../human-units.ts'
import { resolveSnapshot } from '../resolve-snapshot.ts'
import { jsonText, safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'
import { snapshotJson } from '../snapshot-json.ts'
import { writeFacts } from '../table.ts'
import { valueLine } from '../value-text.ts'
import { countDifferences, writeDifferences } from '../write-difference.ts'

/** So many keys are shown without `--all`. */
const FEW_KEYS = 20

/** `varve show VERSION`: what is known of a snapshot, and what changed since the one before. */
export async function show(
  session: Session,
  [name = 'head~1']: readonly [string?],
  flags: { readonly all?: boolean },
): Promise<void> {
  const { output, signal } = session
  await session.withStore(async store => {
    const version = await resolveSnapshot(store, name)
    const all = await store.listSnapshots()
    const index = all.findIndex(snapshot => snapshot.version === version)
    const info = all[index]
    if (info === undefined) throw new SnapshotNotFoundError(`Snapshot ${version} has been deleted just now.`)
    const previous = all[index - 1]?.version
    const differences = previous === undefined ? undefined : store.diff(previous, version)
    if (session.json) {
      const changes = []
      for await (const difference of differences ?? []) {
        signal.throwIfAborted()
        changes.push(differenceJson(difference))
      }
      return output.line(
        jsonText({ ...snapshotJson(info), previous: previous ?? null, differences: changes }),
      )
    }
    await writeFacts(output, [
      ['version', output.style.yellow(info.version)],
      ['taken', `${humanTime(info.createdAt)}, ${humanAge(info.createdAt, Date.now())}`],
      ...(info.tags.length > 0 ? [['tags', info.tags.map(safeText).join(', ')] as const] : []),
      ...(info.description === '' ? [] : [['description', safeText(info.description)] as const]),
      ...(info.userInfo === undefined ? [] : [['info', valueLine(info.userInfo)] as const]),
      ...(info.baseVersion === undefined ? [] : [['measured against', info.baseVersion] as const]),
      ['written', `${humanBytes(info.bytes)} since the snapshot before`],
    ])
    await output.line()
    if (differences === undefined) {
      return output.line(`The first snapshot there is: "varve list --at ${version}" shows what is in it.`)
    }
    await output.line(output.style.dim(`Since ${previous}:`))
    const limit = flags.all === true ? Number.POSITIVE_INFINITY : FEW_KEYS
    const counts = await writeDifferences(session, differences, { all: flags.all, limit })
    await output.line(output.style.dim(countDifferences(counts)))
  })
}
