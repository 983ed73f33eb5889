// @ts-check
import { fork } from 'node:child_process'
import { once } from 'node:events'

/**
 * What is sent to a process of the program `serve-side.js`, and what it answers.
 *
 * @typedef {{ id: number, name: string, args: readonly unknown[] }} Call
 * @typedef {{ id: number, result?: any, error?: string }} Answer
 */

/** A process of its own for one side of a comparison, so that neither sees the other's heap, caches and compiled code. */
export class Side {
  #child
  #calls = 0
  /** @type {Map<number, { resolve: (result: any) => void, reject: (error: Error) => void }>} */
  #waiting = new Map()

  /**
   * @param {string} module a file of the folder `sides/`: its exported functions can be called
   * @param {readonly string[]} [execArgv] for Node.js
   */
  constructor(module, execArgv = []) {
    const url = new URL(`../sides/${module}`, import.meta.url)
    this.#child = fork(new URL('serve-side.js', import.meta.url), [url.href], {
      execArgv: [...execArgv],
      serialization: 'advanced',
    })
    this.#child.on('message', message => {
      const { id, result, error } = /** @type {Answer} */ (message)
      const call = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (error === undefined) call?.resolve(result)
      else call?.reject(new Error(`${module}: ${error}`))
    })
    this.#child.on('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`${module} ended with ${signal ?? code}`))
      this.#waiting.clear()
    })
  }

  get pid() {
    return /** @type {number} */ (this.#child.pid)
  }

  /**
   * Calls a function of the module, there.
   *
   * @param {string} name
   * @param {...unknown} args
   * @returns {Promise<any>}
   */
  call(name, ...args) {
    const id = this.#calls++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#child.send(/** @type {Call} */ ({ id, name, args }))
    })
  }

  /** Ends the process, once what was called has been answered. */
  async end() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.disconnect()
    await ended
  }
}
