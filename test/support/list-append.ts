/**
 * A checker of serializability for transactions that read lists and append to them, each value once. A list tells the order
 * in which transactions wrote it, so that dependencies between them follow from what was read, and a cycle of these is a
 * proof that no order explains it. The method is that of Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from
 * Experimental Observations" (VLDB 2020); the names of the anomalies are Adya's.
 */

/** One step of a transaction. What a read found includes what the transaction itself has appended before. */
export type Step =
  | { readonly append: string; readonly to: string }
  | { readonly read: string; readonly found: readonly string[] }

export interface AppendTransaction {
  readonly name: string
  readonly invoked: number
  /** `undefined` where it is not known whether it was committed. */
  readonly answered: number | undefined
  readonly steps: readonly Step[]
}

/**
 * What speaks against the transactions having been made one after the other, in an order that agrees with time (strict
 * serializability); nothing, if nothing does. `aborted` are the values of transactions that are known to have failed.
 */
export function findAnomalies(
  transactions: readonly AppendTransaction[],
  aborted: ReadonlySet<string> = new Set(),
): string[] {
  const problems: string[] = []
  const writers = new Map<string, AppendTransaction>()
  for (const transaction of transactions) {
    for (const step of transaction.steps) {
      if (!('append' in step)) continue
      if (writers.has(step.append))
        problems.push(`${step.append} is appended twice: the check needs distinct values`)
      writers.set(step.append, transaction)
    }
  }

  const orders = new Map<string, readonly string[]>()
  for (const { name, key, found } of readsOf(transactions)) {
    const longest = orders.get(key) ?? []
    const [short, long] = found.length < longest.length ? [found, longest] : [longest, found]
    if (short.some((value, i) => value !== long[i])) {
      problems.push(`incompatible orders: ${name} read ${key} as ${found}, and others as ${longest}`)
    }
    orders.set(key, long)
    if (new Set(found).size < found.length) problems.push(`duplicates: ${name} read ${key} as ${found}`)
    for (const value of found) {
      if (aborted.has(value)) problems.push(`G1a, aborted read: ${name} read ${value} in ${key}`)
      else if (!writers.has(value)) problems.push(`${name} read ${value} in ${key}, which nobody appended`)
    }
  }
  for (const { name, steps } of transactions) problems.push(...ownProblems(name, steps))
  if (problems.length > 0) return problems

  const graph = new Graph(transactions)
  for (const [key, order] of orders) {
    // Appended by known transactions, in this order; what nobody has read has no known place.
    for (const [i, value] of order.entries()) {
      const next = order[i + 1]
      if (next !== undefined) graph.add(writers.get(value), writers.get(next), `ww ${key}`)
    }
  }
  for (const { transaction, key, found, own } of readsOf(transactions)) {
    const last = found.at(-1 - own)
    if (last !== undefined) graph.add(writers.get(last), transaction, `wr ${key}`)
    // Whoever appended what was not there yet came later.
    const next = orders.get(key)?.[found.length - own]
    if (next !== undefined) graph.add(transaction, writers.get(next), `rw ${key}`)
  }
  const final = readsOf(transactions)
  for (const [value, writer] of writers) {
    // A committed append must be in the lists that were read after it.
    const key = keyOf(writer, value)
    if (writer.answered === undefined || orders.get(key)?.includes(value)) continue
    const answered = writer.answered
    const missed = final.find(read => read.key === key && read.transaction.invoked > answered)
    if (missed !== undefined) problems.push(`lost append: ${missed.name} did not read ${value} in ${key}`)
  }
  const cycle = graph.cycle()
  if (cycle !== undefined) problems.push(`cycle: ${cycle}`)
  return problems
}

interface Read {
  readonly transaction: AppendTransaction
  readonly name: string
  readonly key: string
  readonly found: readonly string[]
  /** How many of the values at the end the transaction had appended itself. */
  readonly own: number
}

function readsOf(transactions: readonly AppendTransaction[]): Read[] {
  return transactions.flatMap(transaction => {
    const appended = new Map<string, number>()
    return transaction.steps.flatMap((step): Read[] => {
      if ('append' in step) {
        appended.set(step.to, (appended.get(step.to) ?? 0) + 1)
        return []
      }
      const own = appended.get(step.read) ?? 0
      return [{ transaction, name: transaction.name, key: step.read, found: step.found, own }]
    })
  })
}

function keyOf({ steps }: AppendTransaction, value: string): string {
  for (const step of steps) if ('append' in step && step.append === value) return step.to
  return ''
}

/** A transaction sees what it has appended itself, and the same list each time it looks. */
function ownProblems(name: string, steps: readonly Step[]): string[] {
  const expected = new Map<string, string[]>()
  const appended = new Map<string, string[]>()
  const problems: string[] = []
  for (const step of steps) {
    if ('append' in step) {
      expected.get(step.to)?.push(step.append)
      appended.set(step.to, [...(appended.get(step.to) ?? []), step.append])
      continue
    }
    const { read: key, found } = step
    const known = expected.get(key)
    const own = appended.get(key) ?? []
    const isOwn = own.every((value, i) => found[found.length - own.length + i] === value)
    if (!isOwn || (known !== undefined && known.join() !== found.join())) {
      problems.push(`internal: ${name} read ${key} as ${found}, and expected ${known ?? own}`)
    }
    expected.set(key, [...found])
  }
  return problems
}

interface Edge {
  readonly to: number
  readonly why: string
}

/** What must come before what. Instants are among the nodes: so time takes two edges a transaction, and not its square. */
class Graph {
  readonly #names: string[]
  readonly #edges: Edge[][]
  readonly #index = new Map<AppendTransaction, number>()

  constructor(transactions: readonly AppendTransaction[]) {
    this.#names = transactions.map(({ name }) => name)
    this.#edges = transactions.map(() => [])
    for (const [i, transaction] of transactions.entries()) this.#index.set(transaction, i)
    const events = transactions.flatMap(({ invoked, answered }, node) => [
      { at: invoked, node, isAnswer: false },
      ...(answered === undefined ? [] : [{ at: answered, node, isAnswer: true }]),
    ])
    // Of the same instant, invocations come first.
    events.sort((a, b) => a.at - b.at || Number(a.isAnswer) - Number(b.isAnswer))
    let instant: number | undefined
    for (const { node, isAnswer } of events) {
      if (!isAnswer) {
        if (instant !== undefined) this.#edges[instant]?.push({ to: node, why: 'time' })
        continue
      }
      const next = this.#edges.push([]) - 1
      this.#names.push('')
      if (instant !== undefined) this.#edges[instant]?.push({ to: next, why: 'time' })
      this.#edges[node]?.push({ to: next, why: 'time' })
      instant = next
    }
  }

  add(before: AppendTransaction | undefined, after: AppendTransaction | undefined, why: string): void {
    if (before === undefined || after === undefined || before === after) return
    this.#edges[this.#index.get(before) as number]?.push({ to: this.#index.get(after) as number, why })
  }

  /** A cycle, if there is one: found on the way down of a search in depth, without recursion. */
  cycle(): string | undefined {
    const state = new Uint8Array(this.#edges.length)
    for (let start = 0; start < this.#edges.length; start++) {
      if (state[start] !== 0) continue
      const path: { node: number; next: number; why: string }[] = [{ node: start, next: 0, why: '' }]
      state[start] = 1
      for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
        const edge = this.#edges[top.node]?.[top.next++]
        if (edge === undefined) {
          state[top.node] = 2
          path.pop()
        } else if (state[edge.to] === 1) {
          const from = path.findIndex(({ node }) => node === edge.to)
          const cycle = [...path.slice(from + 1), { node: edge.to, why: edge.why }]
          return `${this.#names[edge.to]}${cycle.map(({ node, why }) => ` -${why}-> ${this.#names[node]}`).join('')}`
        } else if (state[edge.to] === 0) {
          state[edge.to] = 1
          path.push({ node: edge.to, next: 0, why: edge.why })
        }
      }
    }
    return undefined
  }
}
