/** An object with the same own properties, `__proto__` included, and other values. */
export function mapValues<T, R>(
  object: Readonly<Record<string, T>>,
  change: (value: T) => R,
): Record<string, R> {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]))
}
