import { resolve } from 'node:path'
import type { Persistence } from '../../persistence/persistence.ts'
import { atomicWrite } from '../../transfer/atomic-write.ts'
import { isGzipName } from '../../transfer/open-file.ts'
import { toPlainJson } from '../../transfer/plain-json.ts'
import { toTypedJson } from '../../transfer/typed-json.ts'
import { hintAtTagged } from '../hint-at-tagged.ts'
import { counted, humanBytes } from '../human-units.ts'
import { STANDARD } from '../read-input.ts'
import { jsonText, safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'

/** `varve load [FILE]`: the whole state as a JSON object, to a file or standard output. */
export async function load(
  session: Session,
  [file = STANDARD]: readonly [string?],
  flags: { readonly at: string; readonly tagged?: boolean },
): Promise<void> {
  const { output, signal, host } = session
  const toJson = flags.tagged === true || (session.json && file === STANDARD) ? toTypedJson : toPlainJson
  const write = async (store: Persistence): Promise<void> => {
    let keys = 0
    async function* text(): AsyncGenerator<string> {
      for await (const [key, value] of entriesAt(store, flags.at)) {
        signal.throwIfAborted()
        yield `${keys++ === 0 ? '{' : ','}\n  ${jsonText(key)}: ${jsonText(toJson(value, key))}`
      }
      yield keys === 0 ? '{}\n' : '\n}\n'
    }
    if (file === STANDARD) {
      for await (const part of text()) await output.write(part)
      return
    }
    const path = resolve(host.cwd, file)
    const bytes = await atomicWrite(path, encode(text()), { signal, gzip: isGzipName(path) })
    await session.result({ file, keys, bytes }, () =>
      output.line(`Wrote ${counted(keys, 'key')}, ${humanBytes(bytes)}, to ${safeText(file)}`),
    )
  }
  await hintAtTagged(() => session.withStore(write))
}

/** The entries of a moment, all of which belong together. */
async function* entriesAt(store: Persistence, name: string): AsyncGenerator<[string, unknown]> {
  const version = await store.resolveVersion(name)
  // A snapshot does not change under an iteration; of the current state only load() gives one moment, however long.
  if (version === 'head') yield* Object.entries(await store.load())
  else yield* store.at(version).entries()
}

async function* encode(text: AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  let buffered = ''
  for await (const part of text) {
    buffered += part
    if (buffered.length < 65_536) continue
    yield Buffer.from(buffered)
    buffered = ''
  }
  yield Buffer.from(buffered)
}
