import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import type { PageContext } from './page.ts'

/** A data file, read page by page. Reading is synchronous: a page takes a microsecond or two. */
export interface PageFile {
  /** Bytes from a position on; fewer at the end of the file. */
  read(position: number, length: number): Buffer
  /** How long the file is now. */
  size(): number
  close(): void
}

/** @throws an error of the system */
export function openPageFile(path: string): PageFile {
  const descriptor = openSync(path, 'r')
  return {
    read(position, length) {
      const bytes = Buffer.allocUnsafe(length)
      let filled = 0
      while (filled < length) {
        const read = readSync(descriptor, bytes, filled, length - filled, position + filled)
        if (read === 0) break
        filled += read
      }
      return bytes.subarray(0, filled)
    },
    size: () => fstatSync(descriptor).size,
    close: () => closeSync(descriptor),
  }
}

/** The bytes of a page. */
export function readPage(file: PageFile, number: number, { pageBytes }: PageContext): Buffer {
  return file.read(number * pageBytes, pageBytes)
}
