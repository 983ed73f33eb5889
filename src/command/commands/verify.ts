import { InvalidArgumentError } from '../../core/errors.ts'
import { hasEncryptedKeys, isEncrypted } from '../../encryption/is-encrypted.ts'
import type { Engine } from '../../engine/engine.ts'
import type { LostKey, RepairSummary } from '../../history/repair.ts'
import { repair } from '../../history/repair.ts'
import { type Problem, verify as verifyStore } from '../../history/verify.ts'
import { EXIT, type ExitCode } from '../exit-code.ts'
import { counted, humanCount } from '../human-units.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'

/** What `varve verify` takes. */
export interface VerifyFlags {
  readonly repair?: boolean
  readonly into?: string
}

/** `varve verify`: looks at every record of the store; with `--repair`, makes a new store of what is whole. */
export async function verify(session: Session, _args: readonly [], flags: VerifyFlags): Promise<ExitCode> {
  if (flags.repair === true) return repairInto(session, flags.into ?? `${session.place}-repaired`)
  if (flags.into !== undefined)
    throw new InvalidArgumentError('--into says where --repair makes the new store.')
  const { output, signal } = session
  const engine = await session.engineAt(session.place)
  const verification = await session.withProgress('Verifying', humanCount, progress =>
    verifyStore(engine, { signal, onProgress: checked => progress.update(checked, 0) }),
  )
  const { ok, checked, problems } = verification
  await session.result(verification, async () => {
    for (const problem of problems) await writeProblem(session, problem)
    const found = ok ? 'no problems' : counted(problems.length, 'problem')
    await output.line(`${counted(checked, 'record')} checked, ${found}`)
  })
  return ok ? EXIT.done : EXIT.damaged
}

async function repairInto(session: Session, into: string): Promise<ExitCode> {
  const { signal } = session
  const from = await session.engineAt(session.place)
  const encryptKeys = await areKeysEncrypted(from, signal)
  const to = await session.engineAt(into, { create: true, ...(encryptKeys && { encryptKeys }) })
  const summary = await session.withProgress('Repairing', humanCount, progress =>
    repair(from, to, { signal, onProgress: ({ records }) => progress.update(records, 0) }),
  )
  await session.result({ into, ...summary }, () => writeSummary(session, into, summary))
  return summary.problems.length === 0 ? EXIT.done : EXIT.damaged
}

/** Whether keys are encrypted in a store that need not be whole: in the new one they shall be, too. */
async function areKeysEncrypted(engine: Engine, signal: AbortSignal): Promise<boolean> {
  if (!isEncrypted(engine)) return false
  if (engine.salvage !== undefined) {
    const view = await engine.salvage({ signal })
    view.close()
    return hasEncryptedKeys(engine)
  }
  await engine.open()
  try {
    return hasEncryptedKeys(engine)
  } finally {
    await engine.close()
  }
}

async function writeProblem({ output }: Session, { table, key, message }: Problem): Promise<void> {
  const where = `${table ?? 'store'}${key === undefined ? '' : ` ${safeText(key)}`}`
  await output.line(`${output.style.red(where)}: ${safeText(message)}`)
}

async function writeSummary(session: Session, into: string, summary: RepairSummary): Promise<void> {
  const { output } = session
  const { keys, snapshots, lost, problems } = summary
  for (const problem of problems) await writeProblem(session, problem)
  for (const version of lost.snapshots) await output.line(`${output.style.red('lost')} snapshot ${version}`)
  for (const key of lost.keys) {
    const doubt = key.certain ? '' : ', if it was there'
    await output.line(`${output.style.red('lost')} ${safeText(key.key)}: ${whereLost(key)}${doubt}`)
  }
  if (lost.unnamedKeys !== undefined && lost.unnamedKeys > 0) {
    await output.line(`${output.style.red('lost')} ${counted(lost.unnamedKeys, 'key')} without a name`)
  }
  if (lost.newestCommits)
    await output.line('What was committed last may be lost: see that the state is not older than it was.')
  await output.line(
    `Saved ${counted(keys, 'key')} and ${counted(snapshots, 'snapshot')} to ${safeText(into)}`,
  )
}

function whereLost({ versions, current }: LostKey): string {
  const [first] = versions
  const names = versions.length > 2 ? `${first} to ${versions.at(-1)}` : versions.join(', ')
  if (first === undefined) return 'now'
  return current ? `${names} and now` : names
}
