import { randomUUID } from 'node:crypto'
import { expect, it } from 'vitest'
import { postgres } from '../../src/engine/postgres.ts'
import { checkSequences } from '../support/persistence-model.ts'
import { POSTGRES } from '../support/stores.ts'

/** Far fewer than on the other engines: here every call is a round trip. */
const SEQUENCES = 40

it.skipIf(POSTGRES === '')(
  `agrees with a list of deep copies in ${SEQUENCES} random sequences, on postgres`,
  {
    timeout: 300_000,
  },
  async () => {
    const newPlace = () => {
      const store = randomUUID()
      return () => postgres({ connectionString: POSTGRES, store })
    }
    const options = { sequences: SEQUENCES, maxLength: 20, lowLimits: 40, smallPages: 10 }
    await expect(checkSequences(newPlace, options)).resolves.toBeUndefined()
  },
)
