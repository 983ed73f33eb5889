import type { DriverClient, DriverQuery, DriverResult, PostgresPool } from './driver.ts'
import type { Statement } from './statements.ts'

/** The columns of a row, as text. */
export type TextRow = readonly string[]

/** What a connection says of itself outside of a transaction. */
const IDLE = 'I'

const AS_TEXT = { getTypeParser: () => (text: string) => text }

/** Clients that this module has set up. */
const prepared = new WeakSet<DriverClient>()

/**
 * A connection that somebody uses, and gives back.
 *
 * What is asked for goes out at once, without waiting for the answers of what was asked before; they come in the same order.
 */
export class Session {
  readonly #client: DriverClient
  readonly #release: (session: Session) => void
  readonly #onError = (error: unknown): void => {
    this.#failure ??= error
  }
  #failure: unknown
  #last: Promise<unknown> = Promise.resolve()
  #ended = false

  private constructor(client: DriverClient, release: (session: Session) => void) {
    this.#client = client
    this.#release = release
    // A connection that breaks says so by an event as well, which must not go unheard.
    client.on('error', this.#onError)
    if (prepared.has(client)) return
    prepared.add(client)
    // Bytes are read in this form, whatever the server's default is.
    this.command("SET bytea_output TO 'hex'").catch(() => undefined)
  }

  static async open(
    pool: PostgresPool,
    release: (session: Session) => void = () => undefined,
  ): Promise<Session> {
    for (;;) {
      const client = await pool.connect()
      const status = client.getTransactionStatus?.() ?? IDLE
      if (status === IDLE) return new Session(client, release)
      // Whoever used it before left a transaction open. Nothing of it shall be committed here, and nothing read in it.
      client.release(true)
    }
  }

  /** The first error of the server or the connection: after it the transaction cannot be committed. */
  get failure(): unknown {
    return this.#failure
  }

  /** Runs a prepared statement. */
  async run(statement: Statement, values: unknown[]): Promise<readonly TextRow[]> {
    const { rows } = await this.#send({ ...statement, values })
    return rows as TextRow[]
  }

  /** Runs statements that take no values. Resolves to the name of the command, where it is one. */
  async command(text: string): Promise<string> {
    return (await this.#send({ text })).command
  }

  onNotification(listener: (message: { channel: string; payload?: string }) => void): void {
    this.#client.on('notification', listener as (...args: unknown[]) => void)
  }

  onEnd(listener: () => void): void {
    this.#client.on('error', listener)
    this.#client.on('end', listener)
  }

  /** Ends the transaction without waiting, and gives the connection back once that is done. */
  finish(): void {
    this.command('ROLLBACK').then(
      () => this.release(),
      () => this.release(),
    )
  }

  /** Gives the connection back; one that has failed, or is in the middle of something (`destroy`), is closed. */
  release(destroy = false): void {
    if (this.#ended) return
    this.#ended = true
    this.#client.removeListener('error', this.#onError)
    // What the socket still says after this is of no interest, but must not go unheard either.
    if (destroy || this.#failure !== undefined) this.#client.on('error', () => undefined)
    this.#client.release(destroy || this.#failure !== undefined)
    this.#release(this)
  }

  #send(query: Omit<DriverQuery, 'rowMode' | 'types'>): Promise<DriverResult> {
    const send = (): Promise<DriverResult> =>
      this.#client.query({ ...query, rowMode: 'array', types: AS_TEXT } as never) as Promise<DriverResult>
    const result = this.#client.pipeline === true ? send() : this.#last.then(send, send)
    this.#last = result.catch(this.#onError)
    return result
  }
}
