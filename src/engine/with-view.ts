import type { MaybePromise } from '../core/maybe-promise.ts'
import type { Engine, View } from './engine.ts'

/** Reads in a view of the newest commit, which is closed afterwards. */
export async function withView<T>(engine: Engine, read: (view: View) => MaybePromise<T>): Promise<T> {
  const view = engine.read()
  try {
    return await read(view)
  } finally {
    view.close()
  }
}
