import { crc32 } from 'node:zlib'
import { DataIntegrityError } from '../core/errors.ts'
import type { Engine, View } from '../engine/engine.ts'
import { readAgainIfLost } from '../engine/view-lost.ts'
import { withView } from '../engine/with-view.ts'

/**
 * The one record that every commit reads and rewrites: where the store stands.
 *
 * It lives in the table `meta` under {@link HEAD_KEY}. Whatever a commit decides (which superseded record must be
 * preserved, which epoch a write belongs to), it decides from the head it read under the write exclusion.
 */
export interface Head {
  /** The open epoch: writes are born in it, and readers see births up to it. Starts at 1. */
  readonly epoch: number
  /** The number of the last commit in the log. Starts at 0, for none. */
  readonly sequence: number
  /** Keys in the current state. */
  readonly size: number
  /** The number that the next snapshot will carry in its name: `v1`, `v2`, … */
  readonly nextVersion: number
  /** The epoch that the newest existing snapshot seals; 0 without snapshots. */
  readonly latestSnapshot: number
  /** The log up to this sequence has been folded into `changes`; entries up to it may be trimmed. */
  readonly folded: number
  /** Log entries below this sequence are gone. */
  readonly logStart: number
  /** 1 while a large commit is being rolled forward (see `bulk-commit.ts`), else 0. */
  readonly pending: number
}

export const HEAD_KEY: Uint8Array = Buffer.from('head')

/** Where a new store stands. */
const NEW_HEAD: Head = {
  epoch: 1,
  sequence: 0,
  size: 0,
  nextVersion: 1,
  latestSnapshot: 0,
  folded: 0,
  logStart: 1,
  pending: 0,
}

const FIELDS = [
  'epoch',
  'sequence',
  'size',
  'nextVersion',
  'latestSnapshot',
  'folded',
  'logStart',
  'pending',
] as const
const LENGTH = FIELDS.length * 8

export function encodeHead(head: Head): Uint8Array {
  const bytes = Buffer.allocUnsafe(LENGTH + 4)
  for (let i = 0; i < FIELDS.length; i++) bytes.writeDoubleLE(head[FIELDS[i] as keyof Head], i * 8)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, LENGTH)), LENGTH)
  return bytes
}

/** The head as stored, or that of a new store where there is none yet. */
export function decodeHead(stored: Uint8Array | undefined): Head {
  if (stored === undefined) return NEW_HEAD
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength)
  if (bytes.length !== LENGTH + 4 || bytes.readUInt32LE(LENGTH) !== crc32(bytes.subarray(0, LENGTH))) {
    throw new DataIntegrityError(
      'The head record of the store does not match its checksum: the store is damaged.',
    )
  }
  return {
    epoch: bytes.readDoubleLE(0),
    sequence: bytes.readDoubleLE(8),
    size: bytes.readDoubleLE(16),
    nextVersion: bytes.readDoubleLE(24),
    latestSnapshot: bytes.readDoubleLE(32),
    folded: bytes.readDoubleLE(40),
    logStart: bytes.readDoubleLE(48),
    pending: bytes.readDoubleLE(56),
  }
}

/** {@link withView}, with the head that the view shows. If the view is lost, `read` begins again in another one. */
export function withHead<T>(engine: Engine, read: (view: View, head: Head) => Promise<T>): Promise<T> {
  return readAgainIfLost(() =>
    withView(engine, async view => read(view, decodeHead(await view.get('meta', HEAD_KEY)))),
  )
}
