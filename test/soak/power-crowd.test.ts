import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { bundleProgram, removeBundles } from '../support/bundle.ts'
import { temporaryFolder } from '../support/stores.ts'
import { replayCrowd } from './power-crowd.ts'
import { whyNoTracing } from './system-calls.ts'

const reason = whyNoTracing()

afterAll(removeBundles)

describe.skipIf(reason !== undefined)(
  `under strace${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  () => {
    it('what several processes have written is whole when power fails, though some were killed before', {
      timeout: 180_000,
    }, async () => {
      const folder = join(await temporaryFolder(), 'crowd')
      const program = await bundleProgram(new URL('./crowd.ts', import.meta.url))
      const tally = await replayCrowd({ seed: 1, writers: 3, kills: 4, share: 0.2, folder, program })
      expect(tally.flushes).toBeGreaterThan(50)
      expect(tally.cuts).toBeGreaterThan(20)
    })
  },
)
