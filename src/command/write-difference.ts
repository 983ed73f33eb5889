import type { Difference } from '../snapshot/compare.ts'
import { cut, displayWidth } from './display-width.ts'
import { counted, humanCount } from './human-units.ts'
import type { Output } from './output.ts'
import { safeText } from './safe-text.ts'
import type { Session } from './session.ts'
import type { Style } from './style.ts'
import { type ValueChange, valueChanges } from './value-changes.ts'
import { valueLine } from './value-text.ts'

/** Of one key so many changes are shown; `--all` shows every one. */
const FEW_CHANGES = 12

type Kind = Difference['type']

/** How lines begin, and are coloured, by what happened to a key or to a place in a value. */
const MARKS: Readonly<Record<Kind, string>> = { added: '+', removed: '-', changed: '~' }

function paint(style: Style, kind: Kind): (text: string) => string {
  return { added: style.green, removed: style.red, changed: style.yellow }[kind]
}

/** Writes a key that differs: what was added or removed, or the places inside the value that changed. */
async function writeDifference(output: Output, difference: Difference, all: boolean): Promise<void> {
  const { key, type, before, after } = difference
  if (type !== 'changed') return writeMarked(output, type, key, valueLine(type === 'added' ? after : before))
  let shown = 0
  for (const change of valueChanges(before, after)) {
    // A value that is replaced as a whole fits on the line of its key.
    if (change.path === '') return writeMarked(output, type, key, textOf(change))
    if (shown === 0) await writeMarked(output, type, key)
    if (shown === FEW_CHANGES && !all) {
      return output.line(output.style.dim('    … and more: --all shows every one'))
    }
    shown++
    await writeMarked(output, change.type, change.path, textOf(change), '    ')
  }
  // Equal as JSON would have it, such as two dates: shown whole.
  if (shown === 0) await writeMarked(output, type, key, textOf({ type, path: '', before, after }))
}

function textOf({ type, before, after }: ValueChange): string {
  if (type === 'added') return valueLine(after)
  return type === 'removed' ? valueLine(before) : `${valueLine(before)} → ${valueLine(after)}`
}

/** Writes a line: a mark, a name in its colour and a text, cut to the width of the output. */
export function writeMarked(output: Output, kind: Kind, name: string, text = '', indent = ''): Promise<void> {
  const start = cut(`${indent}${MARKS[kind]} ${safeText(name)}`, output.columns)
  const room = output.columns - displayWidth(start) - 2
  const painted = paint(output.style, kind)(start)
  return output.line(text === '' || room < 1 ? painted : `${painted}  ${cut(text, room)}`)
}

/** How many keys were added, removed and changed. */
export type DifferenceCounts = Record<Difference['type'], number>

/** Writes keys that differ as they come, at most `limit` of them, and counts all. */
export async function writeDifferences(
  { output, signal }: Session,
  differences: AsyncIterable<Difference>,
  options: {
    readonly all?: boolean | undefined
    readonly keysOnly?: boolean | undefined
    readonly limit?: number
  },
): Promise<DifferenceCounts> {
  const { limit = Number.POSITIVE_INFINITY, keysOnly = false } = options
  const counts: DifferenceCounts = { added: 0, removed: 0, changed: 0 }
  let shown = 0
  for await (const difference of differences) {
    signal.throwIfAborted()
    counts[difference.type]++
    if (++shown > limit) continue
    if (keysOnly) await writeMarked(output, difference.type, difference.key)
    else await writeDifference(output, difference, options.all === true)
  }
  if (shown > limit)
    await output.line(output.style.dim(`… and ${counted(shown - limit, 'key')} more: --all shows every one`))
  return counts
}

/** Such as `3 keys differ: 1 added, 1 removed, 1 changed`. */
export function countDifferences({ added, removed, changed }: DifferenceCounts): string {
  const total = added + removed + changed
  if (total === 0) return 'No difference'
  const parts = [
    [added, 'added'],
    [removed, 'removed'],
    [changed, 'changed'],
  ] as const
  const texts = parts.filter(([count]) => count > 0).map(([count, what]) => `${humanCount(count)} ${what}`)
  return `${counted(total, 'key')}: ${texts.join(', ')}`
}
