import { EngineError } from '../core/errors.ts'

/** The code of the error with which a view rejects that is gone, since the connection that held it was lost. */
export const VIEW_LOST = 'ENGINE_VIEW_LOST'

/** So many views that are lost one after the other, each in the middle of the same read, are enough. */
const MAX_ATTEMPTS = 5

/** Whether an error says that a view is gone, while its engine can be read as before. */
export function isViewLost(error: unknown): boolean {
  return error instanceof EngineError && error.code === VIEW_LOST
}

/** Counts views that were lost in a row, to say whether to read on in another one. */
export class LostViews {
  #lost = 0

  /** Whether the error is that of a lost view, and there were few of them since the last {@link LostViews.answered}. */
  mayGoOn(error: unknown): boolean {
    return isViewLost(error) && ++this.#lost < MAX_ATTEMPTS
  }

  /** Notes that a read has come further. */
  answered(): void {
    this.#lost = 0
  }
}

/** Runs a read that opens views of its own; where one of them is lost, from its beginning. It changes nothing else until its end. */
export async function readAgainIfLost<T>(read: () => Promise<T>): Promise<T> {
  const views = new LostViews()
  for (;;) {
    try {
      return await read()
    } catch (error) {
      if (!views.mayGoOn(error)) throw error
    }
  }
}
