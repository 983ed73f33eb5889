import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TABLES } from '../../src/engine/engine.ts'
import { memory, repair, verify } from '../../src/index.ts'
import { checkRepaired, fillSample, type Sample } from '../support/corruption.ts'
import { damagedEngine, pagesOf, type TablePage } from '../support/damaged-engine.ts'
import { seededRandom } from '../support/random.ts'

/** A store, and its pages now and as they were after every step that made it. */
interface Made {
  readonly sample: Sample
  readonly pages: readonly TablePage[]
  readonly earlier: readonly TablePage[]
}

const ROWS_A_PAGE = 3
const made = new Map<number, Promise<Made>>()

function makeStore(seed: number): Promise<Made> {
  let store = made.get(seed)
  if (store === undefined) {
    store = make(seed)
    made.set(seed, store)
  }
  return store
}

async function make(seed: number): Promise<Made> {
  const engine = memory()
  const earlier: TablePage[] = []
  let written = 0
  const sample = await fillSample({ engine }, seededRandom(seed), async () => {
    earlier.push(...(await pagesOf(engine, ++written, ROWS_A_PAGE)))
  })
  await engine.open()
  const pages = await pagesOf(engine, ++written, ROWS_A_PAGE)
  await engine.close()
  return { sample, pages, earlier }
}

const damage = fc.record({
  store: fc.integer({ min: 1, max: 40 }),
  /** Where in the pages of a table some are lost, and how many there. */
  losses: fc.array(
    fc.tuple(
      fc.constantFrom(...TABLES),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.integer({ min: 1, max: 5 }),
    ),
    { minLength: 1, maxLength: 10 },
  ),
  /** Of 16 pages that nothing leads to any more, so many are found. */
  found: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 16 })),
  isFreeKnown: fc.boolean(),
  choice: fc.integer(),
})

describe('repair() of a store that lost pages', () => {
  it('never has a false value, and tells of every one that is lost', async () => {
    await fc.assert(
      fc.asyncProperty(damage, async ({ store, losses, found, isFreeKnown, choice }) => {
        const { sample, pages, earlier } = await makeStore(store)
        const random = seededRandom(choice)
        const lost = new Set<TablePage>()
        for (const [table, at, count] of losses) {
          const itsPages = pages.filter(page => page.table === table)
          const first = Math.floor(at * itsPages.length)
          for (const page of itsPages.slice(first, first + count)) lost.add(page)
        }
        // What was free is told from what is lost only where the list of free pages is whole.
        const strays = isFreeKnown ? [...lost] : [...lost, ...earlier]
        const engine = await damagedEngine({
          pages,
          isWhole: page => !lost.has(page),
          strays: strays.filter(() => random.below(16) < found),
          mayStraysBeOutdated: !isFreeKnown,
        })
        const target = memory()
        const summary = await repair(engine, target)
        expect((await checkRepaired(target, summary, sample)).fault).toBeUndefined()
        expect(await verify(target)).toMatchObject({ ok: true })
      }),
      { numRuns: 200 },
    )
  })
})
