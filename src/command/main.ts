#!/usr/bin/env node
import { constants } from 'node:os'
import { Interruption, run } from './run.ts'

const stopping = new AbortController()

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => {
    // Who asks twice does not want to wait. The store is whole at any moment; only the tidying up is left out.
    if (stopping.signal.aborted) process.exit(128 + constants.signals[name])
    stopping.abort(new Interruption(constants.signals[name]))
  })
}

const { stdin, stdout, stderr, env } = process
process.exitCode = await run(process.argv.slice(2), {
  stdin,
  stdout,
  stderr,
  env,
  cwd: process.cwd(),
  signal: stopping.signal,
})
