import { shownPlace } from '../postgres-place.ts'
import type { RetentionFlags } from '../retention-flags.ts'
import { retentionOf } from '../retention-flags.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'
import { holdsStore } from '../store-place.ts'

interface InitFlags extends RetentionFlags {
  readonly encryptKeys?: boolean
}

/** `varve init`: makes a store where there is none. */
export async function init(session: Session, _args: readonly [], flags: InitFlags): Promise<void> {
  const { place, host, output } = session
  const shown = shownPlace(place)
  const existed = await holdsStore(place, host.cwd)
  const { encryptKeys, ...retention } = flags
  await session.withStore(async () => undefined, {
    create: true,
    retention: retentionOf(retention),
    encryptKeys,
  })
  await session.result({ store: shown, created: !existed }, () =>
    output.line(
      existed ? `There is a store at ${safeText(shown)} already` : `Made a store at ${safeText(shown)}`,
    ),
  )
}
