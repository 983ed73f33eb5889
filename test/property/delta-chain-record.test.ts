import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type ChainVersion,
  decodeChainIndex,
  encodeChain,
  encodeChains,
  openChain,
  readChain,
  readChainAt,
  removeFromChain,
} from '../../src/delta/chain-record.ts'
import { noise, records, scatterEdits } from '../support/delta-samples.ts'

const sources = [
  records(1_500, 1),
  records(1_500, 2),
  noise(300, 3),
  Buffer.alloc(0),
  Buffer.alloc(3_000, 'ab'),
]
const payload = fc
  .tuple(fc.constantFrom(...sources), fc.nat(4), fc.nat(6))
  .map(([source, edits, seed]) => scatterEdits(source, edits, seed))
const versions = fc
  .array(
    fc.record({
      gap: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 2 ** 40 })),
      codec: fc.oneof({ arbitrary: fc.constant(1), weight: 8 }, fc.nat(255)),
      payload,
    }),
    { minLength: 1, maxLength: 60 },
  )
  .map(entries => {
    let birth = -1
    return entries.map(({ gap, codec, payload }): ChainVersion => {
      birth += gap
      return { birth, codec, payload: codec === 0 ? Buffer.alloc(0) : payload }
    })
  })

/** Comparable, also where one side has a Buffer and the other a Uint8Array. */
function plain(version: ChainVersion | undefined): unknown {
  return version && { ...version, payload: Buffer.from(version.payload).toString('latin1') }
}

describe('chain record', () => {
  it('behaves as the list of versions it was made of', () => {
    fc.assert(
      fc.property(versions, fc.nat(), (list, where) => {
        const record = encodeChain(list)
        expect(readChain(record).map(plain)).toEqual(list.map(plain))
        expect(decodeChainIndex(record)).toEqual(
          list.map(({ birth, codec, payload }) => ({ birth, codec, size: payload.length })),
        )
        const some = list[where % list.length] as ChainVersion
        for (const asked of [some.birth - 1, some.birth, some.birth + 1]) {
          expect(plain(readChainAt(record, asked))).toEqual(
            plain(list.findLast(({ birth }) => birth <= asked)),
          )
        }
        const chain = openChain(record)
        const at = where % list.length
        expect(Buffer.compare(chain.payload(at), some.payload)).toBe(0)
        expect(chain.indexAt(some.birth)).toBe(at)
      }),
      { numRuns: 300 },
    )
  })

  it('loses exactly the versions that are removed', () => {
    fc.assert(
      fc.property(versions, fc.array(fc.nat(80)), (list, indexes) => {
        const births = indexes.map(i => list[i]?.birth ?? -1)
        const rest = removeFromChain(encodeChain(list), births)
        const kept = list.filter(({ birth }) => !births.includes(birth))
        expect(rest === undefined ? [] : readChain(rest).map(plain)).toEqual(kept.map(plain))
      }),
      { numRuns: 200 },
    )
  })

  it('holds all versions however it is split', () => {
    const bound = fc.integer({ min: 1, max: 10_000 })
    fc.assert(
      fc.property(
        versions,
        fc.integer({ min: 1, max: 70 }),
        bound,
        bound,
        (list, maxVersions, maxEditBytes, maxPayloadBytes) => {
          const chains = encodeChains(list, { maxVersions, maxEditBytes, maxPayloadBytes })
          expect(chains.flatMap(({ record }) => readChain(record)).map(plain)).toEqual(list.map(plain))
          for (const { firstBirth, record } of chains) {
            const chain = openChain(record)
            expect(chain.births[0]).toBe(firstBirth)
            expect(chain.births.length).toBeLessThanOrEqual(maxVersions)
          }
        },
      ),
      { numRuns: 200 },
    )
  })
})
