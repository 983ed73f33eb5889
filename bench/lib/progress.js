// @ts-check

/** A line is printed at most so often where stderr is not a terminal, in milliseconds. */
const INTERVAL = 5000
/** And so often where it is, and the line is written over. */
const TERMINAL_INTERVAL = 100

/**
 * Shows on stderr how far something has come; nothing of it reaches the results on stdout.
 *
 * @param {string} what
 * @param {number} total
 * @returns {(done: number) => void}
 */
export function progress(what, total) {
  const { isTTY = false } = process.stderr
  const started = performance.now()
  let shown = 0
  return done => {
    const now = performance.now()
    const ended = done >= total
    if (!ended && now - shown < (isTTY ? TERMINAL_INTERVAL : INTERVAL)) return
    shown = now
    const seconds = ((now - started) / 1000).toFixed(0)
    const text = `${what}: ${done.toLocaleString('en-US')} of ${total.toLocaleString('en-US')}, ${seconds} s`
    process.stderr.write(isTTY ? `\r\x1b[K${text}${ended ? '\n' : ''}` : `${text}\n`)
  }
}
