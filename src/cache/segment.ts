import { randomBytes } from 'node:crypto'
import { readSync } from 'node:fs'
import { type FileHandle, link, open, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { encodeSegmentHeader, type PreviousSegment, SEGMENT_HEADER_BYTES } from './segment-format.ts'

const NAME = /^(\d{12,})\.segment$/
/** Of a file that is about to become a segment, or was when its process died. */
const UNFINISHED_NAME = /^\d{12,}\.segment\.[0-9a-f]+$/

/** The number of the segment that a file holds; `undefined` if it is no segment. */
export function segmentNumber(fileName: string): number | undefined {
  const match = NAME.exec(fileName)
  return match === null ? undefined : Number(match[1])
}

/** Whether a file was to become a segment. */
export function isUnfinished(fileName: string): boolean {
  return UNFINISHED_NAME.test(fileName)
}

export function segmentPath(folder: string, number: number): string {
  return join(folder, `${String(number).padStart(12, '0')}.segment`)
}

/** An open segment of a cache on disk. */
export class Segment {
  readonly number: number
  readonly #path: string
  readonly #file: FileHandle
  /** Bytes up to the end of the last whole record. */
  length: number
  /** Bytes of the records that entries are read from. */
  live = 0

  private constructor(number: number, path: string, file: FileHandle, length: number) {
    this.number = number
    this.#path = path
    this.#file = file
    this.length = length
  }

  /** Opens one that another process, or this one earlier, has written: to read from it. */
  static async open(folder: string, number: number, length: number): Promise<Segment> {
    const path = segmentPath(folder, number)
    return new Segment(number, path, await open(path, 'r'), length)
  }

  /**
   * Begins a new one, of the first number from `number` on that nobody else has taken. It gets its name with its header:
   * one without would pass for damaged, and all before it would go.
   */
  static async create(folder: string, number: number, previous: PreviousSegment): Promise<Segment> {
    const unfinished = `${segmentPath(folder, number)}.${randomBytes(6).toString('hex')}`
    const file = await open(unfinished, 'ax+')
    try {
      await file.appendFile(encodeSegmentHeader(previous))
      for (let next = number; ; next++) {
        const path = segmentPath(folder, next)
        if (await takeName(unfinished, path)) return new Segment(next, path, file, SEGMENT_HEADER_BYTES)
      }
    } catch (error) {
      await file.close()
      throw error
    } finally {
      await unlink(unfinished).catch(() => undefined)
    }
  }

  /** Appends whole records. Returns where they begin. */
  async append(records: Buffer): Promise<number> {
    const offset = this.length
    await this.#file.appendFile(records)
    this.length += records.length
    return offset
  }

  /** The bytes there, which may be fewer than asked for if the file was cut. */
  read(offset: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    return bytes.subarray(0, readSync(this.#file.fd, bytes, 0, length, offset))
  }

  /** Whether it has no records. */
  get isEmpty(): boolean {
    return this.length === SEGMENT_HEADER_BYTES
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  /** Closes it and removes the file, if it is there. */
  async remove(): Promise<void> {
    await this.#file.close()
    await unlink(this.#path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
    })
  }
}

/** Gives a file a name, unless that is taken. */
async function takeName(file: string, name: string): Promise<boolean> {
  try {
    await link(file, name)
    return true
  } catch (error) {
    if (isTaken(error)) return false
  }
  // Not all file systems have links. There, for a moment, the name is that of an empty file.
  try {
    await (await open(name, 'wx')).close()
  } catch (error) {
    if (isTaken(error)) return false
    throw error
  }
  await rename(file, name)
  return true
}

function isTaken(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EEXIST'
}
