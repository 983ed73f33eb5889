/**
 * A value that is there now, or later.
 *
 * An embedded engine answers at once and a remote one does not; code written against `MaybePromise` serves both
 * without making the first pay for a trip through the microtask queue at every step.
 */
export type MaybePromise<T> = T | PromiseLike<T>

/** Whether `value` is to be waited for. */
export function isPromiseLike<T>(value: MaybePromise<T>): value is PromiseLike<T> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  )
}

/**
 * Calls `next` with two values that were asked for at the same time: now if both are there, else once they are.
 *
 * What is asked of a server before the answer of something else is needed travels with it.
 */
export function whenBoth<A, B, R>(
  a: MaybePromise<A>,
  b: MaybePromise<B>,
  next: (a: A, b: B) => MaybePromise<R>,
): MaybePromise<R> {
  if (!isPromiseLike(a) && !isPromiseLike(b)) return next(a, b)
  return Promise.all([a, b]).then(([a, b]) => next(a, b))
}

/** Calls `next` with the value: now if it is there, else once it is. */
export function whenReady<T, R>(
  value: MaybePromise<T>,
  next: (value: T) => MaybePromise<R>,
): MaybePromise<R> {
  return isPromiseLike(value) ? value.then(next) : next(value)
}
