import {
  ImportError,
  InvalidArgumentError,
  InvalidKeyError,
  UnserializableValueError,
} from '../../core/errors.ts'
import type { Persistence } from '../../persistence/persistence.ts'
import { counted, humanBytes, humanCount, humanDuration } from '../human-units.ts'
import type { Progress } from '../progress-bar.ts'
import { nameOf, readLines } from '../read-input.ts'
import { parseReplayStep } from '../replay-step.ts'
import { ReplayedLines } from '../replayed-lines.ts'
import type { Session } from '../session.ts'

/** `varve replay FILE`: a history in JSON lines, a snapshot a line; all of it, or nothing. */
export async function replay(session: Session, [file]: readonly [string]): Promise<void> {
  const { output } = session
  const totals = await session.withStore(store =>
    session.withProgress('Replaying', humanBytes, progress => replayLines(session, store, file, progress)),
  )
  const { snapshots, set, deleted, first, last, milliseconds } = totals
  await session.result(totals, () =>
    output.line(
      `${counted(snapshots, 'snapshot')}${first === null ? '' : `, ${first} to ${last}`}: ${counted(set, 'value')} set, ` +
        `${humanCount(deleted)} deleted, in ${humanDuration(milliseconds)}`,
    ),
  )
}

interface Totals {
  readonly snapshots: number
  readonly set: number
  readonly deleted: number
  readonly first: string | null
  readonly last: string | null
  readonly milliseconds: number
}

async function replayLines(
  session: Session,
  store: Persistence,
  file: string,
  progress: Progress,
): Promise<Totals> {
  const { signal } = session
  const started = performance.now()
  const lines = new ReplayedLines(store)
  let set = 0
  let deleted = 0
  try {
    for await (const { line, text } of readLines(session, file, progress)) {
      signal.throwIfAborted()
      await atLine(file, line, async () => {
        const step = parseReplayStep(text)
        await lines.apply(step)
        set += step.put.length
        deleted += step.del.length
      })
    }
    signal.throwIfAborted()
  } catch (error) {
    await lines.takeBack()
    throw error
  }
  const { versions } = lines
  return {
    snapshots: versions.length,
    set,
    deleted,
    first: versions[0] ?? null,
    last: versions.at(-1) ?? null,
    milliseconds: Math.round(performance.now() - started),
  }
}

/** Says at which line a history is not as it should be. */
async function atLine(file: string, line: number, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (cause) {
    const isOfLine =
      cause instanceof InvalidKeyError ||
      cause instanceof InvalidArgumentError ||
      cause instanceof UnserializableValueError
    if (!isOfLine) throw cause
    const reason = cause.message.replace(/\.$/, '')
    throw new ImportError(`Cannot replay ${nameOf(file)}, line ${line}: ${reason}. Nothing was replayed.`, {
      file,
      line,
      cause,
    })
  }
}
