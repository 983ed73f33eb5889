import { closeSync, cpSync, openSync, readSync, writeSync } from 'node:fs'
import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { BOOT } from '../../src/engine/lmdb/boot.ts'
import { NOTE } from '../../src/engine/lmdb/flushed-commit.ts'
import { createPersistence, lmdb, type Persistence, repair } from '../../src/index.ts'
import { runTask, startProcess } from '../support/peers.ts'
import { temporaryFolder } from '../support/stores.ts'
import { dieIn } from '../support/system-death.ts'

async function open(path: string): Promise<Persistence> {
  const state = await createPersistence({ basePath: path })
  onTestFinished(() => state.close())
  return state
}

/** Writes over the note of what is on disk. */
function writeNote(store: string, bytes: Uint8Array): void {
  const descriptor = openSync(join(store, 'data.mdb'), 'r+')
  writeSync(descriptor, bytes, 0, bytes.byteLength, NOTE.position)
  closeSync(descriptor)
}

function readNote(store: string): Buffer {
  const descriptor = openSync(join(store, 'data.mdb'), 'r')
  const bytes = Buffer.alloc(NOTE.length)
  readSync(descriptor, bytes, 0, NOTE.length, NOTE.position)
  closeSync(descriptor)
  return bytes
}

/** Enough for pages of their own. */
const LONG = 'x'.repeat(5000)

describe.skipIf(BOOT === undefined)('a store whose system has died', () => {
  let folder: string
  let store: string
  beforeEach(async () => {
    folder = await temporaryFolder()
    // For those who may only read.
    await chmod(folder, 0o755)
    store = join(folder, 'store')
  })

  /** The files of a store as they are after `flushed` has come to disk, and `later` has not. */
  async function leave(): Promise<string> {
    const state = await open(store)
    await state.save({ flushed: 1, changed: LONG })
    await state.close()
    const again = await open(store)
    await again.setMany([
      ['changed', 'not flushed'],
      ['later', LONG],
    ])
    const left = join(folder, 'left')
    // In the turn of the event loop in which they were acknowledged: no flush has ended since.
    cpSync(store, left, { recursive: true })
    return left
  }

  it('goes back to the newest commit that was on disk, and goes on from there', async () => {
    const left = await leave()
    await dieIn(left)
    const state = await open(left)
    expect(await state.load()).toEqual({ flushed: 1, changed: LONG })
    expect(await state.verify()).toMatchObject({ ok: true })
    for (let i = 0; i < 20; i++) await state.set(`after/${i}`, LONG)
    expect(await state.verify()).toMatchObject({ ok: true })
    await state.close()
    const again = await open(left)
    expect(await again.size()).toBe(22)
    expect(await again.get('changed')).toBe(LONG)
  })

  it('has lost nothing that was written before it was closed, and none that asked to be on disk', async () => {
    const state = await createPersistence({ basePath: store, durability: 'power' })
    onTestFinished(() => state.close())
    await state.set('a', 1)
    await state.set('b', 2)
    const left = join(folder, 'left')
    cpSync(store, left, { recursive: true })
    await dieIn(left)
    expect(await (await open(left)).load()).toEqual({ a: 1, b: 2 })
    await state.close()
    await dieIn(store)
    const again = await open(store)
    await again.set('c', 3)
    await again.close()
    await dieIn(store)
    expect(await (await open(store)).load()).toEqual({ a: 1, b: 2, c: 3 })
  })

  it('has lost nothing where it was a process that died', async () => {
    const left = await leave()
    const state = await open(left)
    expect(await state.load()).toEqual({ flushed: 1, changed: 'not flushed', later: LONG })
    expect(await state.verify()).toMatchObject({ ok: true })
  })

  it('keeps what was written to it since, if it dies again', async () => {
    const left = await leave()
    await dieIn(left)
    const state = await open(left)
    await state.set('since', 1)
    await state.close()
    await dieIn(left)
    expect(await (await open(left)).load()).toEqual({ flushed: 1, changed: LONG, since: 1 })
  })

  it('is opened by several at once', async () => {
    const left = await leave()
    await dieIn(left)
    const peers = await Promise.all(Array.from({ length: 3 }, () => startProcess(left)))
    for (const [i, peer] of peers.entries()) {
      expect(await peer.call('get', 'changed')).toBe(LONG)
      await peer.call('set', `peer/${i}`, LONG)
    }
    const state = await open(left)
    expect(await state.size()).toBe(2 + peers.length)
    expect(await state.verify()).toMatchObject({ ok: true })
  })

  it('is not opened where it would have to be written and cannot be', async () => {
    const left = await leave()
    await dieIn(left)
    for (const name of ['data.mdb', 'lock.mdb', 'TURNS', '']) await chmod(join(left, name), 0o555)
    const refused = { name: 'EngineError', code: 'ENGINE_NOT_WRITABLE' }
    expect(runTask('openUnprivileged', [left])).toMatchObject(refused)
    await chmod(left, 0o755)
    for (const name of ['data.mdb', 'lock.mdb', 'TURNS']) await chmod(join(left, name), 0o644)
    await (await open(left)).close()
    for (const name of ['data.mdb', 'lock.mdb', 'TURNS', '']) await chmod(join(left, name), 0o555)
    expect(runTask('openUnprivileged', [left])).toBe('open')
  })

  it('is left alone while a process has it open, which tells the run of the system otherwise', async () => {
    await (await open(store)).close()
    const note = readNote(store)
    const peer = await startProcess(store)
    await peer.call('set', 'a', 1)
    await peer.call('set', 'b', LONG)
    await delay(200)
    writeNote(store, note)
    await dieIn(store)
    await expect(open(store)).rejects.toThrow(/has it open that tells another/)
    expect(await peer.call('load')).toEqual({ a: 1, b: LONG })
    await peer.call('set', 'c', 3)
    expect(await peer.call('load')).toEqual({ a: 1, b: LONG, c: 3 })
    await peer.end()
    expect(await (await open(store)).load()).toEqual({ a: 1, b: LONG, c: 3 })
  })

  it('is read as it was on disk by what mends stores, before anybody opens it', async () => {
    const left = await leave()
    await dieIn(left)
    const mended = join(folder, 'mended')
    await repair(lmdb(left), lmdb(mended))
    expect(await (await open(mended)).load()).toEqual({ flushed: 1, changed: LONG })
    expect(await (await open(left)).load()).toEqual({ flushed: 1, changed: LONG })
  })

  it('is refused, and can be mended, where what tells of the commit on disk is damaged', async () => {
    const left = await leave()
    const note = readNote(left)
    note[60] = (note[60] as number) ^ 1
    writeNote(left, note)
    await expect(open(left)).rejects.toMatchObject({ code: 'ENGINE_DAMAGED' })
    const mended = join(folder, 'mended')
    await repair(lmdb(left), lmdb(mended))
    expect(await (await open(mended)).load()).toMatchObject({ flushed: 1, changed: 'not flushed' })
  })

  it('tells of that damage while it is open, until the next change comes to disk', async () => {
    const state = await open(store)
    await state.set('a', 1)
    // Closed by others, so that no note follows of itself.
    await delay(300)
    const note = readNote(store)
    note[60] = (note[60] as number) ^ 1
    writeNote(store, note)
    const { ok, problems } = await state.verify()
    expect(ok).toBe(false)
    expect(JSON.stringify(problems)).toContain('page 0')
    await state.set('a', 2)
    await state.close()
    const again = await open(store)
    expect(await again.verify()).toMatchObject({ ok: true })
    expect(await again.load()).toEqual({ a: 2 })
  })

  it('of an older version, which has noted nothing, is opened and noted', async () => {
    const state = await open(store)
    await state.set('a', 1)
    await state.close()
    writeNote(store, Buffer.alloc(NOTE.length))
    const again = await open(store)
    expect(await again.load()).toEqual({ a: 1 })
    expect(await again.verify()).toMatchObject({ ok: true })
    expect(readNote(store).equals(Buffer.alloc(NOTE.length))).toBe(false)
  })
})
