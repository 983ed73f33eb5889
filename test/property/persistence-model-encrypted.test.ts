import { randomBytes } from 'node:crypto'
import { expect, it } from 'vitest'
import { encrypted, memory } from '../../src/index.ts'
import { checkSequences } from '../support/persistence-model.ts'
import { remoteEngine } from '../support/remote-engine.ts'

const SEQUENCES = 300
const key = randomBytes(32)

it.each([
  ['with encrypted values', false, (engine: ReturnType<typeof memory>) => engine],
  ['with encrypted keys', true, (engine: ReturnType<typeof memory>) => engine],
  ['with encrypted keys, far away', true, remoteEngine],
] as const)(
  `agrees with a list of deep copies in ${SEQUENCES} random sequences, %s`,
  {
    timeout: 300_000,
  },
  async (_, encryptKeys, reach) => {
    const newPlace = () => {
      const engine = memory()
      return () => encrypted(reach(engine), { key, encryptKeys })
    }
    const sequences = reach === remoteEngine ? SEQUENCES / 3 : SEQUENCES
    const options = { sequences, maxLength: 25, lowLimits: 70, smallPages: 30 }
    await expect(checkSequences(newPlace, options)).resolves.toBeUndefined()
  },
)
