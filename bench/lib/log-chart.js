// @ts-check

/**
 * A diagram of several lines, both axes logarithmic.
 *
 * @typedef {object} Chart
 * @property {string} title
 * @property {string} x what the horizontal axis counts
 * @property {{ name: string, points: [number, number][] }[]} lines
 * @property {(value: number) => string} format of the values of the vertical axis
 */

const WIDTH = 420
const HEIGHT = 260
const MARGIN = { left: 64, right: 12, top: 32, bottom: 40 }
const LEGEND_HEIGHT = 18
/** Told apart also by who sees few colours, and on dark ground. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00']

/**
 * The diagrams as an SVG image, in rows, each with its legend below.
 *
 * @param {readonly Chart[]} charts
 * @param {number} [columns] diagrams in a row; all of them where nothing is said
 */
export function drawCurves(charts, columns = charts.length) {
  const legendLines = Math.max(...charts.map(({ lines }) => lines.length))
  const rowHeight = HEIGHT + LEGEND_HEIGHT * legendLines + 8
  const height = rowHeight * Math.ceil(charts.length / columns)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH * columns} ${height}" font-family="sans-serif" font-size="11" fill="none">`,
    `<title>${charts.map(({ title }) => title).join(', ')}</title>`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    ...charts.map((chart, i) => {
      const [x, y] = [WIDTH * (i % columns), rowHeight * Math.floor(i / columns)]
      return `<g transform="translate(${x} ${y})">${drawChart(chart)}</g>`
    }),
    '</svg>\n',
  ].join('\n')
}

/** @param {Chart} chart */
function drawChart({ title, x, lines, format }) {
  const points = lines.flatMap(line => line.points)
  const across = scale(
    points.map(([value]) => value),
    MARGIN.left,
    WIDTH - MARGIN.right,
  )
  const up = scale(
    points.map(([, value]) => value),
    HEIGHT - MARGIN.bottom,
    MARGIN.top,
  )
  const parts = [text(MARGIN.left, 18, title), text(MARGIN.left, HEIGHT - 8, x)]
  for (const tick of up.ticks) {
    const y = up.at(tick)
    parts.push(`<path d="M${MARGIN.left} ${y}H${WIDTH - MARGIN.right}" stroke="#ddd"/>`)
    parts.push(text(MARGIN.left - 6, y + 4, format(tick), 'end'))
  }
  for (const tick of across.ticks) {
    parts.push(text(across.at(tick), HEIGHT - MARGIN.bottom + 14, tick.toLocaleString('en-US'), 'middle'))
  }
  for (const [i, { name, points }] of lines.entries()) {
    const path = points.map(([a, b]) => `${across.at(a)} ${up.at(b)}`).join('L')
    if (path !== '') parts.push(`<path d="M${path}" stroke="${colour(i)}" stroke-width="2"/>`)
    const y = HEIGHT + LEGEND_HEIGHT * (i + 0.5)
    parts.push(`<path d="M${MARGIN.left} ${y}h24" stroke="${colour(i)}" stroke-width="2"/>`)
    parts.push(text(MARGIN.left + 32, y + 4, name))
  }
  return parts.join('\n')
}

/**
 * Powers of ten around the values, and where a value lies between two coordinates.
 *
 * @param {readonly number[]} values
 * @param {number} from
 * @param {number} to
 */
function scale(values, from, to) {
  const low = Math.floor(Math.log10(Math.min(...values)))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))))
  return {
    ticks: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)),
    /** @param {number} value */
    at: value => Math.round(from + ((Math.log10(value) - low) / (high - low)) * (to - from)),
  }
}

/** @param {number} index */
function colour(index) {
  return /** @type {string} */ (COLOURS[index % COLOURS.length])
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} content
 * @param {'start' | 'middle' | 'end'} [anchor]
 */
function text(x, y, content, anchor = 'start') {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="#333">${content}</text>`
}
