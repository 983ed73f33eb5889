import assert from 'node:assert/strict'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { bytesEqual, compareBytes } from '../core/bytes.ts'
import { EngineError, InvalidArgumentError, StoreClosedError } from '../core/errors.ts'
import {
  type Batch,
  type Engine,
  type FloorQuery,
  MAX_KEY_BYTES,
  type Row,
  type ScanRange,
  TABLES,
  type Table,
  type View,
} from './engine.ts'

/** How a test runner takes a test: `test` of `node:test`, vitest and others. */
export type ConformanceTest = (name: string, fn: () => Promise<void>) => unknown

/**
 * Registers the tests that every engine passes: one for each part of the contract of {@link Engine}.
 *
 * @param test - registers one test with the runner
 * @param makeEngine - gives an engine that is not open and has no data yet; called once a test, which closes what it
 *   opens. An engine that is closed and opened again is expected to keep its data.
 *
 * @example
 * ```ts
 * import { test } from 'node:test'
 * import { engineConformance, memory } from 'varve/engine'
 *
 * engineConformance(test, () => memory())
 * ```
 */
export function engineConformance(test: ConformanceTest, makeEngine: () => Engine | Promise<Engine>): void {
  for (const [name, check] of Object.entries(CHECKS)) {
    test(name, async () => {
      const engine = await makeEngine()
      await engine.open()
      try {
        await check(engine)
      } finally {
        await engine.close()
      }
    })
  }
  for (const [name, check] of Object.entries(LIFECYCLE_CHECKS)) {
    test(name, async () => check(await makeEngine()))
  }
}

type Check = (engine: Engine) => Promise<void>

/** Checks that get an open engine. */
const CHECKS: Record<string, Check> = {
  async 'an empty store has nothing in any table'(engine) {
    const key = bytes('key')
    assert.equal(await engine.get('live', key), undefined)
    await viewing(engine, async view => {
      for (const table of TABLES) {
        assert.equal(await view.get(table, key), undefined)
        assert.deepEqual(await view.getMany(table, [key, key]), [undefined, undefined])
        assert.equal(await view.seek(table, { key, min: bytes('a') }), undefined)
        assert.deepEqual(await view.seekMany(table, [{ key, min: key }]), [undefined])
        assert.deepEqual(await scanAll(view, table, {}), [])
      }
    })
  },

  async 'the tables are apart from each other'(engine) {
    const key = bytes('key')
    await engine.commit((_, batch) => {
      for (const table of TABLES) batch.put(table, key, bytes(`in ${table}`))
    })
    await put(engine, 'live', key, bytes('changed'))
    await engine.commit((_, batch) => batch.delete('history', key))
    await viewing(engine, async view => {
      for (const table of TABLES) {
        const expected =
          { live: bytes('changed'), history: undefined }[table as string] ?? bytes(`in ${table}`)
        assertBytes(await view.get(table, key), table === 'history' ? undefined : expected)
      }
    })
  },

  async 'keys order bytewise, a prefix before what it begins'(engine) {
    const keys = [
      [0],
      [0, 0],
      [0, 1],
      [0, 255],
      [1],
      [1, 0],
      [97],
      [97, 0],
      [97, 0, 0],
      [97, 97],
      [97, 128],
      [127],
      [128],
      [128, 0],
      [254, 255],
      [255],
      [255, 0],
      [255, 255],
      [255, 255, 255],
    ].map(key => Uint8Array.from(key))
    await engine.commit((_, batch) => {
      for (const key of shuffled(keys, random(1))) batch.put('live', key, key)
    })
    await viewing(engine, async view => {
      const rows = keys.map(key => ({ key, value: key }))
      assertRows(await scanAll(view, 'live', {}), rows)
      assertRows(await scanAll(view, 'live', { reverse: true }), rows.toReversed())
      for (const key of keys) assertBytes(await view.get('live', key), key)
    })
  },

  async 'keys of 1,200 bytes differ in their last byte'(engine) {
    const keys = [0, 1, 254, 255].map(last =>
      new Uint8Array(MAX_KEY_BYTES).fill(255).with(MAX_KEY_BYTES - 1, last),
    )
    await engine.commit((_, batch) => {
      for (const key of keys) batch.put('live', key, key.subarray(-1))
    })
    await viewing(engine, async view => {
      assertRows(
        await scanAll(view, 'live', {}),
        keys.map(key => ({ key, value: key.subarray(-1) })),
      )
      for (const key of keys) assertBytes(await view.get('live', key), key.subarray(-1))
      const [, second, third] = keys as [Uint8Array, Uint8Array, Uint8Array]
      assertRows(
        [await view.seek('live', { key: third.with(MAX_KEY_BYTES - 1, 100), min: second })],
        [{ key: second, value: second.subarray(-1) }],
      )
    })
  },

  async 'a batch refuses keys and values that no engine can store, and the commit with them'(engine) {
    const bad = [new Uint8Array(0), new Uint8Array(MAX_KEY_BYTES + 1), 'text' as unknown as Uint8Array]
    const writes: ((batch: Batch) => void)[] = [
      ...bad.map(key => (batch: Batch) => batch.put('live', key, bytes('value'))),
      ...bad.map(key => (batch: Batch) => batch.delete('live', key)),
      batch => batch.put('live', bytes('key'), 'text' as unknown as Uint8Array),
    ]
    for (const write of writes) {
      const commit = engine.commit((_, batch) => {
        batch.put('live', bytes('other'), bytes('value'))
        write(batch)
      })
      await assert.rejects(commit, InvalidArgumentError)
    }
    assert.equal(await engine.get('live', bytes('other')), undefined)
  },

  async 'values may be empty, and of every size'(engine) {
    const sizes = [0, 1, 31, 2_000, 4_096, 65_537]
    const value = (size: number): Uint8Array => randomBytes(size, random(size))
    await engine.commit((_, batch) => {
      for (const size of sizes) batch.put('live', bytes(`size ${size}`), value(size))
    })
    await viewing(engine, async view => {
      for (const size of sizes) {
        const key = bytes(`size ${size}`)
        assertBytes(await engine.get('live', key), value(size))
        assertPeeked(engine, 'live', key, value(size))
        assertBytes(await view.get('live', key), value(size))
        assertRows([await view.seek('live', { key, min: key })], [{ key, value: value(size) }])
        assertRows(await scanAll(view, 'live', { gte: key, lte: key }), [{ key, value: value(size) }])
      }
    })
  },

  async 'values of 8 MB and more come back whole'(engine) {
    const key = bytes('key')
    for (const size of [8_000_000, 20_000_000]) {
      const value = randomBytes(size, random(size))
      await put(engine, 'live', key, value.slice())
      await put(engine, 'live', bytes('small'), bytes('small'))
      assertBytes(await engine.get('live', key), value)
      assertPeeked(engine, 'live', key, value)
      assertPeeked(engine, 'live', bytes('small'), bytes('small'))
      await viewing(engine, async view => {
        const [first, second] = await view.getMany('live', [key, key])
        assertBytes(await view.get('live', bytes('small')), bytes('small'))
        assertBytes(first, value)
        assertBytes(second, value)
        assertRows(await scanAll(view, 'live', { lte: key }), [{ key, value }])
      })
    }
  },

  async 'lookups and scans answer as a sorted array does'(engine) {
    for (const seed of [1, 2, 3]) await compareWithModel(engine, random(seed))
  },

  async 'a page holds at most `limit` rows, and pages join up'(engine) {
    const rows = Array.from({ length: 25 }, (_, i) => ({ key: Uint8Array.of(i), value: Uint8Array.of(i, i) }))
    await putAll(engine, 'live', rows)
    await viewing(engine, async view => {
      for (const limit of [1, 2, 24, 25, 26]) {
        for (const reverse of [false, true]) {
          const page = await view.scan('live', { limit, reverse })
          assert.equal(page.rows.length, Math.min(limit, rows.length))
          if (limit < rows.length) assert.ok(page.more, 'rows are left, so `more` is true')
          const expected = reverse ? rows.toReversed() : rows
          assertRows(await scanAll(view, 'live', { limit, reverse }), expected)
        }
      }
      const { rows: past, more } = await view.scan('live', { gt: Uint8Array.of(24) })
      assert.deepEqual({ past, more }, { past: [], more: false })
    })
  },

  async 'a page without a limit is bounded by its bytes'(engine) {
    const size = 300_000
    const rows = Array.from({ length: 20 }, (_, i) => ({
      key: Uint8Array.of(i),
      value: new Uint8Array(size).fill(i),
    }))
    await putAll(engine, 'live', rows)
    await viewing(engine, async view => {
      const page = await view.scan('live', {})
      assert.ok(
        page.rows.length >= 1 && page.rows.length <= 10,
        `a page of ${page.rows.length} rows of 300 kB`,
      )
      assert.ok(page.more)
      assertRows(await scanAll(view, 'live', {}), rows)
    })
  },

  async 'keysOnly leaves the values out'(engine) {
    const rows = ['a', 'b', 'c'].map(name => ({ key: bytes(name), value: bytes(name.repeat(100)) }))
    await putAll(engine, 'live', rows)
    await viewing(engine, async view => {
      const keys = rows.map(({ key }) => ({ key, value: bytes('') }))
      assertRows(await scanAll(view, 'live', { keysOnly: true }), keys)
      assertRows(await scanAll(view, 'live', { keysOnly: true, reverse: true, limit: 2 }), keys.toReversed())
      assertRows(
        await scanAll(view, 'live', { keysOnly: true, gt: bytes('a'), lt: bytes('c') }),
        keys.slice(1, 2),
      )
    })
  },

  async 'of several writes to a key in one batch, the last counts'(engine) {
    const [putDelete, deletePut, putPut] = ['a', 'b', 'c'].map(bytes) as [Uint8Array, Uint8Array, Uint8Array]
    await engine.commit((_, batch) => {
      batch.put('live', putDelete, bytes('1'))
      batch.delete('live', putDelete)
      batch.delete('live', deletePut)
      batch.put('live', deletePut, bytes('2'))
      batch.put('live', putPut, bytes('3'))
      batch.put('live', putPut, bytes('4'))
    })
    await viewing(engine, async view => {
      assertRows(await scanAll(view, 'live', {}), [
        { key: deletePut, value: bytes('2') },
        { key: putPut, value: bytes('4') },
      ])
    })
  },

  async 'deleting what is not there changes nothing'(engine) {
    await put(engine, 'live', bytes('b'), bytes('value'))
    await engine.commit((_, batch) => {
      for (const name of ['a', 'bb', 'c']) batch.delete('live', bytes(name))
    })
    await viewing(engine, async view => {
      assertRows(await scanAll(view, 'live', {}), [{ key: bytes('b'), value: bytes('value') }])
    })
  },

  async 'a large batch is applied whole'(engine) {
    const rows = Array.from({ length: 5_000 }, (_, i) => ({
      key: uint32(i),
      value: randomBytes(i % 300, random(i)),
    }))
    await putAll(engine, 'live', shuffled(rows, random(7)))
    await viewing(engine, async view => assertRows(await scanAll(view, 'live', {}), rows))
    await engine.commit((_, batch) => {
      for (const { key } of rows) batch.delete('live', key)
    })
    await viewing(engine, async view => assertRows(await scanAll(view, 'live', {}), []))
  },

  async 'a large batch is applied in order, whatever the sizes of keys and values'(engine) {
    const rows = Array.from({ length: 1_500 }, (_, i) => ({
      key: randomBytes(1 + ((i * 37) % MAX_KEY_BYTES), random(i)),
      value: randomBytes(i % 100 === 0 ? 20_000 : i % 3, random(i + 1)),
    })).sort((a, b) => compareBytes(a.key, b.key))
    for (const seed of [7, 8]) {
      await engine.commit(async (_, batch) => {
        for (const [i, { key, value }] of shuffled(rows, random(seed)).entries()) {
          batch.put('live', key, bytes('first'))
          if (i % 2 === 0) batch.delete('live', key)
          if (i % 200 === 0) await nextTurn()
          batch.put('live', key, value)
        }
      })
      await viewing(engine, async view => assertRows(await scanAll(view, 'live', {}), rows))
    }
  },

  async 'commit resolves with what its builder returned, or resolves to'(engine) {
    assert.equal(await engine.commit(() => 1), 1)
    assert.equal(await engine.commit(async () => nextTurn('later')), 'later')
    assert.equal(await engine.commit(() => undefined), undefined)
    assert.equal(await engine.commit(() => 2, { flush: true }), 2)
  },

  async 'what is committed is there for every view and get after it'(engine) {
    const key = bytes('key')
    for (let i = 0; i < 50; i++) {
      await engine.commit((_, batch) => batch.put('live', key, uint32(i)), { flush: i % 10 === 0 })
      assertBytes(await engine.get('live', key), uint32(i))
      await viewing(engine, async view => assertBytes(await view.get('live', key), uint32(i)))
    }
  },

  async 'a builder sees the state before the commit, and not its own writes'(engine) {
    const [old, fresh] = [bytes('old'), bytes('fresh')]
    await put(engine, 'live', old, bytes('1'))
    const check = async (view: View): Promise<void> => {
      assertBytes(await view.get('live', old), bytes('1'))
      assert.equal(await view.get('live', fresh), undefined)
      assertBytes((await view.getMany('live', [fresh, old]))[1], bytes('1'))
      assertRows(
        [await view.seek('live', { key: bytes('z'), min: bytes('a') })],
        [{ key: old, value: bytes('1') }],
      )
      assertRows(await scanAll(view, 'live', {}), [{ key: old, value: bytes('1') }])
    }
    await engine.commit(async (view, batch) => {
      await check(view)
      batch.put('live', old, bytes('2'))
      batch.put('live', fresh, bytes('2'))
      await check(view)
      await nextTurn()
      await check(view)
    })
    assertBytes(await engine.get('live', old), bytes('2'))
    assertBytes(await engine.get('live', fresh), bytes('2'))
  },

  async 'nobody sees the writes of a builder before its commit'(engine) {
    const key = bytes('key')
    const before = bytes('before')
    await viewing(engine, async old => {
      assert.equal(await old.get('live', key), undefined)
      await put(engine, 'live', key, before.slice())
      await engine.commit(async (_, batch) => {
        batch.put('live', key, bytes('after'))
        assertBytes(await engine.get('live', key), before)
        await nextTurn()
        assertBytes(await engine.get('live', key), before)
        await viewing(engine, async view => assertBytes(await view.get('live', key), before))
        assert.equal(await old.get('live', key), undefined)
        assertRows(await scanAll(old, 'live', {}), [])
      })
      assert.equal(await old.get('live', key), undefined)
    })
    assertBytes(await engine.get('live', key), bytes('after'))
  },

  async 'a builder that throws, at once or later, leaves nothing'(engine) {
    const key = bytes('key')
    await put(engine, 'live', key, bytes('before'))
    const failure = new Error('the builder failed')
    const write = (batch: Batch): void => {
      batch.put('live', key, bytes('after'))
      batch.put('meta', key, bytes('after'))
      batch.delete('live', key)
    }
    const builders: ((view: View, batch: Batch) => unknown)[] = [
      (_, batch) => {
        write(batch)
        throw failure
      },
      async (_, batch) => {
        write(batch)
        throw failure
      },
      async (view, batch) => {
        await view.get('live', key)
        write(batch)
        await nextTurn()
        throw failure
      },
    ]
    for (const build of builders) {
      await assert.rejects(engine.commit(build), error => error === failure)
      assertBytes(await engine.get('live', key), bytes('before'))
      assert.equal(await engine.get('meta', key), undefined)
    }
    await put(engine, 'live', key, bytes('next'))
    assertBytes(await engine.get('live', key), bytes('next'))
  },

  async 'a builder that throws after it has written much leaves nothing'(engine) {
    const rows = Array.from({ length: 2_000 }, (_, i) => ({
      key: uint32(i),
      value: randomBytes(100, random(i)),
    }))
    await putAll(engine, 'live', rows)
    const failure = new Error('the builder failed')
    const build = async (view: View, batch: Batch): Promise<never> => {
      for (const { key } of rows) {
        batch.put('live', key, key)
        batch.put('history', key, key)
      }
      await nextTurn()
      assertRows(await scanAll(view, 'live', {}), rows)
      for (const { key } of rows) batch.delete('live', key)
      await nextTurn()
      throw failure
    }
    await assert.rejects(engine.commit(build), error => error === failure)
    await viewing(engine, async view => {
      assertRows(await scanAll(view, 'live', {}), rows)
      assertRows(await scanAll(view, 'history', {}), [])
    })
    await put(engine, 'history', bytes('key'), bytes('next'))
    assertBytes(await engine.get('history', bytes('key')), bytes('next'))
  },

  async 'a failing commit does not touch those queued around it'(engine) {
    const key = bytes('key')
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) =>
        engine.commit(async (view, batch) => {
          await increment(view, batch, key)
          if (i % 2 === 1) throw new Error(`commit ${i} failed`)
        }),
      ),
    )
    assert.equal(outcomes.filter(({ status }) => status === 'rejected').length, 10)
    assert.equal(await counter(engine, key), 10)
  },

  async 'commits exclude each other: increments add up'(engine) {
    const key = bytes('counter')
    await Promise.all(
      Array.from({ length: 150 }, (_, i) =>
        engine.commit(async (view, batch) => {
          if (i % 3 === 0) await nextTurn()
          await increment(view, batch, key)
          if (i % 3 === 1) await nextTurn()
        }),
      ),
    )
    assert.equal(await counter(engine, key), 150)
  },

  async 'a view never changes, whatever is committed meanwhile'(engine) {
    const rows = Array.from({ length: 200 }, (_, i) => ({ key: uint32(i), value: uint32(i) }))
    await putAll(engine, 'live', rows)
    const view = engine.read()
    try {
      assertBytes(await view.get('live', uint32(0)), uint32(0))
      await engine.commit((_, batch) => {
        for (const { key } of rows.slice(100)) batch.delete('live', key)
        for (const { key } of rows.slice(0, 100)) batch.put('live', key, bytes('changed'))
        batch.put('live', uint32(500), bytes('new'))
        batch.put('meta', uint32(0), bytes('new'))
      })
      for (let i = 0; i < 3; i++) {
        await put(engine, 'live', uint32(600 + i), bytes('later'))
        await nextTurn()
        assertRows(await scanAll(view, 'live', { limit: 7 }), rows)
        assertRows(await scanAll(view, 'live', { reverse: true }), rows.toReversed())
        assertBytes(await view.get('live', uint32(150)), uint32(150))
        assertRows([await view.seek('live', { key: uint32(900), min: uint32(0) })], rows.slice(-1))
        assert.equal(await view.get('meta', uint32(0)), undefined)
      }
    } finally {
      view.close()
    }
  },

  async 'a view shows one commit in all tables'(engine) {
    const key = bytes('key')
    const last = 100
    const write = (i: number): Promise<void> =>
      engine.commit((_, batch) => {
        for (const table of TABLES) batch.put(table, key, uint32(i))
      })
    await write(0)
    let written = 0
    const writing = async (): Promise<void> => {
      while (written < last) await write(++written)
    }
    const reading = async (): Promise<void> => {
      while (written < last) {
        await viewing(engine, async view => {
          const first = await view.get('meta', key)
          await nextTurn()
          for (const table of TABLES) {
            assertBytes(await view.get(table, key), first)
            const [row] = (await view.scan(table, {})).rows
            assertBytes(row?.value, first)
          }
          await nextTurn()
          assertBytes(await view.get('live', key), first)
        })
      }
    }
    await Promise.all([writing(), reading()])
    assertBytes(await engine.get('live', key), uint32(last))
  },

  async 'many views of different commits are open at the same time'(engine) {
    const key = bytes('key')
    const views: View[] = []
    try {
      for (let i = 0; i < 40; i++) {
        await put(engine, 'live', key, uint32(i))
        const view = engine.read()
        views.push(view)
        assertBytes(await view.get('live', key), uint32(i))
      }
      for (const [i, view] of views.entries()) {
        assertBytes(await view.get('live', key), uint32(i))
        view.close()
        view.close()
      }
    } finally {
      for (const view of views) view.close()
    }
    await viewing(engine, async view => assertBytes(await view.get('live', key), uint32(39)))
  },

  async 'the bytes of an answer are the receiver’s own'(engine) {
    const key = bytes('key')
    const value = bytes('value')
    await put(engine, 'live', bytes('key'), bytes('value'))
    await viewing(engine, async view => {
      const query = { key, min: bytes('a') }
      const [got, point, [many], floor, [floors], { rows }] = [
        await view.get('live', key),
        await engine.get('live', key),
        await view.getMany('live', [key]),
        await view.seek('live', query),
        await view.seekMany('live', [query]),
        await view.scan('live', {}),
      ]
      const answers = [
        got,
        point,
        many,
        floor?.value,
        floor?.key,
        floors?.value,
        rows[0]?.value,
        rows[0]?.key,
      ]
      for (const answer of answers) {
        answer?.fill(0)
        assertBytes(await view.get('live', key), value)
        assertBytes(await engine.get('live', key), value)
        assertRows(await scanAll(view, 'live', {}), [{ key, value }])
      }
    })
    await viewing(engine, async view => assertRows(await scanAll(view, 'live', {}), [{ key, value }]))
  },

  async 'an answer does not change when more is read or written'(engine) {
    const names = Array.from({ length: 50 }, (_, i) => bytes(`key ${i}`))
    await putAll(
      engine,
      'live',
      names.map(key => ({ key, value: key.slice() })),
    )
    const answers = await viewing(engine, view => view.getMany('live', names))
    const page = await viewing(engine, view => view.scan('live', {}))
    await engine.commit((_, batch) => {
      for (const key of names) batch.put('live', key.slice(), bytes('changed'))
    })
    for (const key of names) await engine.get('live', key)
    for (const [i, key] of names.entries()) assertBytes(answers[i], key)
    for (const { key, value } of page.rows) assertBytes(value, key)
  },

  async 'the bytes of a question and of a batch are left as they are'(engine) {
    const key = bytes('key')
    const value = bytes('value')
    await put(engine, 'live', key, value)
    assert.deepEqual([key, value], [bytes('key'), bytes('value')])
    // A part of a larger buffer is taken for what it is, and a question is answered before its bytes change.
    const shared = bytes('..inner..')
    await put(engine, 'meta', shared.subarray(2, 7), shared.subarray(2, 7))
    const question = bytes('inner')
    assertBytes(await engine.get('meta', question), bytes('inner'))
    question.fill(0)
    await viewing(engine, async view => {
      assertRows(await scanAll(view, 'meta', {}), [{ key: bytes('inner'), value: bytes('inner') }])
    })
  },

  async 'stats count the entries of each table'(engine) {
    const rows = Array.from({ length: 300 }, (_, i) => ({ key: uint32(i), value: new Uint8Array(100) }))
    await putAll(engine, 'live', rows)
    await put(engine, 'meta', bytes('key'), bytes('value'))
    const { bytes: total, tables, freeBytes } = await engine.stats()
    assert.ok(total > 30_000, `${total} bytes for 30 kB of values`)
    assert.ok(freeBytes >= 0 && freeBytes <= total, `${freeBytes} free bytes of ${total}`)
    for (const [table, entries] of [
      ['live', 300],
      ['meta', 1],
      ['history', 0],
    ] as const) {
      const stats = tables[table]
      if (stats !== undefined) assert.equal(stats.entries, entries)
    }
  },
}

/** Checks that open and close the engine themselves. */
const LIFECYCLE_CHECKS: Record<string, Check> = {
  async 'before it is opened, an engine says so'(engine) {
    for (const [name, call] of Object.entries(callsOf(engine))) {
      await assert.rejects(call, EngineError, `${name} before open`)
    }
    await engine.close()
    await engine.open()
    await engine.close()
  },

  async 'after it is closed, every call fails with a StoreClosedError'(engine) {
    await engine.open()
    const view = engine.read()
    await view.get('live', bytes('key'))
    await engine.close()
    for (const [name, call] of Object.entries(callsOf(engine))) {
      await assert.rejects(call, StoreClosedError, `${name} after close`)
    }
    await assert.rejects(async () => view.get('live', bytes('key')), StoreClosedError)
    view.close()
    await engine.close()
  },

  async 'closing waits for the commits under way'(engine) {
    await engine.open()
    const settled: string[] = []
    const key = bytes('key')
    const commits = ['first', 'second'].map(name =>
      engine
        .commit(async (view, batch) => {
          await nextTurn()
          await view.get('live', key)
          await nextTurn()
          await increment(view, batch, key)
        })
        .then(() => settled.push(name)),
    )
    const closing = engine.close().then(() => settled.push('closed'))
    await assert.rejects(async () => engine.commit(() => 0), StoreClosedError)
    await Promise.all([...commits, closing])
    assert.deepEqual(settled, ['first', 'second', 'closed'])
    await engine.open()
    assert.equal(await counter(engine, key), 2)
    await engine.close()
  },

  async 'only the last close of several openings closes'(engine) {
    const key = bytes('key')
    await Promise.all([engine.open(), engine.open()])
    await engine.open()
    await put(engine, 'live', key, bytes('1'))
    await engine.close()
    await engine.close()
    assertBytes(await engine.get('live', key), bytes('1'))
    await put(engine, 'live', key, bytes('2'))
    await engine.close()
    await assert.rejects(async () => engine.get('live', key), StoreClosedError)
  },

  async 'an engine that is opened again has its data'(engine) {
    const key = bytes('key')
    for (let i = 0; i < 5; i++) {
      await engine.open()
      assert.equal(await counter(engine, key), i)
      await engine.commit((view, batch) => increment(view, batch, key))
      await engine.close()
    }
    const reopening = [engine.open(), engine.close(), engine.open()]
    await Promise.all(reopening)
    assert.equal(await counter(engine, key), 5)
    await engine.close()
  },
}

function callsOf(engine: Engine): Record<string, () => Promise<unknown>> {
  return {
    get: async () => engine.get('live', bytes('key')),
    read: async () => viewing(engine, async view => view.get('live', bytes('key'))),
    commit: async () => engine.commit(() => undefined),
    stats: async () => engine.stats(),
  }
}

/** Fills a table at random and asks the engine, and a sorted array of the same rows, the same questions. */
async function compareWithModel(engine: Engine, next: Random): Promise<void> {
  const table = 'history'
  const model = new Map<string, Row>()
  const randomKey = (): Uint8Array => {
    // Few distinct bytes and short keys, so that bounds often hit keys, and prefixes of them.
    const alphabet = [0, 1, 97, 98, 255]
    return Uint8Array.from({ length: 1 + next(4) }, () => alphabet[next(alphabet.length)] as number)
  }
  await engine.commit(async (view, batch) => {
    for (const { key } of await scanAll(view, table, {})) batch.delete(table, key)
  })
  for (let commit = 0; commit < 4; commit++) {
    await engine.commit((_, batch) => {
      for (let i = 0; i < 40; i++) {
        const key = randomKey()
        if (next(4) === 0) {
          batch.delete(table, key)
          model.delete(key.join())
        } else {
          const value = randomBytes(next(20), next)
          batch.put(table, key, value.slice())
          model.set(key.join(), { key, value })
        }
      }
    })
  }
  const rows = [...model.values()].sort((a, b) => compareBytes(a.key, b.key))
  const floorOf = ({ key, min }: FloorQuery): Row | undefined =>
    rows.findLast(row => compareBytes(row.key, key) <= 0 && compareBytes(row.key, min) >= 0)

  await viewing(engine, async view => {
    const keys = Array.from({ length: 200 }, randomKey)
    const values = keys.map(key => model.get(key.join())?.value)
    for (const [i, key] of keys.entries()) {
      assertBytes(await view.get(table, key), values[i])
      assertBytes(await engine.get(table, key), values[i])
      assertPeeked(engine, table, key, values[i])
    }
    const many = await view.getMany(table, keys)
    if (view.visitMany !== undefined) {
      const visited = new Array<Uint8Array | undefined>(keys.length).fill(undefined)
      view.visitMany(table, keys, (i, buffer, length) => {
        visited[i] = Uint8Array.from(buffer.subarray(0, length))
      })
      for (const [i, value] of visited.entries()) assertBytes(value, many[i])
    }
    assert.equal(many.length, keys.length)
    for (const [i, value] of many.entries()) assertBytes(value, values[i])

    const queries = keys.map(key => ({ key, min: next(3) === 0 ? key : randomKey() }))
    const floors = queries.map(floorOf)
    for (const [i, query] of queries.entries()) assertRows([await view.seek(table, query)], [floors[i]])
    assertRows(await view.seekMany(table, queries), floors)

    for (const range of everyRange(randomKey, next)) {
      const inRange = rows.filter(({ key }) => contains(range, key))
      const expected = range.reverse ? inRange.toReversed() : inRange
      const actual = await scanAll(view, table, range)
      assertRows(actual, range.keysOnly ? expected.map(({ key }) => ({ key, value: bytes('') })) : expected)
    }
  })
}

/** Every combination of bounds and options, each several times with keys at random. */
function* everyRange(randomKey: () => Uint8Array, next: Random): Generator<ScanRange> {
  for (let combination = 0; combination < 64; combination++) {
    for (let i = 0; i < 6; i++) {
      const has = (bit: number): boolean => (combination & bit) !== 0
      // An empty bound is below every key.
      const bound = (): Uint8Array => (next(12) === 0 ? bytes('') : randomKey())
      yield {
        ...(has(1) && { gt: bound() }),
        ...(has(2) && { gte: bound() }),
        ...(has(4) && { lt: bound() }),
        ...(has(8) && { lte: bound() }),
        reverse: has(16),
        keysOnly: has(32),
        ...(i % 2 === 0 && { limit: 1 + next(5) }),
      }
    }
  }
}

function contains({ gt, gte, lt, lte }: ScanRange, key: Uint8Array): boolean {
  return (
    (gt === undefined || compareBytes(key, gt) > 0) &&
    (gte === undefined || compareBytes(key, gte) >= 0) &&
    (lt === undefined || compareBytes(key, lt) < 0) &&
    (lte === undefined || compareBytes(key, lte) <= 0)
  )
}

/** All rows of a range: page after page, each going on past the last key of the one before. */
async function scanAll(view: View, table: Table, range: ScanRange): Promise<Row[]> {
  const all: Row[] = []
  let rest: ScanRange = range
  for (;;) {
    const { rows, more } = await view.scan(table, rest)
    if (view.visit !== undefined) {
      const visited: Row[] = []
      const copy = (key: Uint8Array, buffer: Uint8Array, length: number): void =>
        void visited.push({ key: Uint8Array.from(key), value: Uint8Array.from(buffer.subarray(0, length)) })
      assert.equal(view.visit(table, rest, copy), more)
      assertRows(visited, rows)
    }
    for (const row of rows) {
      const last = all.at(-1)
      const step = last ? compareBytes(row.key, last.key) * (range.reverse ? -1 : 1) : 1
      // Checked at once: an engine that answers with the same rows again would never come to an end.
      assert.ok(step > 0, `key [${row.key}] does not come after [${last?.key}]`)
      all.push(row)
    }
    const last = rows.at(-1)
    if (!more || last === undefined) return all
    rest = range.reverse
      ? { ...range, lte: undefined, lt: last.key }
      : { ...range, gte: undefined, gt: last.key }
  }
}

async function viewing<T>(engine: Engine, use: (view: View) => T | PromiseLike<T>): Promise<T> {
  const view = engine.read()
  try {
    return await use(view)
  } finally {
    view.close()
  }
}

/** Where the engine has `peek`, it finds what `get` does. */
function assertPeeked(engine: Engine, table: Table, key: Uint8Array, value: Uint8Array | undefined): void {
  if (engine.peek === undefined) return
  const peeked = engine.peek(table, key)
  assertBytes(peeked?.bytes.subarray(0, peeked.length), value)
}

function put(engine: Engine, table: Table, key: Uint8Array, value: Uint8Array): Promise<void> {
  return engine.commit((_, batch) => batch.put(table, key, value))
}

function putAll(engine: Engine, table: Table, rows: readonly Row[]): Promise<void> {
  return engine.commit((_, batch) => {
    for (const { key, value } of rows) batch.put(table, key.slice(), value.slice())
  })
}

async function increment(view: View, batch: Batch, key: Uint8Array): Promise<void> {
  const before = await view.get('live', key)
  batch.put('live', key.slice(), uint32(1 + (before ? toUint32(before) : 0)))
}

async function counter(engine: Engine, key: Uint8Array): Promise<number> {
  const value = await engine.get('live', key)
  return value ? toUint32(value) : 0
}

function assertBytes(actual: Uint8Array | undefined, expected: Uint8Array | undefined): void {
  const equal = actual && expected ? bytesEqual(actual, expected) : actual === expected
  // Not assert.deepEqual: it would take minutes to show where large values differ.
  assert.ok(equal, `expected ${describe(expected)}, got ${describe(actual)}`)
}

function describe(value: Uint8Array | undefined): string {
  if (value === undefined) return 'nothing'
  const beginning = value.length > 32 ? `${value.subarray(0, 32).join()},…` : value.join()
  return `${value.length} bytes [${beginning}]`
}

function assertRows(actual: readonly (Row | undefined)[], expected: readonly (Row | undefined)[]): void {
  assert.equal(actual.length, expected.length, 'number of rows')
  for (const [i, row] of actual.entries()) {
    assertBytes(row?.key, expected[i]?.key)
    assertBytes(row?.value, expected[i]?.value)
  }
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

function uint32(number: number): Uint8Array {
  const result = new Uint8Array(4)
  new DataView(result.buffer).setUint32(0, number)
  return result
}

function toUint32(value: Uint8Array): number {
  return new DataView(value.buffer, value.byteOffset).getUint32(0)
}

/** A whole number from 0 up to, and without, `bound`. */
type Random = (bound: number) => number

/** A generator whose numbers depend on nothing but the seed: 32-bit linear congruential, upper bits. */
function random(seed: number): Random {
  let state = seed >>> 0
  return bound => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * bound)
  }
}

function randomBytes(length: number, next: Random): Uint8Array {
  const result = new Uint8Array(length)
  // Large ones repeat a block, each time with another number in front, so that making them takes no time.
  const block = Uint8Array.from({ length: Math.min(length, 4_001) }, () => next(256))
  for (let start = 0; start < length; start += block.length) {
    result.set(block.subarray(0, length - start), start)
    result[start] = next(256)
  }
  return result
}

/** Fisher and Yates's shuffle, of a copy. */
function shuffled<T>(items: readonly T[], next: Random): T[] {
  const result = [...items]
  for (let i = result.length - 1; i > 0; i--) {
    const j = next(i + 1)
    ;[result[i], result[j]] = [result[j] as T, result[i] as T]
  }
  return result
}
