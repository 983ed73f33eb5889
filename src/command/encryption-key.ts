import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { InvalidArgumentError } from '../core/errors.ts'
import { type EncryptionKey, KEY_BYTES, toSecret } from '../crypto/encryption-key.ts'
import type { Host } from './session.ts'

/**
 * The key that a command is given: in a file, else in the variable `VARVE_ENCRYPTION_KEY`, else as a passphrase in
 * `VARVE_ENCRYPTION_PASSPHRASE`; `undefined` without any. Never on the command line, which everybody on the machine can see.
 */
export async function givenKey(
  { env, cwd }: Pick<Host, 'env' | 'cwd'>,
  file: string | undefined,
): Promise<EncryptionKey | undefined> {
  if (file !== undefined) return readKeyFile(cwd, file)
  const key = env['VARVE_ENCRYPTION_KEY']
  if (key) return checked(key.trim(), 'VARVE_ENCRYPTION_KEY')
  const passphrase = env['VARVE_ENCRYPTION_PASSPHRASE']
  return passphrase ? { passphrase } : undefined
}

/**
 * The key in a file: 32 bytes, or text in hexadecimal or Base64.
 *
 * @throws {InvalidArgumentError} if the file cannot be read, or holds something else.
 */
export async function readKeyFile(cwd: string, file: string): Promise<EncryptionKey> {
  const bytes = await readFile(resolve(cwd, file)).catch((cause: unknown) => {
    const reason = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : ''
    throw new InvalidArgumentError(`The key file ${JSON.stringify(file)} cannot be read${reason}.`, { cause })
  })
  return bytes.byteLength === KEY_BYTES ? bytes : checked(bytes.toString('utf8').trim(), file)
}

function checked(key: string, where: string): EncryptionKey {
  try {
    toSecret(key, where)
    return key
  } catch (cause) {
    throw new InvalidArgumentError(
      `${JSON.stringify(where)} does not hold a key: 32 bytes, in a file also as they are, in hexadecimal or Base64. "openssl rand -hex 32" makes one.`,
      { cause },
    )
  }
}
