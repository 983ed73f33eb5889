import type { PostgresPool } from './driver.ts'
import { isReadOnly } from './errors.ts'
import { Session } from './session.ts'
import { quoteIdentifier } from './statements.ts'

/** How often listeners are told to look for themselves: while notices arrive, and while they cannot. In milliseconds. */
const CALM_INTERVAL = 2_000
const ANXIOUS_INTERVAL = 100
/** Between attempts to listen again, in milliseconds. */
const RECONNECT_INTERVAL = 500

/** Tells of commits, by notices of the server; where none can arrive, by the clock. */
export class CommitListener {
  readonly #pool: PostgresPool
  readonly #channel: string
  readonly #writer: string
  readonly #listeners = new Set<() => void>()
  #session: Session | undefined
  #opening = false
  #poll: NodeJS.Timeout | undefined
  #reconnect: NodeJS.Timeout | undefined

  /** `writer` is what the notices of this engine say, of whose commits its users know. */
  constructor(pool: PostgresPool, channel: string, writer: string) {
    this.#pool = pool
    this.#channel = channel
    this.#writer = writer
  }

  subscribe(listener: () => void): () => void {
    // Each subscription is one of its own, also of the same function.
    const own = (): void => listener()
    this.#listeners.add(own)
    if (this.#listeners.size === 1) this.#listen()
    return () => {
      if (this.#listeners.delete(own) && this.#listeners.size === 0) this.close()
    }
  }

  close(): void {
    this.#listeners.clear()
    clearInterval(this.#poll)
    clearTimeout(this.#reconnect)
    this.#reconnect = undefined
    this.#session?.release(true)
    this.#session = undefined
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener()
  }

  #every(interval: number): void {
    clearInterval(this.#poll)
    this.#poll = setInterval(() => this.#tell(), interval)
  }

  async #listen(): Promise<void> {
    this.#every(ANXIOUS_INTERVAL)
    if (this.#opening) return
    this.#opening = true
    let session: Session | undefined
    try {
      session = await Session.open(this.#pool)
      session.onNotification(({ channel, payload }) => {
        if (channel === this.#channel && payload !== this.#writer) this.#tell()
      })
      await session.command(`LISTEN ${quoteIdentifier(this.#channel)}`)
      if (this.#listeners.size === 0) {
        session.release(true)
        return
      }
      this.#session = session
      const listening = session
      session.onEnd(() => {
        // One that was let go says so as well, perhaps when there is another.
        if (this.#session === listening) this.#lost()
      })
      this.#every(CALM_INTERVAL)
      // What was committed before the server listened went unheard.
      this.#tell()
    } catch (error) {
      session?.release(true)
      // A standby never lets anybody listen; the clock has to do.
      if (isReadOnly(error)) return
      this.#lost()
    } finally {
      this.#opening = false
    }
  }

  #lost(): void {
    this.#session?.release(true)
    this.#session = undefined
    if (this.#listeners.size === 0) return
    this.#every(ANXIOUS_INTERVAL)
    this.#reconnect ??= setTimeout(() => {
      this.#reconnect = undefined
      if (this.#listeners.size > 0) this.#listen()
    }, RECONNECT_INTERVAL)
  }
}
