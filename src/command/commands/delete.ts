import { EXIT, type ExitCode } from '../exit-code.ts'
import type { Session } from '../session.ts'

/** `varve delete KEY...`: removes keys, all in one commit. */
export async function deleteKeys(session: Session, [keys]: readonly [readonly string[]]): Promise<ExitCode> {
  const deleted: string[] = []
  const absent: string[] = []
  await session.withStore(store =>
    store.transaction(async transaction => {
      // It may run again.
      deleted.length = 0
      absent.length = 0
      for (const key of new Set(keys)) ((await transaction.delete(key)) ? deleted : absent).push(key)
    }),
  )
  await session.result({ deleted, absent }, async () => {
    for (const key of absent) await session.note(`There is no key ${JSON.stringify(key)}.`)
  })
  return absent.length === 0 ? EXIT.done : EXIT.no
}
