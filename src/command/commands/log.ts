import { humanAge, humanBytes, humanCount } from '../human-units.ts'
import { writeJsonList } from '../json-list.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'
import { snapshotJson } from '../snapshot-json.ts'
import { writeTable } from '../table.ts'

/** `varve log`: the snapshots, newest first. */
export async function log(
  session: Session,
  _args: readonly [],
  flags: { readonly limit?: number; readonly tag?: string },
): Promise<void> {
  const { output } = session
  const all = await session.withStore(store => store.listSnapshots())
  const wanted = flags.tag === undefined ? all : all.filter(({ tags }) => tags.includes(flags.tag as string))
  const shown = wanted.reverse().slice(0, flags.limit)
  if (session.json) return writeJsonList(output, shown.map(snapshotJson))
  if (shown.length === 0) {
    await session.note(
      all.length === 0
        ? 'No snapshot has been taken yet.'
        : `No snapshot has the tag ${JSON.stringify(flags.tag)}.`,
    )
    return
  }
  const now = Date.now()
  const { style } = output
  await writeTable(
    output,
    [
      { title: 'version', style: style.yellow },
      { title: 'taken' },
      { title: 'changes', align: 'right', optional: true },
      { title: 'size', align: 'right', optional: true },
      { title: 'tags', style: style.cyan },
      { title: 'description' },
    ],
    shown.map(({ version, createdAt, changes, bytes, tags, description }) => [
      version,
      humanAge(createdAt, now),
      humanCount(changes),
      humanBytes(bytes),
      tags.map(safeText).join(', '),
      safeText(description),
    ]),
  )
}
