import { copyBytes, EMPTY_BYTES } from '../../core/bytes.ts'
import type { Lmdb } from './binding.ts'

/*
 * What lmdb-js's writing thread is to do, in the form in which it reads it: `DoWrites` in writer.cpp of lmdb-js.
 *
 * An instruction begins at a multiple of eight bytes with a word of flags; a word of 0 says that there is none yet. The
 * thread goes through them while more are written behind: so an instruction is shown to it by its flags, last of all, and
 * the word behind it is 0 by then. With some that wait to be shown it is enough to hold back the flags of the first.
 *
 * The thread reads memory that JavaScript owns. So everything is copied into memory of ours, keys and values alike, which
 * nobody else knows, and which is neither let go of nor used again before the thread has ended: see `release`.
 */

const START_BLOCK = 1
const END_BLOCK = 2
/** Followed by the address at which the next instruction is. */
const GO_TO = 3
/** Calls this thread, once there are no more instructions: the thread then looks for more by itself, even if it is not woken. */
const CALL = 8
const REMOVE = 13
const PUT = 15

/** The thread sets it in the word at which it waits. */
const WAITING = 0x200_0000
const WORD = Uint32Array.BYTES_PER_ELEMENT
/** Before the first instruction: the thread writes to the word before the one that it ends at. */
const FIRST_WORD = 2
/** Where the instruction is that calls this thread. */
const CALL_WORD = FIRST_WORD + 2
/** Flags, table, length of the key; what aligns the value; its address. */
const MAX_HEADER_BYTES = 12 + 16 + 8
/** Room for what ends a piece of memory: an address to go to, or the end of the block and a word of 0 behind it. */
const TAIL_BYTES = 24
const CHUNK_BYTES = 256 * 1024
/** So much memory is kept for the next transaction. */
const MAX_KEPT_CHUNKS = 16
/** Longer values have memory of their own. */
const MAX_INLINE_BYTES = 16 * 1024
/** The thread is shown so many instructions at a time, or of so many bytes of values. */
const SHOWN_AT_A_TIME = 256
const SHOWN_BYTES = 256 * 1024

/** A piece of memory that both threads use, and the address that the other one knows it by. */
interface Chunk {
  readonly bytes: Buffer
  readonly words: Uint32Array
  readonly doubles: Float64Array
  readonly address: number
}

/** Memory for the instructions of one transaction after the other. */
export class InstructionMemory {
  readonly native: Lmdb['nativeAddon']
  readonly #kept: Chunk[] = []

  constructor({ nativeAddon }: Lmdb) {
    this.native = nativeAddon
  }

  take(): Chunk {
    const kept = this.#kept.pop()
    if (kept !== undefined) return kept
    const memory = new ArrayBuffer(CHUNK_BYTES)
    const bytes = Buffer.from(memory)
    return {
      bytes,
      words: new Uint32Array(memory),
      doubles: new Float64Array(memory),
      address: this.native.getBufferAddress(bytes),
    }
  }

  giveBack(chunks: readonly Chunk[]): void {
    for (const chunk of chunks) if (this.#kept.length < MAX_KEPT_CHUNKS) this.#kept.push(chunk)
  }
}

/** The instructions of one transaction: a block, which the thread does not leave before it is ended. */
export class Instructions {
  /** Where the thread begins. */
  readonly start: number
  readonly #memory: InstructionMemory
  readonly #env: number
  readonly #chunks: Chunk[] = []
  /** Of long values. */
  readonly #values: Buffer[] = []
  #chunk: Chunk
  /** The word of the chunk at which the next instruction begins. */
  #at = FIRST_WORD
  /** Values are written from the end of the chunk to the front: to here. */
  #valuesAt = CHUNK_BYTES
  /** The first instruction that has not been shown: where its flags are to stand, and what they are. */
  #hiddenIn: Chunk | undefined
  #hiddenAt = 0
  #hiddenFlags = 0
  #hiddenValuesAt = 0
  #hidden = 0
  #hiddenBytes = 0
  /** Whether the thread has been shown anything to write. */
  #hasShown = false
  #hasEnded = false

  /** @param env the address of the environment */
  constructor(memory: InstructionMemory, env: number) {
    this.#memory = memory
    this.#env = env
    this.#chunk = this.#take()
    this.start = this.#chunk.address + FIRST_WORD * WORD
    this.#bare(START_BLOCK)
    this.#bare(CALL)
    this.#show()
  }

  /** @param table the number of the table */
  put(table: number, key: Uint8Array, value: Uint8Array): void {
    if (this.#hasEnded) return
    const { length } = value
    this.#withKey(PUT, table, key, length > MAX_INLINE_BYTES ? 0 : length)
    const { words, doubles } = this.#chunk
    words[this.#at - 1] = length
    doubles[this.#at >> 1] = length > MAX_INLINE_BYTES ? this.#keepApart(value) : this.#keep(value)
    this.#step(this.#at + 2)
    this.#hiddenBytes += length
    this.#written()
  }

  remove(table: number, key: Uint8Array): void {
    if (this.#hasEnded) return
    this.#withKey(REMOVE, table, key, 0)
    this.#step(this.#at)
    this.#written()
  }

  /** Ends the transaction, once the thread has done all of this. Answers `false` if it has been ended before. */
  end(): boolean {
    if (this.#hasEnded) return false
    this.#hasEnded = true
    this.#bare(END_BLOCK)
    this.#show()
    // It may have begun to wait in the very moment in which it was woken, and would see this only after a while.
    this.#wake()
    return true
  }

  /** Ends the transaction, which comes to nothing. */
  abandon(): void {
    if (this.#hasEnded) return
    if (this.#hiddenIn !== undefined) {
      this.#chunk = this.#hiddenIn
      this.#at = this.#hiddenAt
      this.#valuesAt = this.#hiddenValuesAt
      this.#hiddenIn = undefined
    }
    if (this.#hasShown) {
      // lmdb-js does not commit after a write that has failed: the table 0 is none to write to.
      this.#withKey(REMOVE, 0, EMPTY_BYTES, 0)
      this.#step(this.#at)
    }
    this.end()
  }

  /** Takes back that this thread is to be called: the transaction ends then. It is too late where the call is under way. */
  callOff(): void {
    this.#hasEnded = true
    const [{ words }] = this.#chunks as [Chunk]
    Atomics.compareExchange(words, CALL_WORD, CALL, END_BLOCK)
  }

  /** Lets go of the memory. To be called once the thread is done. */
  release(): void {
    this.#memory.giveBack(this.#chunks.splice(0))
    this.#values.length = 0
  }

  #take(): Chunk {
    const chunk = this.#memory.take()
    this.#chunks.push(chunk)
    chunk.words[FIRST_WORD] = 0
    return chunk
  }

  #written(): void {
    if (++this.#hidden < SHOWN_AT_A_TIME && this.#hiddenBytes < SHOWN_BYTES) return
    this.#hasShown = true
    this.#show()
  }

  /** The flags of an instruction, which are written last if it is the first of those that have not been shown. */
  #flag(flags: number): void {
    if (this.#hiddenIn !== undefined) {
      this.#chunk.words[this.#at] = flags
      return
    }
    this.#hiddenIn = this.#chunk
    this.#hiddenAt = this.#at
    this.#hiddenFlags = flags
    this.#hiddenValuesAt = this.#valuesAt
  }

  /** Goes on at a word, where there is no instruction yet. */
  #step(next: number): void {
    this.#chunk.words[next] = 0
    this.#at = next
  }

  #bare(flags: number): void {
    this.#flag(flags)
    this.#step(this.#at + 2)
  }

  /**
   * Writes an instruction as far as its key; the next word is where its value is to stand, if it has one.
   *
   * @param room so much is to be there for its value
   */
  #withKey(flags: number, table: number, key: Uint8Array, room: number): void {
    const { length } = key
    if (this.#at * WORD + MAX_HEADER_BYTES + length + TAIL_BYTES + room > this.#valuesAt) this.#goOn()
    this.#flag(flags)
    const { bytes, words } = this.#chunk
    words[this.#at + 1] = table
    words[this.#at + 2] = length
    const start = (this.#at + 3) * WORD
    copyBytes(key, 0, length, bytes, start)
    this.#at = ((start + length + 16) >> 3) << 1
  }

  /** Goes on in another piece of memory: there is always room for that. */
  #goOn(): void {
    this.#flag(GO_TO)
    const { doubles } = this.#chunk
    const at = this.#at
    const next = this.#take()
    doubles[(at >> 1) + 1] = next.address + FIRST_WORD * WORD
    this.#chunk = next
    this.#at = FIRST_WORD
    this.#valuesAt = CHUNK_BYTES
  }

  #show(): void {
    if (this.#hiddenIn === undefined) return
    const before = Atomics.or(this.#hiddenIn.words, this.#hiddenAt, this.#hiddenFlags)
    this.#hiddenIn = undefined
    this.#hidden = 0
    this.#hiddenBytes = 0
    if ((before & WAITING) !== 0) this.#wake()
  }

  #wake(): void {
    // Without an instruction, this wakes the thread.
    this.#memory.native.write(this.#env, 0)
  }

  /** Copies a value, and answers where it is. */
  #keep(value: Uint8Array): number {
    this.#valuesAt -= value.length
    copyBytes(value, 0, value.length, this.#chunk.bytes, this.#valuesAt)
    return this.#chunk.address + this.#valuesAt
  }

  #keepApart(value: Uint8Array): number {
    const bytes = Buffer.allocUnsafeSlow(value.length)
    bytes.set(value)
    this.#values.push(bytes)
    return this.#memory.native.getBufferAddress(bytes)
  }
}
