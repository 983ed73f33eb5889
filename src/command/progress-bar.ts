import type { SingleBar } from 'cli-progress'
import { humanDuration } from './human-units.ts'
import type { OutputStream } from './output.ts'

/** Shows how far long work has come. */
export interface Progress {
  /** `total` may grow or be 0 while it is not known: then only what is done is shown. */
  update(done: number, total: number): void
  /** The next part of the work begins: another label, other amounts. The same label goes on. */
  begin(label: string, format: (amount: number) => string): void
  stop(): void
}

/** Work that ends sooner shows no bar, in milliseconds. */
const DELAY = 400
const INTERVAL = 100
const MAX_BAR = 30

/** Shows nothing. */
const NO_PROGRESS: Progress = { update() {}, begin() {}, stop() {} }

/**
 * A bar on a terminal, with the rate and the time left; nothing anywhere else. Until it is told how far the work has
 * come, it shows for how long it has been going on.
 *
 * @param format puts an amount in the units of the work, such as `12 MB`.
 */
export function progressBar(
  stream: OutputStream,
  label: string,
  format: (amount: number) => string,
): Progress {
  if (stream.isTTY !== true) return NO_PROGRESS
  let started = performance.now()
  let bar: SingleBar | undefined
  let stopped = false
  const state = { label, format, done: 0, total: 0 }
  const show = async (): Promise<void> => {
    const { default: cliProgress } = await import('cli-progress')
    if (stopped) return
    bar = new cliProgress.SingleBar({
      format: () => barLine({ ...state, elapsed: performance.now() - started }, stream.columns),
      stream,
      fps: 1000 / INTERVAL,
      clearOnComplete: true,
      // A process that is killed could not show it again.
      hideCursor: false,
    })
    bar.start(state.total, state.done)
  }
  const showing = setTimeout(() => void show(), DELAY)
  return {
    update(done, total) {
      state.done = done
      state.total = total
      bar?.setTotal(total)
      bar?.update(done)
    },
    begin(nextLabel, nextFormat) {
      if (nextLabel === state.label) return
      Object.assign(state, { label: nextLabel, format: nextFormat, done: 0, total: 0 })
      started = performance.now()
    },
    stop() {
      stopped = true
      clearTimeout(showing)
      bar?.stop()
    },
  }
}

interface BarState {
  readonly label: string
  readonly done: number
  readonly total: number
  /** In milliseconds. */
  readonly elapsed: number
  readonly format: (amount: number) => string
}

/** The line of a bar that fits into so many columns: on narrow terminals first the bar goes, then the rate. */
export function barLine({ label, done, total, elapsed, format }: BarState, columns = 80): string {
  if (done <= 0 && total <= 0) return fit([label, humanDuration(elapsed)], columns)
  const rate = elapsed > 0 ? done / elapsed : 0
  const speed = `${format(Math.round(rate * 1000))}/s`
  if (total <= 0) return fit([label, format(done), speed], columns)
  const share = Math.min(1, done / total)
  const left = rate > 0 ? `${humanDuration(Math.max(0, total - done) / rate)} left` : ''
  const texts = [label, `${Math.floor(share * 100)} %`, left, speed]
  const room = Math.min(MAX_BAR, columns - 1 - texts.join('  ').length - 2)
  if (room < 5) return fit(texts, columns)
  const filled = Math.round(share * room)
  texts.splice(1, 0, '█'.repeat(filled) + '░'.repeat(room - filled))
  return fit(texts, columns)
}

function fit(texts: readonly string[], columns: number): string {
  const shown = texts.filter(text => text !== '')
  while (shown.length > 1 && shown.join('  ').length >= columns) shown.pop()
  return shown.join('  ').slice(0, Math.max(1, columns - 1))
}
