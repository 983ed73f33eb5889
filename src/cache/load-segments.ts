import { mkdir, readdir, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { isUnfinished, Segment, segmentNumber, segmentPath } from './segment.ts'
import { type ParsedSegment, parseSegment, type SegmentRecord } from './segment-format.ts'

/** A segment of an earlier opening, with its records. */
export interface LoadedSegment {
  readonly segment: Segment
  readonly records: readonly SegmentRecord[]
}

/**
 * Opens the segments in a folder, oldest first, and removes those that are not to be trusted.
 *
 * A newer record replaces an older one of its key. So where a segment is damaged or missing, all before it are of no
 * use: what they say may have been replaced in what is lost. Each segment says which one was before it, and how long
 * that was, so that a segment that was cut short, or put there by another process meanwhile, is noticed too.
 */
export async function loadSegments(folder: string): Promise<LoadedSegment[]> {
  await mkdir(folder, { recursive: true })
  const names = (await readdir(folder, { withFileTypes: true })).filter(file => file.isFile())
  for (const { name } of names)
    if (isUnfinished(name)) await unlink(join(folder, name)).catch(() => undefined)
  const numbers = names
    .map(({ name }) => segmentNumber(name))
    .filter(number => number !== undefined)
    .sort((a, b) => b - a)
  const loaded: LoadedSegment[] = []
  try {
    await load(folder, numbers, loaded)
  } catch (error) {
    for (const { segment } of loaded) await segment.close()
    throw error
  }
  return loaded
}

async function load(folder: string, numbers: readonly number[], loaded: LoadedSegment[]): Promise<void> {
  let expected: ParsedSegment['previous'] | undefined
  for (const number of numbers) {
    const parsed =
      expected !== undefined && number > expected.number
        ? undefined
        : await parseFile(folder, number, expected)
    if (parsed === undefined) {
      await unlink(segmentPath(folder, number))
      // One that nobody continued is passed over; nothing before one that is damaged counts.
      if (expected === undefined || number <= expected.number) expected = NOTHING
      continue
    }
    const end = expected?.length ?? parsed.end
    loaded.unshift({
      segment: await Segment.open(folder, number, end),
      records: parsed.records.filter(({ offset }) => offset < end),
    })
    expected = parsed.previous
  }
}

/** Before the first segment there is none. */
const NOTHING = { number: 0, length: 0 }

async function parseFile(
  folder: string,
  number: number,
  expected: ParsedSegment['previous'] | undefined,
): Promise<ParsedSegment | undefined> {
  if (expected !== undefined && number !== expected.number) return undefined
  const parsed = parseSegment(await readFile(segmentPath(folder, number)))
  return parsed !== undefined && parsed.end >= (expected?.length ?? 0) ? parsed : undefined
}
