import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Worker } from 'node:worker_threads'
import { describe, expect, it, onTestFinished } from 'vitest'
import { asBuffer } from '../../src/core/bytes.ts'
import type { Engine } from '../../src/engine/index.ts'
import type { Persistence } from '../../src/index.ts'
import { exited, startTask, startWorkerTask } from '../support/peers.ts'
import { newPlace, type Place } from '../support/stores.ts'

const ENGINE_PEER = fileURLToPath(new URL('../fixtures/lmdb-peer.mjs', import.meta.url))

type State = Persistence<Record<string, unknown>>

/** Commits of another that a commit waits for: those made after it was asked for, and before it was made. */
async function waitsOf(state: State, key: string, times: number, size = 0): Promise<number[]> {
  const waits: number[] = []
  for (let i = 0; i < times; i++) {
    const entries = Array.from({ length: size }, (_, j) => [`key ${(j * 7919) % size}`, i] as const)
    await delay(5)
    let atCommit = 0
    const made = state.setMany(entries)
    const seen = state.update(key, count => {
      atCommit = Number(count)
      return count
    })
    const whenAsked = Number(await state.get(key))
    await Promise.all([made, seen])
    waits.push(atCommit - whenAsked)
  }
  return waits
}

/** Those beyond what is promised, which is two: the system may let a process rest between its call and its mark. */
function long(waits: readonly number[]): number[] {
  return waits.filter(wait => wait > 3)
}

async function startCounting(start: typeof startTask | typeof startWorkerTask, path: string, key: string) {
  const peer: ChildProcess | Worker = start('countForever', path, key)
  await once(peer, 'message')
  return peer
}

/** A store that this process has open as an engine, and another one that puts a number when it is told to. */
interface Waiting {
  readonly place: Place
  readonly engine: Engine
  readonly peer: ChildProcess
}

async function startWaiting(): Promise<Waiting> {
  const place = await newPlace('lmdb')
  const engine = place.engine()
  await engine.open()
  onTestFinished(() => engine.close())
  const peer = fork(ENGINE_PEER, ['serve', place.path], { execArgv: [] })
  onTestFinished(() => void peer.kill('SIGKILL'))
  await once(peer, 'message')
  return { place, engine, peer }
}

/** How many say that they wait for the lock. */
async function marks({ path }: Place): Promise<number> {
  return countMarks(await readFile(join(path, 'TURNS')))
}

function countMarks(bytes: Uint8Array): number {
  return new BigUint64Array(Uint8Array.from(bytes).buffer).filter(mark => mark !== 0n).length
}

function marksNow({ path }: Place): number {
  return countMarks(readFileSync(join(path, 'TURNS')))
}

describe.each([
  ['process', startTask],
  ['thread', startWorkerTask],
] as const)('beside a %s that commits without a pause', (_, start) => {
  it('a commit waits for three of the other at most', async () => {
    const place = await newPlace('lmdb')
    const state = await place.open()
    await startCounting(start, place.path, 'counter')
    const waits = await waitsOf(state, 'counter', 100)
    expect(long(waits).length, `of ${waits}`).toBeLessThan(5)
  })

  it('so does one of thousands of keys', async () => {
    const place = await newPlace('lmdb')
    const state = await place.open()
    await startCounting(start, place.path, 'counter')
    const waits = await waitsOf(state, 'counter', 30, 5000)
    expect(long(waits).length, `of ${waits}`).toBeLessThan(3)
  })
})

describe('a process that waits for the lock, and is slow to take it', () => {
  /** Lets the peer ask for the lock while this process has it, and stops it. Answers once the lock is free again. */
  async function askAndStop(
    { place, engine, peer }: Waiting,
    number: number,
  ): Promise<{ done: Promise<unknown> }> {
    return engine.commit(async () => {
      const done = once(peer, 'message')
      peer.send(number)
      while ((await marks(place)) === 0) await delay(1)
      peer.kill('SIGSTOP')
      return { done }
    })
  }

  /** Asks for many commits at once. Resolves with how many of them were made before the peer had put the number. */
  async function commitMany({ engine }: Waiting, number: number): Promise<number> {
    let before = 0
    const commits = Array.from({ length: 200 }, (_, i) =>
      engine.commit(async (view, batch) => {
        const counter = await view.get('live', Buffer.from('counter'))
        if (counter === undefined || asBuffer(counter).readUInt32BE() < number) before++
        batch.put('meta', Buffer.from('other'), Buffer.of(i))
      }),
    )
    await Promise.all(commits)
    return before
  }

  it('gets it before the one that had it has made three more commits', async () => {
    const waiting = await startWaiting()
    const waits: number[] = []
    for (let round = 1; round <= 10; round++) {
      const { done } = await askAndStop(waiting, round)
      const before = commitMany(waiting, round)
      await delay(10)
      waiting.peer.kill('SIGCONT')
      waits.push(await before)
      await done
    }
    expect(long(waits).length, `of ${waits}`).toBeLessThan(3)
  })

  it('does not keep others from it if it never does', async () => {
    const waiting = await startWaiting()
    const { done } = await askAndStop(waiting, 1)
    expect(await commitMany(waiting, 1)).toBe(200)
    expect(await marks(waiting.place)).toBe(0)
    waiting.peer.kill('SIGCONT')
    await done
    expect(await commitMany(waiting, 1)).toBe(0)
  })
})

/** Enough keys for a turn of their own. */
const LARGE = Array.from({ length: 5000 }, (_, i) => [`key ${i}`, i] as const)

describe('a large commit', () => {
  it('has its turn kept from the call on', async () => {
    const place = await newPlace('lmdb')
    const state = await place.open()
    const engine = place.engine()
    await engine.open()
    // Somebody who has been alone for a while sets no mark for a small one.
    for (let i = 0; i < 20; i++) await state.set('counter', i)
    const small = state.set('counter', 0)
    expect(marksNow(place)).toBe(0)
    await small
    const large = state.setMany(LARGE)
    expect(marksNow(place)).toBe(1)
    await large
    expect(marksNow(place)).toBe(0)
    // Also while another commit has the lock.
    await engine.commit(async () => {
      const asked = state.setMany(LARGE)
      expect(marksNow(place)).toBe(1)
      asked.catch(() => undefined)
    })
    await state.set('counter', 1)
    expect(marksNow(place)).toBe(0)
    await engine.close()
  })
})

describe('among several processes that commit without a pause', () => {
  it('a commit waits for three of each at most', async () => {
    const place = await newPlace('lmdb')
    const state = await place.open()
    await startCounting(startTask, place.path, 'one')
    await startCounting(startTask, place.path, 'two')
    const waits = [...(await waitsOf(state, 'one', 40)), ...(await waitsOf(state, 'two', 40))]
    expect(long(waits).length, `of ${waits}`).toBeLessThan(5)
  })

  it('everybody goes on, in turns, after one was killed that waited', async () => {
    const place = await newPlace('lmdb')
    const state = await place.open()
    const engine = place.engine()
    await engine.open()
    const other = await startCounting(startTask, place.path, 'counter')
    for (let round = 0; round < 3; round++) {
      const victim = await startCounting(startTask, place.path, 'victim')
      await engine.commit(async () => {
        while ((await marks(place)) < 2) await delay(1)
        ;(victim as ChildProcess).kill('SIGKILL')
        await exited(victim)
      })
      const waits = await waitsOf(state, 'counter', 20)
      expect(long(waits).length, `of ${waits}`).toBeLessThan(3)
      expect(await marks(place)).toBeLessThan(2)
    }
    ;(other as ChildProcess).kill('SIGKILL')
    await exited(other)
    for (let i = 0; i < 3; i++) await state.set('last', i)
    expect(await marks(place)).toBe(0)
    await engine.close()
  })

  it('everybody goes on, in turns, after one was killed that held the lock', async () => {
    const place = await newPlace('lmdb')
    const state = await place.open()
    await startCounting(startTask, place.path, 'counter')
    const holder = startTask('holdForever', place.path)
    await once(holder, 'message')
    const held = state.set('held', true)
    while ((await marks(place)) < 2) await delay(1)
    holder.kill('SIGKILL')
    await held
    const waits = await waitsOf(state, 'counter', 20)
    expect(long(waits).length, `of ${waits}`).toBeLessThan(3)
  })
})
