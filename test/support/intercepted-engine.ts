import type { MaybePromise } from '../../src/core/maybe-promise.ts'
import type { Engine } from '../../src/engine/engine.ts'

/** What is called around commits, with their number: 1, 2, 3, … What it throws, the commit rejects with. */
export interface CommitHooks {
  before?(commit: number): MaybePromise<void>
  after?(commit: number): MaybePromise<void>
}

/** The same engine, with hooks around its commits. */
export function interceptCommits(engine: Engine, hooks: CommitHooks): Engine {
  let commits = 0
  return {
    ...engine,
    async commit(build, options) {
      const commit = ++commits
      await hooks.before?.(commit)
      const value = await engine.commit(build, options)
      await hooks.after?.(commit)
      return value
    },
  }
}

/** An engine that works for so many commits and then dies: no later one is made. */
export function dyingEngine(engine: Engine, commits: number): Engine {
  return interceptCommits(engine, {
    before(commit) {
      if (commit > commits) throw new Error('the engine has died')
    },
  })
}
