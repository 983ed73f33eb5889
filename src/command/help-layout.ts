import { Help } from 'commander'

const INDENT = 6

/** How Commander lays out help: as it does by itself, but on narrow terminals it would leave long lines as they are. */
export const HELP_LAYOUT = {
  showGlobalOptions: true,
  minWidthToWrap: 20,
  formatItem(term: string, termWidth: number, description: string, helper: Help): string {
    const columns = helper.helpWidth ?? Number.POSITIVE_INFINITY
    const beside = Help.prototype.formatItem.call(helper, term, termWidth, description, helper)
    if (beside.split('\n').every(line => line.length <= columns)) return beside
    const below = helper.boxWrap(description, columns - INDENT).replaceAll(/^/gm, ' '.repeat(INDENT))
    return `  ${term}\n${below}`
  },
}
