/** How many columns of a terminal texts take: two for a wide character, none for a mark above another. */

const NARROW = /^[\x20-\x7e]*$/
const MARK = /[\p{Mn}\p{Me}\p{Cf}\u1160-\u11ff]/u
/** What Unicode calls wide or full-width, by its blocks; and emoji. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u4dbf\u4e00-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{17000}-\u{18cff}\u{1b000}-\u{1b2ff}\u{1f200}-\u{1f2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u

function widthOfCharacter(character: string): number {
  if (MARK.test(character)) return 0
  return WIDE.test(character) ? 2 : 1
}

/** The columns that a text takes. Of emoji joined to one, each counts, as not every terminal joins them. */
export function displayWidth(text: string): number {
  if (NARROW.test(text)) return text.length
  let width = 0
  for (const character of text) width += widthOfCharacter(character)
  return width
}

/** A text of at most so many columns; what is cut ends in `…`. No character is cut in two. */
export function cut(text: string, columns: number): string {
  if (text.length <= columns && NARROW.test(text)) return text
  let width = 0
  // Where the cut is, if there is one: an ellipsis still fits there.
  let end = 0
  let length = 0
  for (const character of text) {
    width += widthOfCharacter(character)
    length += character.length
    if (width > columns) return `${text.slice(0, end)}…`
    if (width < columns) end = length
  }
  return text
}
