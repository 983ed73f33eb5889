import type { MaybePromise } from '../../src/core/maybe-promise.ts'
import type { Engine, View } from '../../src/engine/engine.ts'

/** When what a view is asked first reaches the server, and when its answers may come back. */
export interface Journey {
  readonly there: Promise<void>
  readonly back: Promise<void>
}

/** The same engine, whose views are of a later moment than the call that opens them, as those of a server are. */
export function lateViews(engine: Engine, journey: () => Journey): Engine {
  return { ...engine, remote: true, read: () => lateView(engine, journey()) }
}

function lateView(engine: Engine, { there, back }: Journey): View {
  let opened: View | undefined
  const opening = there.then(() => {
    opened = engine.read()
    return opened
  })
  opening.catch(() => undefined)
  const ask = async <T>(call: (view: View) => MaybePromise<T>): Promise<T> => {
    const answer = await call(await opening)
    await back
    return answer
  }
  return {
    get: (table, key) => ask(view => view.get(table, key)),
    getMany: (table, keys) => ask(view => view.getMany(table, keys)),
    seek: (table, query) => ask(view => view.seek(table, query)),
    seekMany: (table, queries) => ask(view => view.seekMany(table, queries)),
    scan: (table, range) => ask(view => view.scan(table, range)),
    close: () => opened?.close(),
  }
}
