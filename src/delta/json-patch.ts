export { applyPatch } from './apply-patch.ts'
export { type CreatePatchOptions, createPatch } from './create-patch.ts'

/** One operation of a JSON Patch (RFC 6902). Paths are JSON Pointers (RFC 6901); `''` is the whole value. */
export type JsonPatchOperation =
  | { readonly op: 'add'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string }
  | { readonly op: 'replace'; readonly path: string; readonly value: unknown }
  | { readonly op: 'move'; readonly from: string; readonly path: string }
  | { readonly op: 'copy'; readonly from: string; readonly path: string }
  | { readonly op: 'test'; readonly path: string; readonly value: unknown }
