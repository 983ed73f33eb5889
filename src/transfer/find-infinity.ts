/**
 * Where in parsed JSON a number stands that a double does not reach, and that became Infinity when it was parsed;
 * `undefined` if there is none.
 */
export function findInfinity(value: unknown, path: string): string | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : path
  if (typeof value !== 'object' || value === null) return undefined
  for (const [name, part] of Object.entries(value)) {
    const found = findInfinity(
      part,
      Array.isArray(value) ? `${path}[${name}]` : `${path}[${JSON.stringify(name)}]`,
    )
    if (found !== undefined) return found
  }
  return undefined
}
