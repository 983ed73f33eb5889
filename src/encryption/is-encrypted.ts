import type { KeyCodec } from '../core/key.ts'
import type { EncryptionKey } from '../crypto/encryption-key.ts'
import type { Engine } from '../engine/engine.ts'
import type { KeyRing } from './key-ring.ts'
import type { RotateOptions } from './rotate-key.ts'

/** An engine whose rows are encrypted. */
export interface EncryptedEngine extends Engine {
  readonly keyCodec: KeyCodec
  /** The keys that are in use, while the engine is open. @internal */
  keyRing(): KeyRing
  /** Replaces the key. See `Persistence.rotateEncryptionKey`. */
  rotateKey(key: EncryptionKey, options?: RotateOptions): Promise<void>
}

/** Whether an engine is one of `encrypted()`. */
export function isEncrypted(engine: Engine): engine is EncryptedEngine {
  return 'keyRing' in engine && 'rotateKey' in engine
}

/** Whether the keys of the state are encrypted as well. The engine must be open, or have been salvaged. */
export function hasEncryptedKeys({ keyCodec }: Engine): boolean {
  return keyCodec !== undefined && !keyCodec.ordered
}
