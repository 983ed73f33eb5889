/** A reference token made part of a JSON Pointer (RFC 6901). */
export function escapeToken(token: string): string {
  return /[~/]/.test(token) ? token.replaceAll('~', '~0').replaceAll('/', '~1') : token
}

/** The reference tokens of a JSON Pointer; none for `''`, the whole value. `undefined` if it is not a pointer. */
export function parsePointer(pointer: string): string[] | undefined {
  if (pointer === '') return []
  if (!pointer.startsWith('/') || /~(?![01])/.test(pointer)) return undefined
  const tokens = pointer.slice(1).split('/')
  return pointer.includes('~')
    ? tokens.map(token => token.replaceAll('~1', '/').replaceAll('~0', '~'))
    : tokens
}

/** Whether a token can be the index of an array: decimal digits, without leading zeros. */
export function isIndex(token: string): boolean {
  return /^(?:0|[1-9]\d*)$/.test(token)
}
