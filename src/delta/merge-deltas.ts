import { DeltaError, InvalidArgumentError } from '../core/errors.ts'
import { encodeScriptBody, openBinaryBody } from './binary-body.ts'
import { composeScripts } from './compose-scripts.ts'
import { type Delta, type DeltaEnd, type DeltaStep, deltaOf, isSameEnd } from './delta.ts'
import { decodeBody, encodeBody, type UsedStrategy } from './strategies.ts'
import { encodeStructuralPatch, openStructuralBody } from './structural-delta.ts'

/**
 * One delta that does what these do one after the other.
 *
 * Binary deltas are composed, structural ones strung together, and what comes before a state stored whole is left out.
 * Where neighbours have no common form, the merged delta keeps both as steps.
 *
 * @throws {InvalidArgumentError} if there is none
 * @throws {DeltaError} if one does not begin where the one before it ends
 * @throws {DataIntegrityError} if one is damaged, as far as that shows
 */
export function mergeDeltas(deltas: readonly Delta[]): Delta {
  const first = deltas[0]
  if (first === undefined) throw new InvalidArgumentError('There is no delta to merge.')
  const steps: DeltaStep[] = []
  let end = first.base
  for (const [i, delta] of deltas.entries()) {
    if (!isSameEnd(delta.base, end)) {
      throw new DeltaError(
        `Delta ${i} does not apply to the result of delta ${i - 1}; merge them in their order.`,
      )
    }
    for (const step of delta.steps) addStep(steps, first.base, step)
    end = delta.result
  }
  return deltaOf(first.base, steps)
}

function addStep(steps: DeltaStep[], base: DeltaEnd, step: DeltaStep): void {
  if (isWhole(step.strategy)) steps.length = 0
  const previous = steps.at(-1)
  const before = steps.at(-2)?.end ?? base
  const merged = previous && mergeSteps(before, previous, step)
  if (merged === undefined) steps.push(step)
  else steps[steps.length - 1] = merged
}

/** One step that does what both do, or `undefined` if there is no such form. */
function mergeSteps(base: DeltaEnd, first: DeltaStep, second: DeltaStep): DeltaStep | undefined {
  if (isWhole(first.strategy)) {
    const empty = { codec: first.end.codec, bytes: new Uint8Array(0) }
    const middle = decodeBody(first, empty, first.end.codec, first.end.size)
    const target = decodeBody(second, middle, second.end.codec, second.end.size)
    return { ...encodeBody('compress', middle, target), end: second.end }
  }
  if (first.strategy === 'binary' && second.strategy === 'binary') {
    const one = openBinaryBody(first.body)
    const other = openBinaryBody(second.body)
    if (one === undefined || other === undefined) return undefined
    const composed = composeScripts(one, other, [base.size, first.end.size, second.end.size])
    return composed && { strategy: 'binary', body: encodeScriptBody(composed), end: second.end }
  }
  if (first.strategy === 'dict' && second.strategy === 'dict') {
    const patch = [...openStructuralBody(first.body), ...openStructuralBody(second.body)]
    return { strategy: 'dict', body: encodeStructuralPatch(patch), end: second.end }
  }
  return undefined
}

/** Whether a step says what comes out without any regard to what it is applied to. */
function isWhole(strategy: UsedStrategy): boolean {
  return strategy === 'compress' || strategy === 'none'
}
