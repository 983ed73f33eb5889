import { InvalidArgumentError, SnapshotNotFoundError } from '../core/errors.ts'
import { nearest } from '../core/nearest.ts'
import { invalidOption } from '../core/options.ts'
import type { VersionId } from './version.ts'

/** What a name may refer to: a snapshot and what is known of it. */
export interface NamedSnapshot {
  readonly version: VersionId
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly tags: readonly string[]
}

/**
 * The version that a name stands for. See `SnapshotManager.resolveVersion`.
 *
 * @param all the snapshots there are, oldest first
 */
export function findVersion(all: readonly NamedSnapshot[], name: unknown): VersionId | 'head' {
  if (typeof name !== 'string' || name === '') throw invalidOption('name', 'the name of a version', name)
  const { base, steps } = splitSteps(name)
  if (base === 'head' && steps === 0) return 'head'
  const index = base === 'head' ? all.length : indexOf(all, base)
  const found = index < 0 ? undefined : all[index - steps]
  if (found !== undefined) return found.version
  throw notFound(all, name)
}

/** `head~3` is three before the head, `head~` one. A tag may hold a tilde, if no digits follow it. */
function splitSteps(name: string): { readonly base: string; readonly steps: number } {
  const [, base = name, steps = '0'] = /^(.+?)~(\d{0,9})$/s.exec(name) ?? []
  return { base, steps: steps === '' ? 1 : Number(steps) }
}

/** Where in the list the snapshot is that a name stands for; -1 if there is none. */
function indexOf(all: readonly NamedSnapshot[], name: string): number {
  if (name.startsWith('@')) {
    const end = endOfMoment(name.slice(1))
    return all.findLastIndex(({ createdAt }) => createdAt <= end)
  }
  const version = all.findIndex(snapshot => snapshot.version === name)
  return version >= 0 ? version : all.findLastIndex(({ tags }) => tags.includes(name))
}

const DATE =
  /^(?<date>\d{4}-\d{2}-\d{2})(?<time>T\d{2}:\d{2}(?<seconds>:\d{2}(?<fraction>\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2})?)?$/

/** The last millisecond of the day, minute or second that a date names. */
function endOfMoment(text: string): number {
  const parts = DATE.exec(text)?.groups
  // A date alone would be taken for one of UTC.
  const time = parts === undefined ? Number.NaN : Date.parse(parts['time'] ? text : `${text}T23:59:59.999`)
  if (parts === undefined || Number.isNaN(time) || !isDate(parts['date'] as string)) {
    throw new InvalidArgumentError(
      `A moment is written as @2026-01-31 or @2026-01-31T14:05; ${JSON.stringify(`@${text}`)} is none.`,
    )
  }
  if (parts['time'] === undefined || parts['fraction'] !== undefined) return time
  return time + (parts['seconds'] === undefined ? 59_999 : 999)
}

/** Whether a month has that day: `Date.parse` takes the 31st of February for the 3rd of March. */
function isDate(text: string): boolean {
  return new Date(`${text}T00:00Z`).toISOString().startsWith(text)
}

/** Whether a tag could be taken for another way to write a version: who gives it as a name may get something else. */
export function looksLikeVersion(tag: string): boolean {
  return /^(?:v\d+|head|@.*|.*~\d*)$/is.test(tag)
}

function notFound(all: readonly NamedSnapshot[], name: string): SnapshotNotFoundError {
  const what = `There is no version ${JSON.stringify(name.slice(0, 100))}`
  if (all.length === 0) return new SnapshotNotFoundError(`${what}: no snapshot has been taken yet.`)
  const near = nearestNames(all, name)
  const verb = near.length === 1 ? 'is' : 'are'
  return new SnapshotNotFoundError(
    near.length === 0
      ? `${what}. Versions are written as v12, a tag, head, head~3 or @2026-01-31; there are ${describe(all[0])} to ${describe(all.at(-1))}.`
      : `${what}. The nearest ${verb} ${near.join(' and ')}.`,
  )
}

/** The names there are that are nearest to one that is not: the versions around it, or a tag spelt like it. */
function nearestNames(all: readonly NamedSnapshot[], name: string): string[] {
  const number = /^v?(\d{1,15})$/i.exec(name)?.[1]
  if (number !== undefined) {
    const after = all.findIndex(({ version }) => Number(version.slice(1)) > Number(number))
    const around = after < 0 ? [all.at(-1)] : [all[after - 1], all[after]]
    return around.filter(snapshot => snapshot !== undefined).map(describe)
  }
  // Too far back.
  if (name.startsWith('@') || /~\d*$/.test(name)) return [`the oldest, ${describe(all[0])}`]
  const tag = nearest(name, [...new Set(all.flatMap(({ tags }) => tags)), 'head'])
  return tag === undefined ? [] : [JSON.stringify(tag)]
}

function describe(snapshot: NamedSnapshot | undefined): string {
  if (snapshot === undefined) return ''
  return `${snapshot.version} (${localDate(new Date(snapshot.createdAt))})`
}

/** As it can be given after an `@`. */
function localDate(date: Date): string {
  const two = (number: number): string => String(number).padStart(2, '0')
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
}
