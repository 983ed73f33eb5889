/**
 * Shapes of JSON as docs/command.md writes them: `{name, other?, list: [{…}]}`, where a name without a colon may hold
 * anything; `{key: value}` and `{tag: count}` are objects with any names.
 */
export type JsonShape =
  | { readonly kind: 'anything' }
  | { readonly kind: 'list'; readonly of: JsonShape }
  | { readonly kind: 'map' }
  | { readonly kind: 'object'; readonly members: ReadonlyMap<string, Member> }

interface Member {
  readonly optional: boolean
  readonly shape: JsonShape
}

const ANYTHING: JsonShape = { kind: 'anything' }
const MAPS = new Set(['{key: value}', '{tag: count}'])

/** Reads a shape. */
export function parseShape(text: string): JsonShape {
  if (MAPS.has(text)) return { kind: 'map' }
  const tokens = text.match(/\w+|[[\]{},:?]/g) ?? []
  const take = (wanted?: string): string => {
    const token = tokens.shift()
    if (token === undefined || (wanted !== undefined && token !== wanted))
      throw new Error(`"${text}": ${token}`)
    return token
  }
  const shape = (): JsonShape => {
    const first = take()
    if (first === '[') {
      const of = shape()
      take(']')
      return { kind: 'list', of }
    }
    if (first !== '{') return ANYTHING
    const members = new Map<string, Member>()
    for (let more = true; more; ) {
      const name = take()
      const optional = tokens[0] === '?' && take() === '?'
      members.set(name, { optional, shape: tokens[0] === ':' && take() === ':' ? shape() : ANYTHING })
      more = take() === ','
    }
    return { kind: 'object', members }
  }
  const found = shape()
  if (tokens.length > 0) throw new Error(`"${text}" goes on: ${tokens.join(' ')}`)
  return found
}

/** Whether a value has a shape, and no member beyond it. */
export function hasShape(value: unknown, shape: JsonShape): boolean {
  if (shape.kind === 'anything') return true
  if (shape.kind === 'list') return Array.isArray(value) && value.every(item => hasShape(item, shape.of))
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  if (shape.kind === 'map') return true
  return (
    Object.keys(value).every(name => shape.members.has(name)) &&
    [...shape.members].every(([name, { optional, shape: of }]) =>
      name in value ? hasShape((value as Record<string, unknown>)[name], of) : optional,
    )
  )
}
