import type { Difference } from '../../snapshot/compare.ts'
import { differenceJson } from '../difference-json.ts'
import { EXIT, type ExitCode } from '../exit-code.ts'
import { writeJsonList } from '../json-list.ts'
import { type RangeFlags, rangeOf } from '../range-flags.ts'
import type { Session } from '../session.ts'
import { countDifferences, writeDifferences } from '../write-difference.ts'

interface DiffFlags extends RangeFlags {
  readonly prefix?: string
  readonly keys?: boolean
  readonly all?: boolean
  readonly exitCode?: boolean
}

/** `varve diff [A [B]]`: what differs from one version to another; by default from the newest snapshot to now. */
export async function diff(
  session: Session,
  [from = 'head~1', to = 'head']: readonly [string?, string?],
  flags: DiffFlags,
): Promise<ExitCode> {
  const range = rangeOf(flags.prefix, flags)
  const { output, signal } = session
  return session.withStore(async store => {
    const versions = [await store.resolveVersion(from), await store.resolveVersion(to)] as const
    let found = 0
    async function* differences(): AsyncGenerator<Difference> {
      for await (const difference of store.diff(...versions, range)) {
        signal.throwIfAborted()
        found++
        yield difference
      }
    }
    if (session.json) {
      await writeJsonList(output, toJson(differences()))
    } else {
      const counts = await writeDifferences(session, differences(), { all: flags.all, keysOnly: flags.keys })
      await session.note(countDifferences(counts))
    }
    return flags.exitCode === true && found > 0 ? EXIT.no : EXIT.done
  })
}

async function* toJson(differences: AsyncIterable<Difference>): AsyncGenerator<object> {
  for await (const difference of differences) yield differenceJson(difference)
}
