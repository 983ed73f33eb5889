import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

const ROOT = new URL('../../', import.meta.url)

describe('docs/reliability.md', () => {
  const text = readFileSync(new URL('docs/reliability.md', ROOT), 'utf8')
  const rows = text.split('\n').filter(line => line.startsWith('| ') && !line.startsWith('| promise'))

  it('names a test for each promise, and each test that it names exists', () => {
    expect(rows.length).toBeGreaterThan(10)
    for (const row of rows) {
      const files = [...row.matchAll(/`(test\/[^`]+)`/g)].map(([, file]) => file as string)
      expect(files, row).not.toEqual([])
      for (const file of files)
        expect(existsSync(new URL(file, ROOT)), `${file}, named in: ${row}`).toBe(true)
    }
  })

  it('names commands that there are', () => {
    const { scripts } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as { scripts: object }
    for (const [, name] of text.matchAll(/npm run ([\w:]+)/g)) expect(Object.keys(scripts)).toContain(name)
  })
})
