import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { readFlushedCommit } from '../../src/engine/lmdb/flushed-commit.ts'
import { createFlusher, type Flusher } from '../../src/engine/lmdb/flusher.ts'
import { emptyMetaPage, META_PAGES } from '../../src/engine/lmdb/page.ts'
import { createSerialQueue } from '../../src/engine/serial-queue.ts'
import { temporaryFolder } from '../support/stores.ts'

/*
 * Several flushers of one data file, as processes have them, whose steps come in an order that the test says.
 */

const PAGE_BYTES = 4096
const BOOT = Buffer.alloc(16, 1)

/** A data file of which nothing is there but what tells of the newest commit. */
async function newStore() {
  const file = join(await temporaryFolder(), 'data.mdb')
  const lock = createSerialQueue()
  let newest = META_PAGES - 1
  writeFileSync(file, Buffer.concat([emptyMetaPage(0, PAGE_BYTES), emptyMetaPage(1, PAGE_BYTES)]))
  const descriptor = openSync(file, 'r+')
  onTestFinished(() => closeSync(descriptor))

  function writeCommit(): void {
    newest += 1
    const number = Buffer.alloc(8)
    number.writeBigUInt64LE(BigInt(newest))
    writeSync(descriptor, number, 0, 8, (newest % META_PAGES) * PAGE_BYTES + 152)
  }
  writeCommit()

  return {
    newest: () => newest,
    noted: () => readFlushedCommit(descriptor)?.transaction,

    /** Somebody who writes to it. */
    newWriter() {
      /** The commits that are pinned. */
      const pins = new Set<{ commit: number }>()
      /** Called for each flush of the file. */
      const writer: { sync: () => Promise<void>; failure?: Error | undefined } = { sync: async () => {} }
      let closing: Promise<void> | undefined
      const flusher: Flusher = createFlusher({
        file,
        boot: BOOT,
        underLock: step => lock.run(step),
        sync: () => writer.sync(),
        pin() {
          if (writer.failure !== undefined) throw writer.failure
          const pin = { commit: newest }
          pins.add(pin)
          return () => void pins.delete(pin)
        },
        checkReaders: () => undefined,
      })
      const close = (): Promise<void> => {
        closing ??= flusher.close()
        return closing
      }
      onTestFinished(close)
      return Object.assign(writer, {
        flusher,
        close,
        oldestPin: () => Math.min(...[...pins].map(({ commit }) => commit)),
        pins: () => pins.size,
        /** Makes a commit, or a transaction that writes nothing. */
        commit: (rows = 1) =>
          lock.run(() => {
            try {
              flusher.admit()
              if (rows > 0) writeCommit()
            } finally {
              flusher.ended(rows)
            }
          }),
      })
    },
  }
}

/** Holds up what calls `wait`, until `open` is called. */
function newGate() {
  let open = (): void => undefined
  const opened = new Promise<void>(resolve => {
    open = resolve
  })
  let reached = (): void => undefined
  const isReached = new Promise<void>(resolve => {
    reached = resolve
  })
  return {
    open,
    isReached,
    wait() {
      reached()
      return opened
    },
  }
}

test('a flush that took long does not note a commit older than the one that others have noted', async () => {
  const store = await newStore()
  const [slow, quick] = [store.newWriter(), store.newWriter()]
  const gate = newGate()
  await slow.commit()
  slow.sync = gate.wait
  await gate.isReached
  const begun = store.newest()
  for (let i = 0; i < 3; i++) {
    await quick.commit()
    await quick.flusher.flush(store.newest())
  }
  const noted = store.noted() as number
  expect(noted).toBeGreaterThan(begun + 1)
  expect(quick.oldestPin()).toBe(noted)
  gate.open()
  await slow.flusher.flush(begun)
  // If the slow one dies now, nobody keeps the pages of an older commit.
  expect(store.noted()).toBeGreaterThanOrEqual(quick.oldestPin())
  expect(store.noted()).toBeGreaterThanOrEqual(noted)
})

test('whoever commits keeps the commit that is noted, or an older one, at each moment', async () => {
  const store = await newStore()
  const writers = [store.newWriter(), store.newWriter(), store.newWriter()]
  const commitAll = writers.map(async (writer, i) => {
    writer.sync = () => delay((i * 7 + store.newest() * 5) % 11)
    for (let n = 0; n < 20; n++) {
      await writer.commit()
      for (const { oldestPin, pins } of writers)
        if (pins() > 0) expect(oldestPin()).toBeLessThanOrEqual(store.noted() as number)
      await delay((n * 13 + i) % 17)
    }
    await writer.flusher.flush(store.newest())
  })
  await Promise.all(commitAll)
  expect(store.noted()).toBe(store.newest())
})

test('who has tried to write, and has written nothing, keeps no pages from others', async () => {
  const store = await newStore()
  const writer = store.newWriter()
  await writer.commit(0)
  expect(writer.pins()).toBe(1)
  // Nor does who tries on and on.
  for (let waited = 0; waited < 1500; waited += 50) {
    await store.newWriter().commit()
    if (waited < 800) await writer.commit(0)
    await delay(50)
  }
  expect(writer.pins()).toBe(0)
})

test('a flush that failed is the last one', async () => {
  const store = await newStore()
  const writer = store.newWriter()
  await writer.commit()
  await writer.flusher.flush(store.newest())
  const failure = new Error('input/output error')
  writer.sync = () => Promise.reject(failure)
  const noted = store.noted()
  await writer.commit()
  await expect(writer.flusher.flush(store.newest())).rejects.toBe(failure)
  writer.sync = async () => undefined
  await expect(writer.commit()).rejects.toBe(failure)
  await expect(writer.flusher.flush(store.newest())).rejects.toBe(failure)
  expect(store.noted()).toBe(noted)
  expect(writer.oldestPin()).toBeLessThanOrEqual(noted as number)
})

/** A store with a commit on disk, and one that could not be pinned to be flushed. */
async function newFailedRound() {
  const store = await newStore()
  const writer = store.newWriter()
  await writer.commit()
  await writer.flusher.flush(store.newest())
  writer.failure = new Error('too many readers')
  await writer.commit()
  await expect(writer.flusher.flush(store.newest())).rejects.toBe(writer.failure)
  return { store, writer }
}

test('where nothing can be pinned for a while, flushes go on after that', async () => {
  const { store, writer } = await newFailedRound()
  const noted = store.noted() as number
  expect(writer.oldestPin()).toBeLessThanOrEqual(noted)
  writer.failure = undefined
  await writer.commit()
  await writer.flusher.flush(store.newest())
  expect(store.noted()).toBe(store.newest())
})

test('closing flushes what a round could not be made for', async () => {
  const { store, writer } = await newFailedRound()
  writer.failure = undefined
  await writer.close()
  expect(store.noted()).toBe(store.newest())
  expect(writer.pins()).toBe(0)
})
