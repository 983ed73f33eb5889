import { setTimeout as delay } from 'node:timers/promises'
import { createGunzip, createGzip, gunzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { throughZlib } from '../../src/transfer/zlib-stream.ts'
import { byteStream, rejection } from '../support/byte-streams.ts'

async function concat(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

it('gives all that the stream makes of the chunks', async () => {
  const packed = await concat(throughZlib(byteStream('one two three', [3, 4]), createGzip()))
  expect(gunzipSync(packed).toString()).toBe('one two three')
  const unpacked = await concat(throughZlib(byteStream(packed, [5, 11]), createGunzip()))
  expect(unpacked.toString()).toBe('one two three')
})

it('has ended its source when the reading has ended, however that takes', async () => {
  let ended = false
  async function* slowToEnd() {
    try {
      for (;;) yield new Uint8Array(100_000)
    } finally {
      await delay(50)
      ended = true
    }
  }
  for await (const _ of throughZlib(slowToEnd(), createGzip())) break
  expect(ended).toBe(true)
})

it('throws the errors of both sides as they are', async () => {
  const failure = new Error('no more')
  async function* failing() {
    yield new Uint8Array(100_000)
    throw failure
  }
  expect(await rejection(concat(throughZlib(failing(), createGzip())))).toBe(failure)
  const damaged = concat(throughZlib(byteStream('not gzip'), createGunzip()))
  expect(await rejection(damaged)).toMatchObject({ code: 'Z_DATA_ERROR' })
})
