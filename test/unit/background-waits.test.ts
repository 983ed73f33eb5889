import { expect, it, onTestFinished } from 'vitest'
import type { Engine } from '../../src/index.ts'
import { openWithLimits } from '../support/open.ts'
import { EMBEDDED, newPlace } from '../support/stores.ts'

it.each(EMBEDDED)('a caller is answered before the background begins, on %s', async name => {
  const calls: string[] = []
  const engine: Engine = (await newPlace(name)).engine()
  const told: Engine = {
    ...engine,
    get(...asked) {
      calls.push('get')
      return engine.get(...asked)
    },
    read() {
      calls.push('read')
      return engine.read()
    },
    async commit(build, options) {
      const value = await engine.commit(build, options)
      calls.push('committed')
      return value
    },
  }
  const { persistence: state, history } = await openWithLimits(told, {})
  onTestFinished(() => state.close())
  await state.set('a', 1)
  await state.createSnapshot()
  await history.maintain()
  await state.set('a', 2)
  calls.length = 0
  await state.createSnapshot()
  expect(calls).toEqual(['committed'])
  await history.maintain()
  expect(calls).toContain('read')
})
