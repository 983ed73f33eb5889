// @ts-check
/*
 * Policies of the literature, each as its paper has it and as short as it goes: how many of a sequence of keys are hits
 * in a cache of `size` entries. Only to compare with.
 */

/** @typedef {(size: number, keys: readonly number[]) => number} Simulation */

/** @param {Map<number, unknown> | Set<number>} entries */
const oldest = entries => /** @type {number} */ (entries.keys().next().value)

/** Belady's optimum: whoever is needed latest goes, or does not come in. @type {Simulation} */
export function belady(size, keys) {
  const next = new Array(keys.length)
  const seen = new Map()
  for (let i = keys.length - 1; i >= 0; i--) {
    next[i] = seen.get(keys[i]) ?? Number.POSITIVE_INFINITY
    seen.set(keys[i], i)
  }
  /** When each key of the cache is needed, and a heap of these times, latest first; old times stay in it. */
  const needed = new Map()
  /** @type {[number, number][]} */
  const heap = []
  const item = (/** @type {number} */ at) => /** @type {[number, number]} */ (heap[at])
  const push = (/** @type {[number, number]} */ added) => {
    let at = heap.length
    heap.push(added)
    while (at > 0) {
      const above = (at - 1) >> 1
      if (item(above)[0] >= added[0]) break
      heap[at] = item(above)
      at = above
    }
    heap[at] = added
  }
  const pop = () => {
    const last = /** @type {[number, number]} */ (heap.pop())
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && item(below + 1)[0] > item(below)[0]) below++
      if (item(below)[0] <= last[0]) break
      heap[at] = item(below)
      at = below
    }
    heap[at] = last
  }
  let hits = 0
  for (const [i, key] of keys.entries()) {
    if (needed.has(key)) hits++
    else {
      if (next[i] === Number.POSITIVE_INFINITY) continue
      if (needed.size >= size) {
        while (needed.get(item(0)[1]) !== item(0)[0]) pop()
        if (item(0)[0] <= next[i]) continue
        needed.delete(item(0)[1])
        pop()
      }
    }
    needed.set(key, next[i])
    push([next[i], key])
  }
  return hits
}

/** SIEVE (Zhang and others, 2024). @type {Simulation} */
export function sieve(size, keys) {
  /** @typedef {{ key: number, visited: boolean, newer: Node | undefined, older: Node | undefined }} Node */
  /** @type {Map<number, Node>} */
  const nodes = new Map()
  /** @type {Node | undefined} */
  let newest
  /** @type {Node | undefined} */
  let last
  /** @type {Node | undefined} */
  let hand
  let hits = 0
  for (const key of keys) {
    const known = nodes.get(key)
    if (known !== undefined) {
      known.visited = true
      hits++
      continue
    }
    if (nodes.size >= size) {
      let node = /** @type {Node} */ (hand ?? last)
      while (node.visited) {
        node.visited = false
        node = /** @type {Node} */ (node.newer ?? last)
      }
      hand = node.newer
      nodes.delete(node.key)
      if (node.newer === undefined) newest = node.older
      else node.newer.older = node.older
      if (node.older === undefined) last = node.newer
      else node.older.newer = node.newer
    }
    /** @type {Node} */
    const node = { key, visited: false, newer: undefined, older: newest }
    if (newest !== undefined) newest.newer = node
    newest = node
    last ??= node
    nodes.set(key, node)
  }
  return hits
}

/** S3-FIFO (Yang and others, 2023). @type {Simulation} */
export function s3fifo(size, keys) {
  const smallSize = Math.max(1, Math.round(size / 10))
  /** @type {Map<number, number>} */
  const small = new Map()
  /** @type {Map<number, number>} */
  const main = new Map()
  /** @type {Set<number>} */
  const ghosts = new Set()
  let hits = 0
  const evictMain = () => {
    for (;;) {
      const key = oldest(main)
      const uses = /** @type {number} */ (main.get(key))
      main.delete(key)
      if (uses === 0) return
      main.set(key, uses - 1)
    }
  }
  const evictSmall = () => {
    while (small.size > 0) {
      const key = oldest(small)
      const uses = /** @type {number} */ (small.get(key))
      small.delete(key)
      if (uses > 1) {
        main.set(key, 0)
        if (main.size > size - smallSize) return evictMain()
      } else {
        ghosts.add(key)
        if (ghosts.size > size - smallSize) ghosts.delete(oldest(ghosts))
        return
      }
    }
  }
  for (const key of keys) {
    const part = small.has(key) ? small : main.has(key) ? main : undefined
    if (part !== undefined) {
      hits++
      part.set(key, Math.min(3, /** @type {number} */ (part.get(key)) + 1))
      continue
    }
    while (small.size + main.size >= size) {
      if (small.size >= smallSize || main.size === 0) evictSmall()
      else evictMain()
    }
    if (ghosts.delete(key)) main.set(key, 0)
    else small.set(key, 0)
  }
  return hits
}

/** ARC (Megiddo and Modha, 2003). @type {Simulation} */
export function arc(size, keys) {
  const [once, often, onceGone, oftenGone] = [new Set(), new Set(), new Set(), new Set()]
  let target = 0
  let hits = 0
  const replace = (/** @type {boolean} */ wasOften) => {
    const fromOnce =
      once.size > 0 && (once.size > target || (wasOften && once.size === target) || often.size === 0)
    const [from, to] = fromOnce ? [once, onceGone] : [often, oftenGone]
    const key = oldest(from)
    from.delete(key)
    to.add(key)
  }
  for (const key of keys) {
    if (once.delete(key) || often.delete(key)) {
      hits++
      often.add(key)
    } else if (onceGone.has(key)) {
      target = Math.min(size, target + Math.max(1, oftenGone.size / onceGone.size))
      replace(false)
      onceGone.delete(key)
      often.add(key)
    } else if (oftenGone.has(key)) {
      target = Math.max(0, target - Math.max(1, onceGone.size / oftenGone.size))
      replace(true)
      oftenGone.delete(key)
      often.add(key)
    } else {
      if (once.size + onceGone.size === size) {
        if (once.size < size) {
          onceGone.delete(oldest(onceGone))
          replace(false)
        } else once.delete(oldest(once))
      } else {
        const all = once.size + often.size + onceGone.size + oftenGone.size
        if (all >= 2 * size) oftenGone.delete(oldest(oftenGone))
        if (all >= size) replace(false)
      }
      once.add(key)
    }
  }
  return hits
}

/** LIRS (Jiang and Zhang, 2002), with 1% for blocks of high recency. @type {Simulation} */
export function lirs(size, keys) {
  const coldSize = Math.max(1, Math.round(size / 100))
  /** @type {Map<number, 'hot' | 'cold' | 'gone'>} */
  const stack = new Map()
  /** @type {Set<number>} */
  const queue = new Set()
  let hot = 0
  let hits = 0
  const prune = () => {
    for (const [key, state] of stack) {
      if (state === 'hot') break
      stack.delete(key)
    }
  }
  const promote = (/** @type {number} */ key) => {
    stack.delete(key)
    stack.set(key, 'hot')
    const bottom = oldest(stack)
    stack.delete(bottom)
    queue.add(bottom)
    prune()
  }
  for (const key of keys) {
    const state = stack.get(key)
    if (state === 'hot') {
      hits++
      stack.delete(key)
      stack.set(key, 'hot')
      prune()
    } else if (queue.delete(key)) {
      hits++
      if (state !== undefined) promote(key)
      else {
        stack.set(key, 'cold')
        queue.add(key)
      }
    } else if (hot < size - coldSize) {
      stack.delete(key)
      stack.set(key, 'hot')
      hot++
    } else {
      if (queue.size >= coldSize) {
        const gone = oldest(queue)
        queue.delete(gone)
        if (stack.has(gone)) stack.set(gone, 'gone')
      }
      if (state === 'gone') promote(key)
      else {
        stack.set(key, 'cold')
        queue.add(key)
      }
    }
  }
  return hits
}
