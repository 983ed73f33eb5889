/** Uses a store in a process of its own, which the test may limit in what it may do, and says what became of it. */
import { randomBytes } from 'node:crypto'
import { chmod, rename } from 'node:fs/promises'
import { createPersistence } from '../../src/index.ts'

const [task, path] = process.argv.slice(2) as [string, string]

const outcomes: unknown[] = []

/** Notes what a call comes to: what it answers, or the code of its error. */
async function note<T>(call: () => Promise<T>): Promise<void> {
  outcomes.push(
    await call().then(
      value => value ?? null,
      ({ code }: { code?: string }) => code ?? 'no code',
    ),
  )
}

const tasks: Readonly<Record<string, () => Promise<void>>> = {
  /** Puts more into a store than the first map of LMDB takes. */
  async outgrow() {
    await using state = await createPersistence({ basePath: path })
    for (let i = 0; i < 40; i++) await state.set(`large/${i}`, randomBytes(1_000_000))
    await note(() => state.size())
    await note(async () => ((await state.get('large/39')) as Buffer).length)
    await note(async () => (await state.verify()).ok)
  },

  /** Loses the right to write to the folder of a store that it has open, and gets it back. */
  async losePermission() {
    const user = 65_534
    process.setuid?.(user)
    await using state = await createPersistence({ basePath: path })
    await state.set('a', 1)
    await chmod(path, 0o500)
    // What is open can be written; new files cannot be made.
    await note(() => state.set('a', 2))
    await note(() => state.compact())
    await note(() => state.get('a'))
    await note(async () => {
      await using other = await createPersistence({ basePath: path })
      return other.get('a')
    })
    await chmod(path, 0o700)
    await note(() => state.compact().then(() => 'compacted'))
    await note(() => state.set('a', 3))
    await note(() => state.get('a'))
    await note(async () => (await state.verify()).ok)
  },

  /** Finds that its folder is not there any more, and then that it is. */
  async loseFolder() {
    await using state = await createPersistence({ basePath: path })
    await state.set('a', 1)
    await rename(path, `${path} elsewhere`)
    await new Promise(resolve => setTimeout(resolve, 20))
    await note(() => state.set('a', 2))
    await note(() => state.get('a'))
    await note(() => state.createSnapshot())
    await note(() => state.save({ b: 1 }))
    await note(() => state.compact())
    await rename(`${path} elsewhere`, path)
    await note(() => state.get('a'))
    await note(() => state.set('a', 3))
    await note(() => state.get('a'))
  },
}

await tasks[task]?.()
console.log(JSON.stringify(outcomes))
