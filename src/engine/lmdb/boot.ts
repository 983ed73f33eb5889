import { readFileSync } from 'node:fs'
import { KNOWS_PAGES } from './page.ts'

/** How many bytes name a run of the system. */
export const BOOT_BYTES = 16

/**
 * The run of the system that this process is part of, by the number that Linux draws as it starts; `undefined` where that
 * cannot be told, or not be noted in a data file. Where it is known, commits are made current before they are flushed.
 *
 * What a process has written outlives it, but not the system's own death: so whether what was not flushed can be relied on is
 * the question whether the system is still the one that took it.
 */
export const BOOT: Uint8Array | undefined = readBoot()

function readBoot(): Uint8Array | undefined {
  if (!KNOWS_PAGES || process.platform !== 'linux') return undefined
  try {
    const name = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').replaceAll('-', '')
    const boot = Buffer.from(name.trim(), 'hex')
    return boot.byteLength === BOOT_BYTES ? boot : undefined
  } catch {
    // /proc is not mounted.
    return undefined
  }
}
