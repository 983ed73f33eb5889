// @ts-check
import { median } from './statistics.js'

/**
 * What sides of a comparison took, and what is wanted of one of them.
 *
 * @typedef {object} Measure
 * @property {string} what
 * @property {number} keys in the stores
 * @property {string} per what one time stands for: 'call', '10,000 keys'
 * @property {Record<string, number[]>} samples of each side, in milliseconds
 * @property {string} subject the side whose speed is wanted
 * @property {readonly Goal[]} goals
 * @property {string} [note] what differs between the sides
 *
 * @typedef {object} Goal
 * @property {string} against a side
 * @property {number} atLeast so many times as fast as that side
 */

/**
 * A figure with a goal of its own.
 *
 * @typedef {object} Figure
 * @property {string} what
 * @property {number} keys
 * @property {string} goal
 * @property {string} figure
 * @property {boolean} met
 */

/**
 * A part of the suite: one or more rows of the table of goals.
 *
 * @typedef {object} Section
 * @property {string} title
 * @property {string} about what is measured and how, as Markdown
 * @property {readonly number[]} [sizes] those of a full run, where they are not those of the others
 * @property {(run: Run) => Promise<{ measures?: Measure[], figures?: Figure[] }>} measure
 *
 * @typedef {object} Run
 * @property {number} keys
 * @property {boolean} quick so that the rest is kept small as well
 * @property {import('./turns.js').Turns} turns
 * @property {string} folder for all files; its own, and empty
 */

/**
 * How many times as fast as a side the subject of a measure is: the ratio of the medians.
 *
 * @param {Measure} measure
 * @param {string} against
 */
export function speedOver({ samples, subject }, against) {
  return median(samples[against] ?? []) / median(samples[subject] ?? [])
}

/**
 * A measure of varve beside others.
 *
 * @param {string} what
 * @param {number} keys
 * @param {Record<string, number[]>} samples
 * @param {readonly Goal[]} goals
 * @param {string} [per]
 * @returns {Measure}
 */
export function measureOf(what, keys, samples, goals, per = 'call') {
  return { what, keys, per, samples, subject: 'varve', goals }
}
