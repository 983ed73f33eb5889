/**
 * For so long, in milliseconds, a reader may take it that what it has seen in the store's folder is so still: that the store
 * has not moved, and that nobody opens it. Whoever is about to change that first waits for more than this.
 */
export const TRUST_MS = 5

/** Long enough for every reader to have looked again. Timers may be early by a millisecond. */
export const NOTICE_MS = 2 * TRUST_MS
