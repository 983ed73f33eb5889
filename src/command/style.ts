/** How parts of the output are set off. Without colours each returns its text as it is. */
export interface Style {
  bold(text: string): string
  dim(text: string): string
  red(text: string): string
  green(text: string): string
  yellow(text: string): string
  cyan(text: string): string
}

/** What is looked at to decide about colours: a stream, and the environment. */
export interface StyleTarget {
  readonly isTTY?: boolean | undefined
}

/**
 * Colours for a terminal, and none for a file or pipe. `NO_COLOR` (no-color.org) turns them off, `FORCE_COLOR` on;
 * a terminal that calls itself `dumb` has none.
 */
export function styleFor(target: StyleTarget, env: NodeJS.ProcessEnv): Style {
  const on = (open: number, close: number) => (text: string) => `\x1b[${open}m${text}\x1b[${close}m`
  const off = (text: string): string => text
  if (!wantsColour(target, env)) return { bold: off, dim: off, red: off, green: off, yellow: off, cyan: off }
  return {
    bold: on(1, 22),
    dim: on(2, 22),
    red: on(31, 39),
    green: on(32, 39),
    yellow: on(33, 39),
    cyan: on(36, 39),
  }
}

function wantsColour({ isTTY }: StyleTarget, env: NodeJS.ProcessEnv): boolean {
  if (env['NO_COLOR']) return false
  if (env['FORCE_COLOR'] !== undefined) return env['FORCE_COLOR'] !== '0' && env['FORCE_COLOR'] !== 'false'
  return isTTY === true && env['TERM'] !== 'dumb'
}
