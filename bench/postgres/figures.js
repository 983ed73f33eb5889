// @ts-check
/**
 * What a store on PostgreSQL costs, beside what the same driver does without varve. Both sides take turns on one server.
 *
 *     node postgres/figures.js [--quick] [--large 1000000] [--rounds 15]
 */
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { createPersistence } from 'varve'
import { postgres } from 'varve/postgres'
import { entriesOf, fill, keyOf, recordOf } from '../lib/filled-store.js'
import { count, milliseconds, ratio } from '../lib/format.js'
import { interleave, timed } from '../lib/interleave.js'
import { readOptions } from '../lib/options.js'
import { progress } from '../lib/progress.js'
import { untilQuiet } from '../lib/quiet.js'
import { goals, heading, table } from '../lib/report.js'
import { median } from '../lib/statistics.js'
import { withServer } from './server.js'
import { countedPool } from './trips.js'

/** @typedef {import('../lib/filled-store.js').Store} Store */

const SINGLE_SETS = 50
const GROUPED_SETS = 5_000
const ROWS = 10_000
const LOOKUPS = 500
const CHANGES = 1_000
const WARM_UP = 3

const { numbers } = readOptions({
  large: { full: 1_000_000, quick: 50_000 },
  rounds: { full: 15, quick: 5 },
})

await withServer(async connectionString => {
  /** @param {import('varve').PersistenceOptions} [options] */
  const open = (store = randomUUID(), options = {}) =>
    createPersistence({ engine: postgres({ connectionString, store }), ...options })
  const largeName = randomUUID()
  const client = new pg.Client({ connectionString })
  await client.connect()
  await client.query('CREATE TABLE bare (key text PRIMARY KEY, value jsonb NOT NULL)')
  const large = await fill(await open(largeName), numbers.large)
  const uncached = await open(largeName, { cache: 'none' })
  const small = await fill(await open(), 1_000)
  // Without snapshots, as the table beside it: the same rows are written over and over.
  const plain = await open()
  await insert(client, 0)

  heading(
    'A store on PostgreSQL',
    `${(await client.query('SHOW server_version')).rows[0].server_version} on the same machine, with the settings it comes with. Both sides take turns, ${numbers.rounds} rounds; medians.`,
  )

  const show = progress('rounds', WARM_UP + numbers.rounds)
  const took = await interleave({
    rounds: numbers.rounds,
    warmUp: WARM_UP,
    sides: {
      single: round => perCall(SINGLE_SETS, i => small.set(keyOf(i), recordOf(i, round))),
      grouped: async round => {
        const sets = () =>
          Promise.all(Array.from({ length: GROUPED_SETS }, (_, i) => small.set(keyOf(i), recordOf(i, round))))
        return (await timed(sets)) / GROUPED_SETS
      },
      setMany: round => timed(() => plain.setMany(entriesOf(indices(ROWS), round))),
      insert: round => timed(() => insert(client, round)),
      get: () => perCall(LOOKUPS, i => large.get(keyOf(i))),
      uncached: () => perCall(LOOKUPS, i => uncached.get(keyOf(i))),
      select: () => perCall(LOOKUPS, i => client.query('SELECT value FROM bare WHERE key = $1', [keyOf(i)])),
      prepared: () =>
        perCall(LOOKUPS, i =>
          client.query({ name: 'get', text: 'SELECT value FROM bare WHERE key = $1', values: [keyOf(i)] }),
        ),
      smallSnapshot: round => snapshot(small, round),
      largeSnapshot: round => snapshot(large, round),
    },
    onRound: show,
  })
  const versions = (await large.listSnapshots()).map(({ version }) => version)
  const before = /** @type {`v${number}`} */ (versions.at(-1))
  const comparing = []
  const restoring = []
  for (let round = 0; round < numbers.rounds; round++) {
    await large.setMany(entriesOf(indices(CHANGES), 1_000 + round))
    comparing.push(await timed(() => large.compareSnapshots(before, 'head')))
    restoring.push(await timed(() => large.restoreSnapshot(before)))
  }
  const trips = await countTrips(connectionString, largeName, before)

  const [single, grouped, setMany, bare, get, uncachedGet, select, prepared] = [
    median(took.single),
    median(took.grouped),
    median(took.setMany),
    median(took.insert),
    median(took.get),
    median(took.uncached),
    median(took.select),
    median(took.prepared),
  ]
  table(
    ['what', 'time'],
    [
      ['set(), awaited one at a time', milliseconds(single)],
      [`set(), ${count(GROUPED_SETS)} at a time, each`, milliseconds(grouped)],
      [`setMany() of ${count(ROWS)}`, milliseconds(setMany)],
      [`INSERT … ON CONFLICT of the same rows`, milliseconds(bare)],
      [`get(), ${count(numbers.large)} keys`, milliseconds(get)],
      ['the same without a cache', milliseconds(uncachedGet)],
      [`SELECT by primary key, ${count(ROWS)} rows`, milliseconds(select)],
      ['the same, prepared', milliseconds(prepared)],
      ['createSnapshot(), 1,000 keys', milliseconds(median(took.smallSnapshot))],
      [`createSnapshot(), ${count(numbers.large)} keys`, milliseconds(median(took.largeSnapshot))],
      [
        `compareSnapshots(), ${count(CHANGES)} changes in ${count(numbers.large)}`,
        milliseconds(median(comparing)),
      ],
      ['restoreSnapshot() of the same', milliseconds(median(restoring))],
    ],
  )
  const snapshots = median(took.largeSnapshot) / median(took.smallSnapshot)
  goals([
    goal('sets a second, grouped against awaited', single / grouped, 20, '≥'),
    goal(`setMany() of ${count(ROWS)}, in rows a second of INSERT`, bare / setMany, 0.5, '≥'),
    goal('get(), in calls a second of SELECT', select / get, 0.8, '≥'),
    goal('get() without a cache, in calls a second of SELECT', select / uncachedGet, 0.8, '≥'),
    goal('get() without a cache, in calls a second of a prepared SELECT', prepared / uncachedGet, 0.8, '≥'),
    goal(`createSnapshot(), ${count(numbers.large)} keys against 1,000`, snapshots, 2, '≤'),
    roundTrips('get()', trips.get, 1),
    roundTrips('getMany() of 10,000', trips.getMany, 1),
    roundTrips('setMany() of 10,000', trips.setMany, 2),
    roundTrips('at(v).getMany() of 100 keys', trips.old, 3),
    roundTrips(`compareSnapshots(), ${count(CHANGES)} changes in ${count(numbers.large)}`, trips.compare, 10),
    roundTrips('restoreSnapshot() of the same', trips.restore, 10),
  ])
  await Promise.all([large.close(), uncached.close(), small.close(), plain.close()])
  await client.end()
})

/**
 * The round trips of calls on the large store.
 *
 * @param {string} connectionString
 * @param {string} name
 * @param {`v${number}`} version
 */
async function countTrips(connectionString, name, version) {
  const counted = countedPool(connectionString)
  // A cache would answer for the server.
  const store = await createPersistence({
    engine: postgres({ pool: counted.pool, store: name }),
    cache: 'none',
  })
  const keys = indices(ROWS).map(keyOf)
  await store.setMany(entriesOf(indices(CHANGES), 2_000))
  const trips = {
    get: await counted.of(async () => store.get(keyOf(1))),
    getMany: await counted.of(() => store.getMany(keys)),
    old: await counted.of(async () => store.at(version).getMany(keys.slice(0, 100))),
    compare: await counted.of(() => store.compareSnapshots(version, 'head')),
    restore: await counted.of(() => store.restoreSnapshot(version)),
    setMany: await counted.of(() => store.setMany(entriesOf(indices(ROWS), 2_001))),
  }
  await store.close()
  await counted.end()
  return trips
}

/**
 * @param {string} what
 * @param {number} trips
 * @param {number} most
 */
function roundTrips(what, trips, most) {
  return { what: `round trips of ${what}`, goal: `≤ ${most}`, figure: String(trips), met: trips <= most }
}

/** @param {number} length */
function indices(length) {
  return Array.from({ length }, (_, i) => i)
}

/**
 * The time of one call, of several that are awaited one after the other.
 *
 * @param {number} calls
 * @param {(i: number) => Promise<unknown>} call
 */
async function perCall(calls, call) {
  const time = await timed(async () => {
    for (let i = 0; i < calls; i++) await call(i)
  })
  return time / calls
}

/**
 * The rows of `setMany()` as one statement.
 *
 * @param {pg.Client} client
 * @param {number} edition
 */
async function insert(client, edition) {
  const entries = entriesOf(indices(ROWS), edition)
  const places = entries.map((_, i) => `($${2 * i + 1}, $${2 * i + 2})`)
  await client.query(
    `INSERT INTO bare (key, value) VALUES ${places.join(', ')} ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
    entries.flatMap(([key, value]) => [key, JSON.stringify(value)]),
  )
}

/**
 * @param {Store} store
 * @param {number} round
 */
async function snapshot(store, round) {
  await store.set(keyOf(round), recordOf(round, round + 1))
  const time = await timed(() => store.createSnapshot())
  await untilQuiet()
  return time
}

/**
 * @param {string} what
 * @param {number} figure
 * @param {number} bound
 * @param {'≥' | '≤'} sign
 */
function goal(what, figure, bound, sign) {
  const met = sign === '≥' ? figure >= bound : figure <= bound
  return { what, goal: `${sign} ${ratio(bound)}`, figure: ratio(figure), met }
}
