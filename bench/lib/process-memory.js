// @ts-check
import { readFileSync } from 'node:fs'

/**
 * Resident memory of a process, in bytes.
 *
 * @typedef {object} ResidentMemory
 * @property {number} highWater the most that was ever resident, mapped files included (`VmHWM`)
 * @property {number} anonymous heap, buffers and stacks (`RssAnon`)
 * @property {number} file pages of mapped files (`RssFile`); the kernel may drop them at any time
 */

/**
 * The resident memory of a process, as Linux tells it; `undefined` elsewhere, and for a process that has ended.
 *
 * @param {number | 'self'} pid
 * @returns {ResidentMemory | undefined}
 */
export function residentMemory(pid) {
  let status
  try {
    status = readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return undefined
  }
  /** @param {string} field */
  const bytesOf = field => {
    const kibibytes = new RegExp(`^${field}:\\s*(\\d+) kB$`, 'm').exec(status)?.[1]
    return kibibytes === undefined ? undefined : Number(kibibytes) * 1024
  }
  const highWater = bytesOf('VmHWM')
  const anonymous = bytesOf('RssAnon')
  const file = bytesOf('RssFile')
  // A process that is ending has no memory any more.
  if (highWater === undefined || anonymous === undefined || file === undefined) return undefined
  return { highWater, anonymous, file }
}
