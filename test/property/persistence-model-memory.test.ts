import { expect, it } from 'vitest'
import { memory } from '../../src/engine/memory.ts'
import { checkSequences } from '../support/persistence-model.ts'

const SEQUENCES = 1000

it(`agrees with a list of deep copies in ${SEQUENCES} random sequences, on memory`, {
  timeout: 300_000,
}, async () => {
  const newPlace = () => {
    const engine = memory()
    return () => engine
  }
  const options = { sequences: SEQUENCES, maxLength: 30, lowLimits: 80, smallPages: 30 }
  await expect(checkSequences(newPlace, options)).resolves.toBeUndefined()
})
