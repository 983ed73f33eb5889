import { InvalidArgumentError } from '../core/errors.ts'
import type { SnapshotOptions } from '../snapshot/snapshot-manager.ts'
import { parseJson } from './parse-json.ts'

/** A line of a history: what it sets and deletes, and the snapshot that follows. */
export interface ReplayStep {
  readonly put: readonly (readonly [key: string, value: unknown])[]
  readonly del: readonly string[]
  readonly options: SnapshotOptions
}

/**
 * Reads a line of the form `{"put": {…}, "del": […], "tags": […], "description": "…", …}`, all of which may be left
 * out; `set` and `delete` are the same as `put` and `del`. Other members become the `userInfo` of the snapshot.
 *
 * @throws {InvalidArgumentError} saying what is wrong with it.
 */
export function parseReplayStep(text: string): ReplayStep {
  const line = parseJson(text, 'it')
  if (!isObject(line)) throw new InvalidArgumentError('it is not a JSON object')
  const { put, set, del, delete: deleted, tag, tags, description, ...rest } = line
  const values = put ?? set ?? {}
  if (!isObject(values)) throw new InvalidArgumentError('"put" is not an object')
  const tagList = [...(tag === undefined ? [] : [tag]), ...strings(tags ?? [], 'tags')]
  if (description !== undefined && typeof description !== 'string')
    throw new InvalidArgumentError('"description" is not a text')
  return {
    put: Object.entries(values),
    del: strings(del ?? deleted ?? [], 'del'),
    options: {
      tags: strings(tagList, 'tag'),
      ...(description !== undefined && { description }),
      ...(Object.keys(rest).length > 0 && { userInfo: rest }),
    },
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function strings(value: unknown, name: string): string[] {
  if (Array.isArray(value) && value.every(item => typeof item === 'string')) return value
  throw new InvalidArgumentError(`"${name}" is not a list of texts`)
}
