// @ts-check
/**
 * What a recorded history takes on PostgreSQL, one snapshot for each commit: beside the same store on LMDB, and beside a
 * table with one row of `jsonb` for each version.
 *
 *     node postgres/size.js [--quick] [--commits 1500] [history.jsonl.gz]
 */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { copyStore, createPersistence, lmdb } from 'varve'
import { postgres } from 'varve/postgres'
import { count, megabytes, milliseconds, ratio } from '../lib/format.js'
import { timed } from '../lib/interleave.js'
import { readOptions } from '../lib/options.js'
import { progress } from '../lib/progress.js'
import { parseCommit, readHistoryLines } from '../lib/recorded-history.js'
import { goals, heading, table } from '../lib/report.js'
import { bytesIn, withTempFolder } from '../lib/temp.js'
import { withServer } from './server.js'

const { numbers, positionals } = readOptions({ commits: { full: 1500, quick: 100 } })
const file =
  positionals[0] ?? fileURLToPath(new URL('../../demo/data/caniuse-slice.jsonl.gz', import.meta.url))
const lines = (await readHistoryLines(file)).slice(0, numbers.commits)

await withServer(connectionString =>
  withTempFolder(async folder => {
    const store = randomUUID()
    const schema = `size ${store.slice(0, 8)}`
    const engine = () => postgres({ connectionString, schema, store })
    const client = new pg.Client({ connectionString })
    await client.connect()
    const bytesOf = async (/** @type {string} */ where) =>
      Number(
        (
          await client.query(
            `SELECT coalesce(sum(pg_total_relation_size(oid)), 0) AS bytes FROM pg_class WHERE ${where}`,
          )
        ).rows[0].bytes,
      )
    const inSchema = () => bytesOf(`relkind = 'r' AND relnamespace = '"${schema}"'::regnamespace`)

    await client.query('CREATE TABLE versions (key text, commit int, value jsonb, PRIMARY KEY (key, commit))')
    const state = await createPersistence({ engine: engine() })
    const show = progress('replay', lines.length)
    let versions = 0
    const replay = await timed(async () => {
      for (const [commit, line] of lines.entries()) {
        const { put, del } = parseCommit(line)
        await state.transaction(async transaction => {
          for (const [key, value] of Object.entries(put)) transaction.set(key, value)
          for (const key of del) await transaction.delete(key)
        })
        await state.createSnapshot()
        show(commit + 1)
      }
    })
    for (const [commit, line] of lines.entries()) {
      const { put, del } = parseCommit(line)
      const rows = [...Object.entries(put), ...del.map(key => /** @type {const} */ ([key, null]))]
      for (const [key, value] of rows) {
        await client.query('INSERT INTO versions VALUES ($1, $2, $3)', [
          key,
          commit,
          value && JSON.stringify(value),
        ])
      }
      versions += rows.length
    }
    const loose = await inSchema()
    const compacting = await timed(() => state.compact())
    await state.close()
    const compacted = await inSchema()
    const tables = await client.query(
      `SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = '"${schema}"'::regnamespace`,
    )
    for (const { relname } of tables.rows) await client.query(`VACUUM FULL "${schema}".${relname}`)
    const packed = await inSchema()

    const path = join(folder, 'state')
    await copyStore(engine(), lmdb(path))
    const copy = await createPersistence({ basePath: path })
    await copy.compact()
    await copy.close()
    const embedded = await bytesIn(path)
    await client.query('VACUUM FULL versions')
    const rows = await bytesOf("oid = 'versions'::regclass")
    await client.end()

    heading(
      'A recorded history on PostgreSQL',
      `${count(lines.length)} commits with ${count(versions)} versions, a snapshot after each; replayed in ${milliseconds(replay)}, compact() in ${milliseconds(compacting)}.`,
    )
    table(
      ['stored as', 'bytes', 'against one row a version'],
      [
        ['one row of jsonb a version', megabytes(rows), ratio(1)],
        ['varve on PostgreSQL, replayed', megabytes(loose), ratio(loose / rows)],
        ['varve on PostgreSQL, after compact()', megabytes(compacted), ratio(compacted / rows)],
        ['the same after VACUUM FULL of its tables', megabytes(packed), ratio(packed / rows)],
        ['varve on LMDB, after compact()', megabytes(embedded), ratio(embedded / rows)],
      ],
    )
    const share = compacted / loose
    goals([
      {
        what: 'bytes after compact(), against those before',
        goal: '≤ 0.50×',
        figure: ratio(share),
        met: share <= 0.5,
      },
    ])
  }),
)
