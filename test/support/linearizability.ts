/**
 * A checker of linearizability: whether calls that overlapped ended as if made one after the other, each at some instant
 * between its invocation and its response.
 *
 * The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", J. Parallel Distrib. Comput. 17, 1993),
 * with the memory of what was tried by Lowe ("Testing for linearizability", Concurr. Comput. 29, 2017): a set of calls
 * that leads to a state it has led to before need not be looked at again. Knossos and porcupine are made in this way too.
 */

/** A call as a client saw it. */
export interface Call<I, O> {
  readonly input: I
  /** When it was made; any clock will do that all clients share. */
  readonly invoked: number
  /** When it was answered, and what the answer was. A call without an answer may have taken effect, later than it was
   * made, or not at all. */
  readonly response?: { readonly at: number; readonly output: O } | undefined
}

/** What the calls should have done, one at a time. */
export interface SequentialModel<S, I, O> {
  readonly initial: S
  /**
   * The state after a call, which must not be made from `state` by changing it; `undefined` where the answer is not the
   * one that the call has in this state. An unknown answer is `undefined`.
   */
  step(state: S, input: I, output: O | undefined): S | undefined
  /** Equal for equal states, and for no others. */
  digest(state: S): string
}

/** What a check came to. */
export type Verdict<S, I, O> =
  | { readonly linearizable: true; readonly final: S; readonly order: readonly Call<I, O>[] }
  | {
      readonly linearizable: false
      /** The longest order that explains its answers. */
      readonly longest: readonly Call<I, O>[]
      /** The state after it. */
      readonly state: S
    }

/** An event in the list of those whose calls have no place yet. */
interface Entry<I, O> {
  readonly call: Call<I, O>
  /** Its call's place among all, by the time of the invocation. */
  readonly index: number
  /** Of an invocation: the response. Of a response: none. */
  match: Entry<I, O> | undefined
  previous: Entry<I, O> | undefined
  next: Entry<I, O> | undefined
}

/** Looks for an order of calls that explains every answer. */
export function checkLinearizable<S, I, O>(
  calls: readonly Call<I, O>[],
  model: SequentialModel<S, I, O>,
): Verdict<S, I, O> {
  const head = listOf(calls)
  let state = model.initial
  // The placed call with the greatest index: those with lesser ones are placed too, but for the few that still wait.
  let furthest = -1
  let answered = calls.filter(({ response }) => response !== undefined).length
  const path: { entry: Entry<I, O>; before: S; furthestBefore: number }[] = []
  let longest: readonly Call<I, O>[] = []
  let reached = state
  const tried = new Set<string>()
  const isNew = (chosen: Entry<I, O>, reach: number, after: S): boolean =>
    tried.size < tried.add(`${nameOfPlaced(head, chosen, reach)} ${model.digest(after)}`).size

  let entry = head.next
  while (answered > 0) {
    if (entry?.match !== undefined) {
      const after = model.step(state, entry.call.input, entry.call.response?.output)
      const reach = Math.max(furthest, entry.index)
      if (after !== undefined && isNew(entry, reach, after)) {
        path.push({ entry, before: state, furthestBefore: furthest })
        state = after
        furthest = reach
        if (entry.call.response !== undefined) answered--
        lift(entry)
        entry = head.next
      } else {
        entry = entry.next
      }
      continue
    }
    if (path.length > longest.length) {
      longest = path.map(({ entry: { call } }) => call)
      reached = state
    }
    // A response whose call has no place yet: one of the choices before was wrong.
    const last = path.pop()
    if (last === undefined) return { linearizable: false, longest, state: reached }
    state = last.before
    furthest = last.furthestBefore
    if (last.entry.call.response !== undefined) answered++
    unlift(last.entry)
    entry = last.entry.next
  }
  return { linearizable: true, final: state, order: path.map(({ entry: { call } }) => call) }
}

/** Invocations and responses in their order, after a head that is neither. */
function listOf<I, O>(calls: readonly Call<I, O>[]): Pick<Entry<I, O>, 'next'> {
  const byInvocation = [...calls].sort((a, b) => a.invoked - b.invoked)
  const events = byInvocation.flatMap((call, index) => {
    const answer: Entry<I, O> = { call, index, match: undefined, previous: undefined, next: undefined }
    const invocation: Entry<I, O> = { call, index, match: answer, previous: undefined, next: undefined }
    return [
      { at: call.invoked, entry: invocation },
      { at: call.response?.at ?? Number.POSITIVE_INFINITY, entry: answer },
    ]
  })
  // Of the same instant, invocations come first: the calls may have overlapped.
  events.sort(
    (a, b) => a.at - b.at || Number(b.entry.match !== undefined) - Number(a.entry.match !== undefined),
  )
  const head: { next: Entry<I, O> | undefined } = { next: undefined }
  let last = head as Entry<I, O>
  for (const { entry } of events) {
    last.next = entry
    entry.previous = last
    last = entry
  }
  return head
}

/**
 * Names the set of calls that have a place once `chosen` has one: by the greatest index among them, and the calls before
 * it that still wait. Those overlap it, or were never answered: they are few, however long the history is.
 */
function nameOfPlaced<I, O>(head: Pick<Entry<I, O>, 'next'>, chosen: Entry<I, O>, furthest: number): string {
  let name = String(furthest)
  for (let entry = head.next; entry !== undefined && entry.index <= furthest; entry = entry.next) {
    if (entry.match !== undefined && entry !== chosen) name += `,${entry.index}`
  }
  return name
}

/** Takes a call's two events out of the list. */
function lift<I, O>(entry: Entry<I, O>): void {
  for (const event of [entry, entry.match as Entry<I, O>]) {
    if (event.previous !== undefined) event.previous.next = event.next
    if (event.next !== undefined) event.next.previous = event.previous
  }
}

/** Puts them back: the last that were taken out first. */
function unlift<I, O>(entry: Entry<I, O>): void {
  for (const event of [entry.match as Entry<I, O>, entry]) {
    if (event.previous !== undefined) event.previous.next = event
    if (event.next !== undefined) event.next.previous = event
  }
}
