/** Characters that would do something to a terminal, or break a line: controls of both sorts, and the separators. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for.
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

/**
 * A key or another text of the user's, to be shown on one line: as it is, or in quotes with escapes where it holds
 * control characters. What is stored can then neither move the cursor nor pass for two lines.
 */
export function safeText(text: string): string {
  return text.search(UNSAFE) < 0 ? text : jsonText(text)
}

/** A text whose control characters are written as escapes, but for the ends of its lines. */
export function escapeControls(text: string): string {
  return text.replace(UNSAFE, char =>
    char === '\n' ? char : `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** The JSON of a value without the characters that JSON allows and a terminal acts on. */
export function jsonText(value: unknown, indent?: number): string {
  return escapeControls(JSON.stringify(value, null, indent))
}
