import type { CommitSummary } from '../snapshot/snapshot-manager.ts'
import { counted, humanCount } from './human-units.ts'
import type { Output } from './output.ts'

/** Says what a change of the whole state did. */
export function writeSummary(output: Output, { set, deleted, unchanged }: CommitSummary): Promise<void> {
  return output.line(
    `${counted(set, 'key')} set, ${humanCount(deleted)} deleted, ${humanCount(unchanged)} unchanged`,
  )
}
