// @ts-check
import { parseArgs } from 'node:util'

/**
 * The numbers given on the command line as `--name value`, and `--quick`, which takes the smaller defaults.
 *
 * @template {Record<string, { full: number, quick: number }>} Defaults
 * @param {Defaults} defaults
 * @returns {{ numbers: { [Name in keyof Defaults]: number }, positionals: string[] }}
 */
export function readOptions(defaults) {
  const names = Object.keys(defaults)
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      ...Object.fromEntries(names.map(name => [name, { type: /** @type {const} */ ('string') }])),
    },
  })
  const given = /** @type {Record<string, string | boolean | undefined>} */ (values)
  const numbers = Object.entries(defaults).map(([name, { full, quick }]) => {
    const number = given[name] === undefined ? (given.quick ? quick : full) : Number(given[name])
    if (!Number.isSafeInteger(number) || number < 1)
      throw new TypeError(`--${name} takes a whole number above 0`)
    return [name, number]
  })
  return { numbers: Object.fromEntries(numbers), positionals }
}
