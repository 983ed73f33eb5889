import { crc32 } from 'node:zlib'
import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { CHECKED, checksum, checksumOfRange, copyWithChecksum } from '../../src/core/crc32.ts'

const bytes = fc.uint8Array({ maxLength: 500 })
const seed = fc.nat(2 ** 32 - 1)

it('is the checksum of zlib, whatever the length', () => {
  fc.assert(
    fc.property(bytes, seed, (bytes, seed) => {
      expect(checksum(bytes, seed)).toBe(crc32(Buffer.from(bytes), seed))
    }),
  )
})

it('of a part is that of a copy of it', () => {
  fc.assert(
    fc.property(bytes, fc.nat(500), fc.nat(500), seed, (bytes, a, b, seed) => {
      const [start = 0, end = 0] = [a, b].map(at => Math.min(at, bytes.length)).sort((x, y) => x - y)
      expect(checksumOfRange(bytes, start, end, seed)).toBe(crc32(Buffer.from(bytes.slice(start, end)), seed))
    }),
  )
})

it('of bytes that are copied is that of the bytes, and all of them are there', () => {
  fc.assert(
    fc.property(bytes, seed, fc.nat(3), (given, seed, at) => {
      const words = new Int32Array(Math.ceil(given.length / 4))
      const copied = new Uint8Array(words.buffer)
      copied.set(given)
      const target = new Int32Array(at + words.length)
      const sum = copyWithChecksum({ bytes: copied, words }, given.length, target, at, seed)
      expect(sum).toBe(crc32(Buffer.from(given), seed))
      expect(new Uint8Array(target.buffer, 4 * at, given.length)).toStrictEqual(given)
    }),
  )
})

it('of what ends with its own checksum is always the same', () => {
  fc.assert(
    fc.property(bytes, seed, (bytes, seed) => {
      const whole = Buffer.concat([bytes, Buffer.alloc(4)])
      whole.writeUInt32LE(crc32(Buffer.from(bytes), seed), bytes.length)
      expect(checksum(whole, seed)).toBe(CHECKED)
    }),
  )
})
