import { enlarged } from './slot-list.ts'

/** A binary heap of slots, in which any slot can be moved or removed: the first is the least by `before`. */
export class SlotHeap {
  readonly #before: (a: number, b: number) => boolean
  readonly #heap: number[] = []
  /** Where in the heap a slot is. */
  #position = new Uint32Array(0)

  constructor(before: (a: number, b: number) => boolean) {
    this.#before = before
  }

  /** The least slot. Only of a heap that is not empty. */
  get first(): number {
    return this.#heap[0] as number
  }

  grow(capacity: number): void {
    this.#position = enlarged(this.#position, capacity)
  }

  add(slot: number): void {
    this.#place(slot, this.#heap.length)
    this.#rise(slot)
  }

  remove(slot: number): void {
    const last = this.#heap.pop() as number
    if (last === slot) return
    this.#place(last, this.#position[slot] as number)
    this.#sink(last)
    this.#rise(last)
  }

  /** The slot orders later than it did. */
  delay(slot: number): void {
    this.#sink(slot)
  }

  #place(slot: number, position: number): void {
    this.#heap[position] = slot
    this.#position[slot] = position
  }

  #rise(slot: number): void {
    let position = this.#position[slot] as number
    while (position > 0) {
      const above = (position - 1) >> 1
      const parent = this.#heap[above] as number
      if (!this.#before(slot, parent)) break
      this.#place(parent, position)
      position = above
    }
    this.#place(slot, position)
  }

  #sink(slot: number): void {
    let position = this.#position[slot] as number
    for (;;) {
      let below = 2 * position + 1
      if (below >= this.#heap.length) break
      if (
        below + 1 < this.#heap.length &&
        this.#before(this.#heap[below + 1] as number, this.#heap[below] as number)
      ) {
        below++
      }
      const child = this.#heap[below] as number
      if (!this.#before(child, slot)) break
      this.#place(child, position)
      position = below
    }
    this.#place(slot, position)
  }
}
