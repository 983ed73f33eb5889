import { randomUUID } from 'node:crypto'
import { describe, inject, test } from 'vitest'
import { engineConformance } from '../../src/engine/index.ts'
import { postgres } from '../../src/engine/postgres.ts'

const connectionString = inject('postgres')

describe.skipIf(connectionString === '')('postgres', () => {
  engineConformance(test, () => postgres({ connectionString, store: randomUUID() }))
})
