import { Argument, Command, Help, InvalidArgumentError, Option } from 'commander'
import { type DescribedCommand, SHELLS, type Shell } from './completion-script.ts'
import type { ExitCode } from './exit-code.ts'
import { HELP_LAYOUT } from './help-layout.ts'
import type { Output, OutputStream } from './output.ts'
import { packageVersion } from './package-version.ts'
import { escapeControls } from './safe-text.ts'
import type { Session } from './session.ts'

/** An exit code; none is that of success. */
// biome-ignore lint/suspicious/noConfusingVoidType: most commands are functions that return nothing.
type Outcome = Promise<ExitCode | void>

type Commands = typeof import('./commands/index.ts')

/** What a command does, once the command line has been read. */
type Action = (session: Session) => Outcome

/** Runs an action with what the options of every command say. */
export type Runner = (options: object, action: Action) => Promise<void>

/** Where help and errors of the command line are written. */
interface ProgramOutput {
  readonly output: Output
  readonly stderr: OutputStream
}

const VERSION_FORMS = [
  ['v12', 'a snapshot'],
  ['stable', 'the newest snapshot with that tag'],
  ['head', 'the current state; head~1 is the newest snapshot, head~2 the one before'],
  ['@2026-01-31', 'the newest snapshot by the end of that day, in local time'],
  ['@2026-01-31T14:05', 'the newest by the end of that minute'],
  ['v12~2, stable~1', 'so many snapshots before'],
] as const

const EXIT_CODES = [
  ['0', 'done'],
  ['1', 'the answer is no: the key is not there'],
  ['2', 'the command line, or a value on it, is wrong'],
  ['3', 'there is no store, or it cannot be used'],
  ['4', 'there is no such version'],
  ['5', 'stored data is damaged'],
  ['6', 'a file cannot be read or written'],
  ['70', 'anything else'],
  ['130', 'stopped by Ctrl-C'],
] as const

const PLACE_HELP =
  'The store is the folder that --store names, else the one of the variable VARVE_STORE, else ./.varve. A name such as ' +
  'postgres://user@host/database?store=settings&schema=app is a store on a server; PGPASSWORD may hold the password. ' +
  'The key of an encrypted store is in the file that --key-file names, or in the variable VARVE_ENCRYPTION_KEY; ' +
  'VARVE_ENCRYPTION_PASSPHRASE is a passphrase.'

/** What follows the list of commands, in lines of at most so many columns. */
function generalHelp(columns: number): string {
  const help = Object.assign(new Help(), HELP_LAYOUT)
  help.prepareContext({ helpWidth: columns })
  const list = (title: string, rows: readonly (readonly [term: string, meaning: string])[]): string => {
    const width = Math.max(...rows.map(([term]) => term.length))
    return [title, ...rows.map(([term, meaning]) => help.formatItem(term, width, meaning, help))].join('\n')
  }
  return [
    list('Versions are written as', VERSION_FORMS),
    help.boxWrap(PLACE_HELP, columns),
    list('Exit codes:', EXIT_CODES),
    examplesHelp([
      'varve init',
      `varve set user '{"name": "Ada"}'`,
      'varve snapshot --tag first',
      'varve diff first head',
    ]),
  ].join('\n\n')
}

function examplesHelp(examples: readonly string[]): string {
  return `Examples:\n${examples.map(example => `  $ ${example}`).join('\n')}`
}

/**
 * The command line of `varve`. What a command does is loaded when it is run: reading the command line and writing help
 * needs nothing of the library.
 */
export function buildProgram({ output, stderr }: ProgramOutput, runner: Runner): Command {
  const program = new Command('varve')
  const columns = Math.min(output.columns, MAX_HELP_COLUMNS)
  program
    .description('A key-value state with snapshots: read it, change it, compare it with its past, go back.')
    .option('--store <place>', 'the folder of the store, or postgres://…')
    .option('--key-file <file>', 'the key of an encrypted store')
    .option('--json', 'write the result as JSON')
    .option('--debug', 'show where an error comes from')
    .version(packageVersion(), '-V, --version', 'write the version of varve')
    .helpOption('-h, --help', 'write this help')
    .addHelpCommand(
      new Command('help')
        .argument('[command]')
        .description('write the help of a command')
        .helpOption(false)
        .helpGroup('Help:'),
    )
    .configureHelp(HELP_LAYOUT)
    .configureOutput({
      writeOut: text => void output.write(text).catch(() => undefined),
      writeErr: text => void stderr.write(text),
      getOutHelpWidth: () => columns,
      getErrHelpWidth: () => Math.min(stderr.columns ?? MAX_HELP_COLUMNS, MAX_HELP_COLUMNS),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
      // What was mistyped is quoted in it.
      outputError: (text, write) => write(escapeControls(text.replace(/^error: /, 'varve: '))),
    })
    .showHelpAfterError('("varve help" lists the commands, "varve help COMMAND" the options of one)')
    .exitOverride()
    .addHelpText('after', () => `\n${generalHelp(columns)}`)

  /** Declares a command. `choose` takes from all of them what it does. */
  function declare<A extends readonly unknown[], O extends object>(
    usage: string,
    description: string,
    examples: readonly string[],
    choose: (all: Commands) => (session: Session, args: A, options: O) => Outcome,
  ): Command {
    const command = program.command(usage).description(description)
    command.addHelpText('after', `\n${examplesHelp(examples)}`)
    return command.action(async () => {
      const args = command.processedArgs as unknown as A
      await runner(command.optsWithGlobals(), async session => {
        const action = choose(await import('./commands/index.ts'))
        return action(session, args, command.opts<O>())
      })
    })
  }

  program.commandsGroup('The state:')

  withRetention(
    declare(
      'init',
      'make a store',
      [
        'varve init',
        'varve init --keep-last 100 --keep-daily 30',
        'varve init --store ./secret --key-file varve.key --encrypt-keys',
      ],
      commands => commands.init,
    ).option('--encrypt-keys', 'with a key: encrypt the keys of the state too, and not only the values'),
  )

  declare(
    'get <key>',
    'write the value of a key',
    ['varve get user', 'varve get user --at v3', 'varve get motd --string > motd.txt'],
    commands => commands.get,
  )
    .addOption(atOption())
    .option('--string', 'write a text as it is, without quotes')

  declare(
    'set <key> [value]',
    'set a key to a value in JSON; without one, or with "-", it is read from standard input',
    [
      `varve set user '{"name": "Ada"}'`,
      'varve set visits 3',
      'varve set motd --string "Hello"',
      'varve set page < page.json',
    ],
    commands => commands.set,
  )
    .option('--string', 'take the value as a text, and not as JSON')
    .option('--tagged', 'read {"$type": "Date", …} and the like as what they stand for')

  declare(
    'delete <key...>',
    'remove keys, all at once',
    ['varve delete user', 'varve delete user/1 user/2'],
    commands => commands.deleteKeys,
  )

  withRange(
    declare(
      'list [prefix]',
      'list the keys, in their order',
      ['varve list', 'varve list user/ --values', 'varve list --at head~3 --limit 10'],
      commands => commands.list,
    )
      .addOption(atOption())
      .option('--values', 'with the values'),
  )

  declare(
    'save [file]',
    'make the whole state equal a JSON object, from a file or standard input',
    ['varve save state.json', `echo '{"visits": 3}' | varve save`],
    commands => commands.save,
  ).option('--tagged', 'read {"$type": "Date", …} and the like as what they stand for')

  declare(
    'load [file]',
    'write the whole state as a JSON object, to a file or standard output',
    ['varve load', 'varve load state.json.gz', 'varve load --at @2026-01-31 | jq .user'],
    commands => commands.load,
  )
    .addOption(atOption())
    .option('--tagged', 'write values that JSON does not have as {"$type": "Date", …}')

  withRange(
    declare(
      'watch [prefix]',
      'write the changes that anybody commits, until Ctrl-C',
      ['varve watch', 'varve watch user/ --json', 'varve watch --limit 1'],
      commands => commands.watch,
    ),
  )

  program.commandsGroup('Snapshots:')

  declare(
    'snapshot',
    'take a snapshot of the current state, and write its version',
    ['varve snapshot', 'varve snapshot --tag stable --description "before the upgrade"'],
    commands => commands.snapshot,
  )
    .option('--tag <tag>', 'give it a tag; may be repeated', collect)
    .option('--description <text>', 'a text for people')
    .option('--base <version>', 'measure what it costs against another snapshot')

  declare(
    'log',
    'list the snapshots, newest first',
    ['varve log', 'varve log --limit 5 --tag stable'],
    commands => commands.log,
  )
    .option('--limit <n>', 'at most so many', wholeNumber)
    .option('--tag <tag>', 'only those with this tag')

  declare(
    'show [version]',
    'show a snapshot, by default the newest, and what changed since the one before',
    ['varve show', 'varve show stable --all'],
    commands => commands.show,
  ).option('--all', 'every key, and every place in it')

  withRange(
    declare(
      'diff [from] [to]',
      'show what differs from one version to another; by default from the newest snapshot to now',
      [
        'varve diff',
        'varve diff v3 v7',
        'varve diff stable head --prefix user/',
        'varve diff @2026-01-31 --json',
      ],
      commands => commands.diff,
    )
      .option('--prefix <text>', 'only keys that begin so')
      .option('--keys', 'only the keys')
      .option('--all', 'every place in a value')
      .option('--exit-code', 'end with 1 if there is a difference'),
  )

  declare(
    'restore <version>',
    'make the current state equal a snapshot; later snapshots stay',
    ['varve restore v3', 'varve restore stable'],
    commands => commands.restore,
  )

  declare(
    'tag [version] [tags...]',
    'give a snapshot tags; by itself, list the tags there are',
    ['varve tag v3 stable', 'varve tag'],
    commands => commands.tag,
  )

  declare(
    'untag <version> <tags...>',
    'take tags from a snapshot',
    ['varve untag v3 stable'],
    commands => commands.untag,
  )

  declare(
    'history <key>',
    'list the snapshots at which a key changed, newest first',
    ['varve history user', 'varve history user --limit 3'],
    commands => commands.history,
  ).option('--limit <n>', 'at most so many', wholeNumber)

  program.commandsGroup('Moving data:')

  declare(
    'export <file>',
    'write the state to a .json or .jsonl file, or a snapshot to a snapshot file; .gz compresses the former',
    [
      'varve export state.jsonl.gz',
      'varve export --snapshot v3 v3.snapshot',
      'varve export --snapshot v4 --base v3 v4.snapshot',
    ],
    commands => commands.exportTo,
  )
    .option('--snapshot <version>', 'this snapshot, with its time, tags and description')
    .option('--base <version>', 'only what differs from this snapshot')
    .option('--encrypt', 'encrypt the snapshot file with the key of the store')
    .option('--tagged', 'write values that JSON does not have as {"$type": "Date", …}')

  declare(
    'import <file>',
    'make the state equal a .json or .jsonl file, or add the snapshot of a snapshot file',
    ['varve import state.jsonl.gz', 'varve import v3.snapshot'],
    commands => commands.importFrom,
  )

  declare(
    'replay <file>',
    'replay a history in JSON lines, such as {"put": {"key": 1}, "del": ["old"]}, with a snapshot for each',
    ['varve replay history.jsonl.gz', 'varve replay - < history.jsonl'],
    commands => commands.replay,
  )

  declare(
    'copy <from> <to>',
    'copy a store to a new place, with all its snapshots; called again, go on where it was broken off',
    ['varve copy ./.varve /backup/store', 'varve copy ./.varve ./encrypted --to-key-file varve.key'],
    commands => commands.copy,
  ).option(
    '--to-key-file <file>',
    'encrypt the copy with this key; by default, with that of the store, if it has one',
  )

  program.commandsGroup('Care:')

  withRetention(
    declare(
      'prune',
      'delete the snapshots that the options do not keep; tagged ones stay',
      ['varve prune --keep-last 10 --dry-run', 'varve prune --keep-daily 7 --keep-weekly 5 --keep-within 2d'],
      commands => commands.prune,
    ).option('--dry-run', 'only say which'),
  )

  declare(
    'verify',
    'check every record of the store; with --repair, save what is whole of a damaged one to a new store',
    ['varve verify', 'varve verify --repair --into ./repaired'],
    commands => commands.verify,
  )
    .option('--repair', 'make a new store of all that is whole; the damaged one is only read')
    .option(
      '--into <store>',
      'where to make it; by default beside the store, with "-repaired" after its name',
    )

  declare(
    'compact',
    'pack the history tightly, and give file space back',
    ['varve compact'],
    commands => commands.compact,
  )

  declare(
    'stats',
    'show how much is in the store, and the room it takes',
    ['varve stats', 'varve stats --prometheus'],
    commands => commands.stats,
  ).option('--prometheus', 'in the text form that Prometheus reads')

  declare(
    'rotate-key <file>',
    'replace the key of an encrypted store by the one in a file',
    ['varve rotate-key new.key', 'varve rotate-key new.key --key-file old.key --reencrypt'],
    commands => commands.rotateKey,
  ).option('--reencrypt', 'replace the keys of the records too, and encrypt all of them anew')

  declare(
    'bench',
    'measure how fast the store answers here; what writes cost is measured on a new one beside it',
    ['varve bench', 'varve bench --seconds 5'],
    commands => commands.bench,
  ).option('--seconds <n>', 'how long each measurement takes', wholeNumber, 1)

  program.commandsGroup('Help:')

  const completion = program
    .command('completion')
    .description('write what a shell reads to complete commands')
  completion
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .addHelpText(
      'after',
      `\n${examplesHelp(['source <(varve completion bash)', 'varve completion fish | source'])}`,
    )
    .action(async (shell: Shell) => {
      await runner(completion.optsWithGlobals(), async session => {
        const action = await import('./commands/index.ts')
        await action.completion(session, shell, describeCommands(program))
      })
    })

  return program
}

const MAX_HELP_COLUMNS = 100

function atOption(): Option {
  return new Option('--at <version>', 'as it was at this version').default('head', 'now')
}

function withRange(command: Command): Command {
  return command
    .option('--from <key>', 'from this key on')
    .option('--to <key>', 'up to this key, which is not included')
    .option('--limit <n>', 'at most so many', wholeNumber)
    .option('--reverse', 'in descending order')
}

function withRetention(command: Command): Command {
  return command
    .option('--keep-last <n>', 'keep the newest so many', wholeNumber)
    .option('--keep-hourly <n>', 'keep the newest of each of the last so many hours', wholeNumber)
    .option('--keep-daily <n>', 'the same for days', wholeNumber)
    .option('--keep-weekly <n>', 'the same for weeks', wholeNumber)
    .option('--keep-monthly <n>', 'the same for months', wholeNumber)
    .option('--keep-yearly <n>', 'the same for years', wholeNumber)
    .option('--keep-within <duration>', 'keep all of the last while, such as 2d12h')
    .option('--keep-tag <tag>', 'keep those with this tag; may be repeated', collect)
    .option('--prune-tagged', 'delete tagged ones too')
}

function wholeNumber(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('It must be a whole number.')
}

function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value]
}

function describeCommands(program: Command): DescribedCommand[] {
  return program.commands.map(command => ({
    name: command.name(),
    description: command.description(),
    options: [...command.options, ...program.options].flatMap(({ long, description, required }) =>
      long == null ? [] : [{ flag: long, description, takesValue: required }],
    ),
    choices: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
  }))
}
