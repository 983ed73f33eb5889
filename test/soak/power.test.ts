import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { bundleProgram, removeBundles } from '../support/bundle.ts'
import { temporaryFolder } from '../support/stores.ts'
import { writeImportFiles } from './import-files.ts'
import { type PowerTally, replayPower, reportIn } from './power-replay.ts'
import { pathOfDescriptor, readTrace, tracing, whyNoTracing } from './system-calls.ts'
import { WriterProcess } from './writer-process.ts'

const reason = whyNoTracing()

afterAll(removeBundles)

describe.skipIf(reason !== undefined)(
  `under strace${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  () => {
    /** Of the calls of a writer, how many were answered after all that they had written to the store was on disk. */
    async function countFlushed(flush: boolean): Promise<{ answers: number; flushed: number }> {
      const folder = await temporaryFolder()
      const trace = join(folder, 'trace')
      await mkdir(join(folder, 'exports'))
      const options = {
        path: join(folder, 'store'),
        seed: 1,
        name: 'w',
        keys: 10,
        dataFiles: [],
        snapshotFiles: [],
        exports: join(folder, 'exports'),
        limits: {},
        strategy: 'binary',
        flush,
        prelude: 0,
        target: 'set',
        others: 0,
        calls: 60,
      } as const
      const program = await bundleProgram(new URL('./writer.ts', import.meta.url))
      await new WriterProcess(program, options, tracing(trace)).gone()
      let written: number | undefined
      let flushed = false
      const counts = { answers: 0, flushed: 0 }
      for await (const { name, args, begun, ended } of readTrace(trace)) {
        const report = reportIn(name, args)
        if (report?.event === 'call') {
          written = undefined
          flushed = false
        } else if (report?.event === 'answer') {
          counts.answers++
          if (flushed) counts.flushed++
        } else if (pathOfDescriptor(args)?.endsWith('/data.mdb')) {
          if (name.includes('write')) {
            written = ended
            flushed = false
          } else if (/^f(?:data)?sync$/.test(name)) {
            flushed = written !== undefined && begun > written
          }
        }
      }
      return counts
    }

    it('acknowledges what is to survive a loss of power once it is on disk, and nothing else so late', async () => {
      expect(await countFlushed(true)).toEqual({ answers: 60, flushed: 60 })
      expect(await countFlushed(false)).toEqual({ answers: 60, flushed: 0 })
    })

    async function losePower(flush: boolean): Promise<PowerTally> {
      const folder = await temporaryFolder()
      const program = await bundleProgram(new URL('./writer.ts', import.meta.url))
      const files = await writeImportFiles(join(folder, 'files'))
      const tally: PowerTally = { acknowledged: 0, flushes: 0, cuts: 0, lost: 0 }
      const options = { seed: 1, calls: 40, flush, share: 0.3, folder: join(folder, 'power'), program, files }
      await replayPower(options, tally)
      return tally
    }

    it('loses nothing acknowledged when power fails at a flush, or after an acknowledgement', {
      timeout: 180_000,
    }, async () => {
      const tally = await losePower(true)
      expect(tally).toMatchObject({ acknowledged: 40, lost: 0 })
      expect(tally.flushes).toBeGreaterThan(40)
      expect(tally.cuts).toBeGreaterThan(40)
    })

    it('loses nothing but the last calls where they need not survive it', { timeout: 180_000 }, async () => {
      const tally = await losePower(false)
      expect(tally.acknowledged).toBe(40)
      expect(tally.cuts).toBeGreaterThan(20)
      expect(tally.lost).toBeGreaterThan(0)
    })
  },
)
