/** Characters that would do something to a terminal, or break a line: controls of both sorts, and the separators. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for.
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

/**
 * A key or another text of the user's, to be shown on one line: as it is, or in quotes with escapes where it holds
 * control characters. What is stored can then neither move the cursor nor pass for two lines.
 */
export function safeText(text: string): string {
  return text.search(UNSAFE) < 0 ? text : safeJson(JSON.stringify(text))
}

/** JSON text without the characters that JSON allows and a terminal acts on: still the same JSON. */
export function safeJson(json: string): string {
  return json.replace(UNSAFE, char =>
    char === '\n' ? char : `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
