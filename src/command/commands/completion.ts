import { completionScript, type DescribedCommand, type Shell } from '../completion-script.ts'
import type { Session } from '../session.ts'

/** `varve completion SHELL`: what a shell reads to complete commands and options. */
export async function completion(
  session: Session,
  shell: Shell,
  commands: readonly DescribedCommand[],
): Promise<void> {
  const script = completionScript(shell, commands)
  await session.result({ shell, script }, () => session.output.write(script))
}
