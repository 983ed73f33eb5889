import type { PostgresOptions } from '../engine/postgres.ts'

/** Whether a place is a store on a PostgreSQL server. */
export function isPostgres(place: string): boolean {
  return /^postgres(ql)?:\/\//i.test(place)
}

/**
 * What a URL says: `postgres://user:password@host:5432/database?store=settings&schema=app`. `store` and `schema` are ours;
 * everything else is for the driver.
 */
export function postgresPlace(place: string): PostgresOptions {
  const [server = '', query = ''] = place.split(/\?(.*)/s)
  const parameters = new URLSearchParams(query)
  const [store, schema] = [parameters.get('store'), parameters.get('schema')]
  parameters.delete('store')
  parameters.delete('schema')
  return {
    connectionString: parameters.size === 0 ? server : `${server}?${parameters}`,
    ...(store !== null && { store }),
    ...(schema !== null && { schema }),
  }
}

/** A place as it may be shown: a URL without its password. */
export function shownPlace(place: string): string {
  return place
    .replace(/^([a-z][a-z0-9+.-]*:\/\/[^:/?#]*):.*@/i, '$1@')
    .replace(/([?&](?:ssl)?password=)[^&]*/gi, '$1…')
}
