import {
  brotliCompressSync,
  brotliDecompressSync,
  constants,
  deflateRawSync,
  inflateRawSync,
} from 'node:zlib'
import { DataIntegrityError } from '../core/errors.ts'

/**
 * How bytes are compressed. The numbers are written to disk and never change their meaning.
 *
 * - `stored`: not at all
 * - `brotli`: RFC 7932. On JSON a tenth smaller than deflate, and inflated about as fast.
 * - `deflate`: RFC 1951, with a dictionary both sides have, which Node's Brotli does not offer
 */
export const COMPRESSION = { stored: 0, brotli: 1, deflate: 2 } as const

/** One of the numbers of {@link COMPRESSION}. */
type Compression = (typeof COMPRESSION)[keyof typeof COMPRESSION]

/** Compressed bytes, and how they were compressed. */
export interface Compressed {
  readonly compression: Compression
  readonly bytes: Uint8Array
}

/** The longest dictionary that is used. Deflate could look back farther, but takes longer to read it than to compress. */
export const MAX_DICTIONARY_BYTES = 8_192

/** Fewer bytes than this save too few to be worth an inflation at each read. */
export const MIN_COMPRESSIBLE = 96
/** The dictionary's head start wears off: from this length on Brotli is tried as well. */
const TRY_BROTLI_FROM = 512
/** And from this one, Brotli only. */
const BROTLI_ONLY_FROM = 4_096
/** Symbols of {@link BROTLI_ONLY_FROM} bytes fit into what zlib gathers at this level. */
const DEFLATE_MEMORY_LEVEL = 6
const DEFLATE_LOOKAHEAD = 262
const MIN_DEFLATE_WINDOW_BITS = 9
/** Brotli at 6 is the best of the fast levels; at 9 it takes four times as long for 1 % less. */
const BROTLI_QUALITY = 6
/** For more bytes than this, a level faster by a third. */
const HUGE = 1 << 24
const BROTLI_QUALITY_HUGE = 5
/** Output is taken in pieces of at most this size, so a false declared length takes no memory by itself. */
const MAX_CHUNK = 1 << 22

/** Compresses `bytes`, or leaves them as they are where that would not make them shorter. */
export function compressBytes(bytes: Uint8Array, dictionary?: Uint8Array): Compressed {
  const stored: Compressed = { compression: COMPRESSION.stored, bytes }
  if (bytes.length < MIN_COMPRESSIBLE) return stored
  let best = stored
  if (dictionary !== undefined && bytes.length < BROTLI_ONLY_FROM) {
    const deflated = deflateWith(dictionary, bytes)
    if (deflated.length < best.bytes.length) best = { compression: COMPRESSION.deflate, bytes: deflated }
    if (bytes.length < TRY_BROTLI_FROM) return best
  }
  const brotli = compressBrotli(bytes)
  return brotli.length < best.bytes.length ? { compression: COMPRESSION.brotli, bytes: brotli } : best
}

/**
 * The inverse of {@link compressBytes}.
 *
 * @param length How many bytes must come out. No more than that is ever produced.
 * @throws {DataIntegrityError} when `bytes` are not the compressed form of exactly `length` bytes.
 */
export function decompressBytes(
  compression: number,
  bytes: Uint8Array,
  length: number,
  dictionary?: Uint8Array,
): Uint8Array {
  let inflated: Uint8Array
  try {
    inflated = inflate(compression, bytes, length, dictionary)
  } catch (error) {
    throw new DataIntegrityError(
      'Compressed data cannot be decompressed; the record that holds it is damaged.',
      {
        cause: error,
      },
    )
  }
  if (inflated.length !== length) {
    throw new DataIntegrityError(
      `Compressed data should hold ${length} bytes, but holds ${inflated.length}; its record is damaged.`,
    )
  }
  return inflated
}

function inflate(
  compression: number,
  bytes: Uint8Array,
  length: number,
  dictionary?: Uint8Array,
): Uint8Array {
  // One byte of room to spare lets zlib see the end of the stream without asking for another buffer.
  const options = { chunkSize: Math.min(MAX_CHUNK, Math.max(64, length + 1)), maxOutputLength: length + 1 }
  switch (compression) {
    case COMPRESSION.stored:
      return bytes
    case COMPRESSION.brotli:
      return brotliDecompressSync(bytes, options)
    case COMPRESSION.deflate:
      return inflateRawSync(bytes, dictionary === undefined ? options : { ...options, dictionary })
    default:
      throw new RangeError(`compression ${compression} is not known`)
  }
}

/**
 * A window no larger than what it has to span, and tables for so few bytes: setting up zlib for its longest window takes
 * longer than to compress a hundred bytes.
 */
function deflateWith(dictionary: Uint8Array, bytes: Uint8Array): Uint8Array {
  // zlib refers back by no more than its window less this.
  const spanned = dictionary.length + bytes.length + DEFLATE_LOOKAHEAD
  return deflateRawSync(bytes, {
    level: 9,
    memLevel: DEFLATE_MEMORY_LEVEL,
    windowBits: Math.min(
      constants.Z_MAX_WINDOWBITS,
      Math.max(MIN_DEFLATE_WINDOW_BITS, 32 - Math.clz32(spanned - 1)),
    ),
    chunkSize: Math.max(64, bytes.length),
    dictionary,
  })
}

function compressBrotli(bytes: Uint8Array): Uint8Array {
  return brotliCompressSync(bytes, {
    // What comes out longer is not used: without this, each call took 16 KiB that nobody gave back before the next collection.
    chunkSize: Math.min(MAX_CHUNK, Math.max(64, bytes.length)),
    params: {
      [constants.BROTLI_PARAM_QUALITY]: bytes.length > HUGE ? BROTLI_QUALITY_HUGE : BROTLI_QUALITY,
      [constants.BROTLI_PARAM_LGWIN]: windowBits(bytes.length),
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  })
}

/** The smallest window that spans all of the input. */
function windowBits(length: number): number {
  const needed = 32 - Math.clz32(length + 16)
  return Math.min(constants.BROTLI_MAX_WINDOW_BITS, Math.max(constants.BROTLI_MIN_WINDOW_BITS, needed))
}
