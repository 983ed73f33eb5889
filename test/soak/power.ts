/** `npm run test:power`: loses power at every flush of writers that run under strace, and tells what was seen. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bundleProgram, removeBundles } from '../support/bundle.ts'
import { writeImportFiles } from './import-files.ts'
import { replayCrowd } from './power-crowd.ts'
import { type PowerTally, replayPower } from './power-replay.ts'
import { whyNoTracing } from './system-calls.ts'

const { values } = parseArgs({
  options: {
    /** How many writers are traced, one after the other. */
    writers: { type: 'string', default: '5' },
    /** Of the first writer; each further one has the next. */
    seed: { type: 'string', default: '1' },
    /** How many calls each makes. */
    calls: { type: 'string', default: '60' },
    /** Whether calls are to survive a loss of power; else the last ones may be lost. */
    durability: { type: 'string', default: 'power' },
    /** Of the moments at which power may fail, this share is looked at. */
    share: { type: 'string', default: '1' },
    /** How often several processes are traced that write to one store, and are killed one by one. */
    crowds: { type: 'string', default: '1' },
  },
})
const { writers, first, calls, share, crowds } = {
  writers: Number(values.writers),
  first: Number(values.seed),
  calls: Number(values.calls),
  share: Number(values.share),
  crowds: Number(values.crowds),
}

const reason = whyNoTracing()
if (reason === undefined) await replay()
else console.log(`skipped: ${reason}`)

async function replay(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'varve-power-'))
  const begun = performance.now()
  try {
    const program = await bundleProgram(new URL('./writer.ts', import.meta.url))
    const files = await writeImportFiles(join(folder, 'files'))
    for (let seed = first; seed < first + writers; seed++) {
      const tally: PowerTally = { acknowledged: 0, flushes: 0, cuts: 0, lost: 0 }
      const flush = values.durability === 'power'
      await replayPower(
        { seed, calls, flush, share, folder: join(folder, `seed-${seed}`), program, files },
        tally,
      )
      const seconds = ((performance.now() - begun) / 1000).toFixed(0)
      console.log(
        `seed ${seed}: ${tally.acknowledged} acknowledgements, ${tally.flushes} flushes, ${tally.cuts} losses of power survived, ${tally.lost} calls lost in all of them, ${seconds} s`,
      )
    }
    const crowd = await bundleProgram(new URL('./crowd.ts', import.meta.url))
    for (let seed = first; seed < first + crowds; seed++) {
      const { flushes, cuts } = await replayCrowd({
        seed,
        writers: 4,
        kills: 8,
        share,
        folder: join(folder, `crowd-${seed}`),
        program: crowd,
      })
      console.log(`seed ${seed}, several processes: ${flushes} flushes, ${cuts} losses of power survived`)
    }
    await rm(folder, { recursive: true })
  } finally {
    await removeBundles()
  }
}
