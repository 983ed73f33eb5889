import { ImportError } from '../../core/errors.ts'
import { counted, humanBytes, humanCount, humanDuration } from '../human-units.ts'
import { nameOf, readLines } from '../read-input.ts'
import { parseReplayStep, type ReplayStep } from '../replay-step.ts'
import type { Session } from '../session.ts'

/** `varve replay FILE`: a history in JSON lines, a snapshot a line. */
export async function replay(session: Session, [file]: readonly [string]): Promise<void> {
  const { output, signal } = session
  await session.withStore(store =>
    session.withProgress('Replaying', humanBytes, async progress => {
      const started = performance.now()
      const totals = { snapshots: 0, set: 0, deleted: 0 }
      const versions: string[] = []
      for await (const { line, text } of readLines(session, file, progress)) {
        signal.throwIfAborted()
        const { put, del, options } = stepOf(text, file, line)
        await store.transaction(async transaction => {
          for (const [key, value] of put) transaction.set(key, value)
          for (const key of del) await transaction.delete(key)
        })
        versions[totals.snapshots === 0 ? 0 : 1] = await store.createSnapshot(options)
        totals.snapshots++
        totals.set += put.length
        totals.deleted += del.length
      }
      const milliseconds = Math.round(performance.now() - started)
      const [first = null, last = first] = versions
      await session.result({ ...totals, first, last, milliseconds }, () =>
        output.line(
          `${counted(totals.snapshots, 'snapshot')}${first === null ? '' : `, ${first} to ${last}`}: ${counted(totals.set, 'value')} set, ` +
            `${humanCount(totals.deleted)} deleted, in ${humanDuration(milliseconds)}`,
        ),
      )
    }),
  )
}

function stepOf(text: string, file: string, line: number): ReplayStep {
  try {
    return parseReplayStep(text)
  } catch (cause) {
    throw new ImportError(
      `Cannot replay ${nameOf(file)}, line ${line}: ${(cause as Error).message}. The lines before it have been replayed.`,
      { file, line, cause },
    )
  }
}
