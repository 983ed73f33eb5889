import { execFileSync } from 'node:child_process'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { memory } from '../../src/engine/memory.ts'
import { createPersistence } from '../../src/index.ts'
import { openWithLimits } from '../support/open.ts'
import { withSmallPages } from '../support/small-pages.ts'
import { temporaryFolder } from '../support/stores.ts'

const COUNT = 60
const stateOf = (value: unknown): Record<string, unknown> =>
  Object.fromEntries(Array.from({ length: COUNT }, (_, i) => [`key ${i}`, value]))

describe('large commits at the same time', () => {
  it('end with one of them, whole, whenever the second begins', async () => {
    for (let turns = 0; turns < 60; turns++) {
      const { persistence } = await openWithLimits(memory(), { patchKeys: 3, stageRows: 5 })
      await persistence.save(stateOf('a'))
      const first = persistence.save(stateOf('b'))
      for (let i = 0; i < turns; i++) await persistence.size()
      const second = persistence.save(stateOf('a'))
      await Promise.all([first, second])
      const values = new Set(Object.values(await persistence.load()))
      expect(values.size, `the second began after ${turns} turns`).toBe(1)
      await persistence.close()
    }
  })

  it('are told whole, or not at all, to a watcher that begins meanwhile', async () => {
    for (let turns = 0; turns < 60; turns++) {
      const { persistence } = await openWithLimits(memory(), { patchKeys: 3, stageRows: 5 })
      await persistence.save(stateOf('a'))
      const save = persistence.save(stateOf('b'))
      for (let i = 0; i < turns; i++) await persistence.size()
      const watcher = persistence.watch()
      await save
      await persistence.set('last', true)
      let told = 0
      for await (const { key } of watcher) {
        if (key === 'last') break
        told++
      }
      expect([0, COUNT], `begun after ${turns} turns`).toContain(told)
      await persistence.close()
    }
  })
})

describe('a snapshot just taken', () => {
  it('is kept, though the clock was set back and the policy keeps one', async () => {
    const state = await createPersistence({ maxSnapshots: 1 })
    const { now } = Date
    try {
      await state.createSnapshot()
      Date.now = () => now() - 3_600_000
      const version = await state.createSnapshot()
      expect((await state.listSnapshots()).map(info => info.version)).toContain(version)
    } finally {
      Date.now = now
    }
    await state.close()
  })

  // A named pipe, so that others write while the import is surely reading.
  it.skipIf(process.platform === 'win32')(
    'lose no key of an import that outgrows memory while it catches up with others',
    async () => {
      const file = join(await temporaryFolder(), 'state.json')
      execFileSync('mkfifo', [file])
      const engine = withSmallPages(memory(), 4)
      const { persistence } = await openWithLimits(engine, { patchKeys: COUNT + 10, catchUpKeys: 10 })
      const text = JSON.stringify({ data: stateOf('imported') })
      const [pipe, importing] = [open(file, 'w'), persistence.importData(file)]
      const writer = await pipe
      await writer.write(text.slice(0, 100))
      await delay(50)
      for (let i = 0; i < 100; i++) await persistence.set(`other ${i}`, i)
      // Otherwise the import would have them to delete, and be large already.
      await persistence.clear()
      await persistence.setMany(stateOf('written'))
      await writer.write(text.slice(100))
      await writer.close()
      await importing
      expect(await persistence.load()).toStrictEqual(stateOf('imported'))
      await persistence.close()
    },
  )
})
