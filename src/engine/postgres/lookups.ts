import type { PostgresPool } from './driver.ts'
import { Session, type TextRow } from './session.ts'
import type { Statement } from './statements.ts'

/** A connection that nobody has asked anything for so long is given back. In milliseconds. */
const IDLE_TIMEOUT = 1_000

/**
 * One connection for all lookups: what is asked for at the same time shares it, and a single lookup need not wait for the
 * pool. It is taken when it is needed, and given back soon after.
 */
export class Lookups {
  readonly #pool: PostgresPool
  #opening: Promise<Session> | undefined
  #session: Session | undefined
  #underWay = 0
  #used = false
  #timer: NodeJS.Timeout | undefined

  constructor(pool: PostgresPool) {
    this.#pool = pool
  }

  /** Runs a statement by itself. Rejects with the error of the driver; the next call takes another connection. */
  async run(statement: Statement, values: unknown[]): Promise<readonly TextRow[]> {
    this.#used = true
    this.#underWay++
    try {
      const session = this.#session ?? (await this.#open())
      try {
        return await session.run(statement, values)
      } catch (error) {
        this.#drop(session)
        throw error
      }
    } finally {
      this.#underWay--
    }
  }

  /** Gives the connection back. */
  close(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    const opening = this.#opening
    this.#opening = undefined
    this.#session = undefined
    void opening?.then(
      session => session.release(),
      () => undefined,
    )
  }

  #open(): Promise<Session> {
    if (this.#opening !== undefined) return this.#opening
    const opening = Session.open(this.#pool)
    this.#opening = opening
    opening.then(
      session => {
        if (this.#opening === opening) this.#session = session
      },
      () => {
        if (this.#opening === opening) this.#opening = undefined
      },
    )
    this.#timer ??= setInterval(() => {
      if (this.#underWay === 0 && !this.#used) this.close()
      this.#used = false
    }, IDLE_TIMEOUT)
    this.#timer.unref()
    return opening
  }

  #drop(session: Session): void {
    session.release(true)
    if (this.#session !== session) return
    this.#session = undefined
    this.#opening = undefined
  }
}
