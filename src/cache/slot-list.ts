/** Ends a list: no slot has this number. */
const NONE = 0xffffffff

/** The links of all slots. A slot is in one list at a time, so that the lists of a policy share them. */
export class SlotLinks {
  next = new Uint32Array(0)
  previous = new Uint32Array(0)

  grow(capacity: number): void {
    this.next = enlarged(this.next, capacity)
    this.previous = enlarged(this.previous, capacity)
  }
}

/** A doubly linked list of slots. */
export class SlotList {
  readonly #links: SlotLinks
  #first = NONE
  #last = NONE
  length = 0

  constructor(links: SlotLinks) {
    this.#links = links
  }

  /** The slot that has been in the list for longest. Only of a list that is not empty. */
  get first(): number {
    return this.#first
  }

  append(slot: number): void {
    const { next, previous } = this.#links
    next[slot] = NONE
    previous[slot] = this.#last
    if (this.#last === NONE) this.#first = slot
    else next[this.#last] = slot
    this.#last = slot
    this.length++
  }

  remove(slot: number): void {
    const { next, previous } = this.#links
    const after = next[slot] as number
    const before = previous[slot] as number
    if (before === NONE) this.#first = after
    else next[before] = after
    if (after === NONE) this.#last = before
    else previous[after] = before
    this.length--
  }
}

type SlotArray = Uint8Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float64Array<ArrayBuffer>

/** The same numbers in an array with room for more. */
export function enlarged<A extends SlotArray>(array: A, capacity: number): A {
  const larger = new (array.constructor as new (length: number) => A)(capacity)
  larger.set(array)
  return larger
}
