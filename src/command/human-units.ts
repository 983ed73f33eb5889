/** Values as people read them: sizes, counts, durations, and how long ago something was. */

const BYTE_UNITS = ['kB', 'MB', 'GB', 'TB', 'PB']

/** Such as `640 B`, `4.5 kB`, `12 MB`: decimal units, two digits where there is a point. */
export function humanBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  let size = bytes
  let unit = ''
  for (const next of BYTE_UNITS) {
    if (size < 999.5) break
    size /= 1000
    unit = next
  }
  return `${size < 9.95 ? size.toFixed(1) : Math.round(size)} ${unit}`
}

/** Such as `1,234,567`. */
export function humanCount(count: number): string {
  return count.toLocaleString('en-US')
}

/** A count with its noun, such as `1 key` and `2 keys`. */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${humanCount(count)} ${count === 1 ? noun : plural}`
}

/** Such as `850 µs`, `12 ms`, `3.4 s`, `2:05 min`, `1:02:03 h`. */
export function humanDuration(milliseconds: number): string {
  if (milliseconds < 1) return `${Math.round(milliseconds * 1000)} µs`
  if (milliseconds < 999.5)
    return `${milliseconds < 9.95 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`
  if (milliseconds < 59_950) return `${(milliseconds / 1000).toFixed(1)} s`
  const seconds = Math.round(milliseconds / 1000)
  const two = (number: number): string => String(number).padStart(2, '0')
  const hours = Math.floor(seconds / 3600)
  const minutes = Math.floor(seconds / 60) % 60
  return hours === 0
    ? `${minutes}:${two(seconds % 60)} min`
    : `${hours}:${two(minutes)}:${two(seconds % 60)} h`
}

const AGES: readonly (readonly [noun: string, seconds: number])[] = [
  ['year', 365.25 * 86_400],
  ['month', 30.44 * 86_400],
  ['week', 7 * 86_400],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
]

/** How long ago a moment was, such as `just now`, `5 minutes ago`, `3 weeks ago`; a date for what is to come. */
export function humanAge(moment: Date, now: number): string {
  const seconds = (now - moment.getTime()) / 1000
  if (seconds < -60) return humanTime(moment)
  for (const [noun, length] of AGES) {
    if (seconds >= length) return `${counted(Math.floor(seconds / length), noun)} ago`
  }
  return 'just now'
}

/** The local time to the second, such as `2026-01-31 14:05:09`. */
export function humanTime(moment: Date): string {
  const two = (number: number): string => String(number).padStart(2, '0')
  const date = [moment.getFullYear(), two(moment.getMonth() + 1), two(moment.getDate())].join('-')
  return `${date} ${[moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(two).join(':')}`
}
