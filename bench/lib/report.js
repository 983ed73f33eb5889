// @ts-check
import { machine } from './machine.js'

/**
 * Prints the heading of a benchmark and what it ran on, in Markdown.
 *
 * @param {string} title
 * @param {string} text what was measured and how
 */
export function heading(title, text) {
  print(`\n## ${title}\n\n${text}\n\n${machine()}`)
}

/**
 * Prints a Markdown table. Columns after the first are aligned to the right.
 *
 * @param {readonly string[]} columns
 * @param {readonly (readonly string[])[]} rows
 */
export function table(columns, rows) {
  print(tableText(columns, rows))
}

/**
 * The text of such a table, after an empty line.
 *
 * @param {readonly string[]} columns
 * @param {readonly (readonly string[])[]} rows
 */
export function tableText(columns, rows) {
  const widths = columns.map((column, i) =>
    Math.max(3, column.length, ...rows.map(row => /** @type {string} */ (row[i]).length)),
  )
  /** @param {readonly string[]} cells */
  const line = cells =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(' | ')} |`
  const rule = widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return ['', line(columns), line(rule), ...rows.map(line)].join('\n')
}

/**
 * Prints how figures stand to their goals. Figures are reported and never asserted: a busy machine is no failure.
 *
 * @param {readonly { what: string, figure: string, goal: string, met: boolean }[]} figures
 */
export function goals(figures) {
  table(
    ['goal', 'wanted', 'measured', ''],
    figures.map(({ what, figure, goal, met }) => [what, goal, figure, met ? 'met' : 'MISSED']),
  )
}

/** @param {string} text */
export function print(text) {
  process.stdout.write(`${text}\n`)
}
