import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { mkdtemp, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** A file system of its own, which is soon full. */
export interface SmallDisk {
  readonly path: string
  /** Fills it, but for so many bytes. */
  fill(room?: number): Promise<void>
  /** Gives back what {@link SmallDisk.fill} took. */
  free(): Promise<void>
}

/** Why no file system can be mounted here, if none can. */
export function whyNoSmallDisk(): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'varve-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], { stdio: 'pipe' })
    execFileSync('umount', [folder], { stdio: 'pipe' })
    return undefined
  } catch (error) {
    return `this process may not mount a file system: ${(error as Error).message.split('\n').at(-1)}`
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Mounts a file system of so many bytes. It is gone when the test ends; close what is open there before. */
export async function mountSmallDisk(bytes: number): Promise<SmallDisk> {
  const path = await mkdtemp(join(tmpdir(), 'varve-disk-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path])
  onTestFinished(async () => {
    execFileSync('umount', ['--lazy', path])
    await rm(path, { recursive: true })
  })
  const ballast = join(path, 'ballast')
  const free = (): Promise<void> => rm(ballast, { force: true })
  return {
    path,
    free,
    async fill(room = 0) {
      await free()
      const { bavail, bsize } = await statfs(path)
      await writeFile(ballast, Buffer.alloc(Math.max(0, bavail * bsize - room))).catch(error => {
        // What is open may have taken some of it meanwhile: then it is full.
        if (error.code !== 'ENOSPC') throw error
      })
    },
  }
}
