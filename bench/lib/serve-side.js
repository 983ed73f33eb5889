// @ts-check
/**
 * The program of a side's process: calls functions of a module as the parent asks for them. See side.js.
 *
 *     fork('serve-side.js', [module])
 */
const module = await import(/** @type {string} */ (process.argv[2]))

process.on('message', async message => {
  const { id, name, args } = /** @type {import('./side.js').Call} */ (message)
  try {
    process.send?.({ id, result: await module[name](...args) })
  } catch (error) {
    process.send?.({ id, error: error instanceof Error ? error.stack : String(error) })
  }
})
// What a side has open must not keep it alive when its parent has no more to ask.
process.on('disconnect', () => process.exit())
