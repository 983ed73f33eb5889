import type { HistoryEntry } from '../../snapshot/snapshot-manager.ts'
import { toTypedJson } from '../../transfer/typed-json.ts'
import { cut } from '../display-width.ts'
import { EXIT, type ExitCode } from '../exit-code.ts'
import { writeJsonList } from '../json-list.ts'
import type { Session } from '../session.ts'
import { valueLine } from '../value-text.ts'

/** `varve history KEY`: the snapshots at which a key changed, newest first. */
export async function history(
  session: Session,
  [key]: readonly [string],
  flags: { readonly limit?: number },
): Promise<ExitCode> {
  const { output, signal } = session
  const { limit = Number.POSITIVE_INFINITY } = flags
  let found = 0
  return session.withStore(async store => {
    async function* entries(): AsyncGenerator<HistoryEntry> {
      for await (const entry of store.history(key)) {
        signal.throwIfAborted()
        if (found === limit) return
        found++
        yield entry
      }
    }
    if (session.json) {
      await writeJsonList(output, toJson(entries()))
    } else {
      for await (const entry of entries()) {
        const { version } = entry
        const text = entry.deleted === true ? output.style.red('deleted') : valueLine(entry.value)
        const room = entry.deleted === true ? Number.POSITIVE_INFINITY : output.columns - version.length - 2
        await output.line(`${output.style.yellow(version)}  ${cut(text, room)}`)
      }
      if (found === 0) await session.note(`No snapshot has a key ${JSON.stringify(key)}.`)
    }
    return found === 0 ? EXIT.no : EXIT.done
  })
}

async function* toJson(entries: AsyncIterable<HistoryEntry>): AsyncGenerator<object> {
  for await (const { version, deleted, value } of entries) {
    yield deleted === true ? { version, deleted } : { version, value: toTypedJson(value) }
  }
}
