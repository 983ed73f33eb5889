import { cut, displayWidth } from './display-width.ts'
import type { Output } from './output.ts'

/** A column of a table. */
export interface Column {
  readonly title?: string
  readonly align?: 'right'
  /** May be left out where the terminal is narrow. */
  readonly optional?: boolean
  /** Colours a cell, after it has been aligned. */
  readonly style?: (text: string) => string
}

const GAP = 2
/** The last column is cut to no less than this. */
const LEAST_LAST = 12

/**
 * Writes rows in aligned columns. Where the terminal is too narrow, optional columns are left out, from the right, and
 * then the last column is cut.
 */
export async function writeTable(
  output: Output,
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): Promise<void> {
  const widths = columns.map(({ title = '' }, i) =>
    rows.reduce((width, row) => Math.max(width, displayWidth(row[i] ?? '')), title.length),
  )
  const shown = columns.map((_, i) => i).filter(i => (widths[i] as number) > 0)
  const last = columns.length - 1
  const width = (): number =>
    shown.reduce(
      (sum, i) =>
        sum + (i === last ? Math.min(LEAST_LAST, widths[i] as number) : (widths[i] as number)) + GAP,
      -GAP,
    )
  for (let i = last; i >= 0 && width() > output.columns; i--) {
    if (columns[i]?.optional === true && shown.includes(i)) shown.splice(shown.indexOf(i), 1)
  }
  const write = async (
    cells: readonly string[],
    decorate: (text: string, column: Column) => string,
  ): Promise<void> => {
    let line = ''
    let used = 0
    for (const [position, i] of shown.entries()) {
      const column = columns[i] as Column
      const isLast = position === shown.length - 1
      const cell = cut(cells[i] ?? '', isLast ? output.columns - used : Number.POSITIVE_INFINITY)
      const padding = ' '.repeat(Math.max(0, (widths[i] as number) - displayWidth(cell)))
      const text = decorate(cell, column)
      if (column.align === 'right') line += padding + text
      else line += isLast ? text : text + padding
      if (!isLast) line += ' '.repeat(GAP)
      used += (widths[i] as number) + GAP
    }
    await output.line(line.trimEnd())
  }
  if (columns.some(({ title }) => title !== undefined)) {
    await write(
      columns.map(({ title = '' }) => title),
      text => output.style.dim(text),
    )
  }
  for (const row of rows)
    await write(row, (text, { style }) => (style === undefined || text === '' ? text : style(text)))
}

/** Writes labels and what they say, such as the parts of a summary. */
export function writeFacts(
  output: Output,
  facts: readonly (readonly [label: string, text: string])[],
): Promise<void> {
  return writeTable(output, [{ style: output.style.dim }, {}], facts)
}
