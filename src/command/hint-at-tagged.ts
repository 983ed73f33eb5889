import { UnserializableValueError } from '../core/errors.ts'

/** Says in the words of the command how values are kept that JSON does not have. */
export async function hintAtTagged<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof UnserializableValueError)) throw error
    const message = error.message.replace(/Export with types: 'tagged' .*$/, '--tagged keeps it.')
    throw new UnserializableValueError(message, error.path, { cause: error })
  }
}
