import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'

/** Inputs that found something once, or stand for a kind: they are tried first, and changed to make others. */
const CORPUS = new URL('../fuzz/corpus/', import.meta.url)

export function corpusOf(target: string): Buffer[] {
  const folder = new URL(`${target}/`, CORPUS)
  return readdirSync(folder)
    .sort()
    .map(name => readFileSync(new URL(name, folder)))
}

type Edit = (bytes: Buffer) => Buffer

const spot = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const at = (place: number, length: number): number => Math.floor(place * (length + 1))

/** One change of some bytes: of a bit, a byte or a number, a piece taken out, put in, doubled or moved. */
const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.tuple(spot, fc.nat(7)).map(
    ([place, bit]): Edit =>
      bytes => {
        const index = at(place, bytes.length - 1)
        if (index < bytes.length) bytes[index] = (bytes[index] as number) ^ (1 << bit)
        return bytes
      },
  ),
  fc.tuple(spot, fc.constantFrom(0, 1, 0x7f, 0x80, 0xff, 0x20, 0x5b, 0x7b, 0x22, 0x5c)).map(
    ([place, byte]): Edit =>
      bytes => {
        const index = at(place, bytes.length - 1)
        if (index < bytes.length) bytes[index] = byte
        return bytes
      },
  ),
  fc.tuple(spot, fc.constantFrom(0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 65_535), fc.boolean()).map(
    ([place, number, little]): Edit =>
      bytes => {
        const index = at(place, bytes.length - 4)
        if (index < 0 || bytes.length < index + 4) return bytes
        if (little) bytes.writeUInt32LE(number, index)
        else bytes.writeUInt32BE(number, index)
        return bytes
      },
  ),
  fc.tuple(spot, fc.uint8Array({ minLength: 1, maxLength: 12 })).map(
    ([place, piece]): Edit =>
      bytes => {
        const index = at(place, bytes.length)
        return Buffer.concat([bytes.subarray(0, index), piece, bytes.subarray(index)])
      },
  ),
  fc.tuple(spot, spot).map(
    ([one, other]): Edit =>
      bytes => {
        const [from, to] = [at(one, bytes.length), at(other, bytes.length)].sort((a, b) => a - b) as [
          number,
          number,
        ]
        return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)])
      },
  ),
  fc.tuple(spot, spot, spot).map(
    ([one, other, place]): Edit =>
      bytes => {
        const [from, to] = [at(one, bytes.length), at(other, bytes.length)].sort((a, b) => a - b) as [
          number,
          number,
        ]
        const index = at(place, bytes.length)
        // Doubled, as often as not to make something long.
        return Buffer.concat([
          bytes.subarray(0, index),
          bytes.subarray(from, Math.min(to, from + 200)),
          bytes.subarray(index),
        ])
      },
  ),
)

/** What a target's corpus becomes by some changes; now and then as it is, or bytes of any kind. */
export function changedBytes(corpus: readonly Uint8Array[]): fc.Arbitrary<Buffer> {
  return fc.oneof(
    {
      weight: 20,
      arbitrary: fc.tuple(fc.constantFrom(...corpus), fc.array(edit, { maxLength: 6 })).map(apply),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 64 }).map(bytes => Buffer.from(bytes)) },
  )
}

function apply([bytes, edits]: [Uint8Array, readonly Edit[]]): Buffer {
  let changed: Buffer = Buffer.from(bytes)
  for (const change of edits) changed = change(changed)
  return changed
}
